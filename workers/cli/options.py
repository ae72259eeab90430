"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str, typer.Option("--url", envvar="SOUPSEARCH_URL", help="The service to call.", metavar="URL", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:N.")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0: all cores.", min=0)]
DataFolder = Annotated[Path | None, typer.Option("--data", help="Folder of the images, instead of the recipe's.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a field of the recipe: data.image_size=64; may be repeated."
    ),
]
CheckpointSeconds = Annotated[float, typer.Option(help="Seconds between two checkpoints.", min=0)]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Write event files for TensorBoard too.")]
DEFAULT_URL = "http://127.0.0.1:8000"
