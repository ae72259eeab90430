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
TrainingWorkers = Annotated[
    int,
    typer.Option("--workers", help="Processes that share each batch, by Ray Train; a GPU each where there are.", min=1),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Put the workers on this Ray cluster; all of its machines must see data and output by the same paths.",
    ),
]
DEFAULT_URL = "http://127.0.0.1:8000"

Threats = Annotated[
    list[str] | None,
    typer.Option(
        "--threat",
        metavar="NORM:EPS",
        help="Score by robust accuracy, such as Linf:0.1 or Linf:8/255; repeat for several threats. Attacks take long: "
        "try few images, 10 steps and a coarse grid first.",
    ),
]
OverThreats = Annotated[str, typer.Option(help="Several threats: union (right in all of them), mean or worst.")]
AttackSteps = Annotated[int, typer.Option(help="Steps of each attack (APGD).")]
Losses = Annotated[
    list[str] | None,
    typer.Option(
        "--loss",
        help="What the attacks maximise: ce (default), dlr or targeted-dlr. Repeated, an image counts when it stays "
        "right under each; ce alone overstates robustness.",
    ),
]
Restarts = Annotated[int, typer.Option(help="Runs of each attack, from random starts.")]
LargerRadii = Annotated[
    bool, typer.Option("--larger-radii", help="L1: spend six tenths of the steps at larger radii first; stronger.")
]
MinAccuracy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[SET=]VALUE",
        help="Soups of at least this accuracy, without attack, go before all others: 0.85 on the sets, clean.zip=0.85 "
        "on another one that soups are not scored by; may be repeated.",
    ),
]
Pareto = Annotated[
    bool,
    typer.Option(
        "--pareto",
        help="Accuracy and each threat are objectives or, without threats, accuracy on each set: show the front.",
    ),
]
Sets = Annotated[
    list[str],
    typer.Argument(
        metavar="SET...",
        help="zip, tar, tar.gz or npz; a folder of class folders; or the id of a stored set. Several sets give the "
        "single soup that is best over all of them.",
    ),
]
LabelMapFile = Annotated[
    Path | None,
    typer.Option(
        help="JSON file: class of the set to class or classes of the model, for every SET. A set that --min-accuracy "
        "alone names keeps its archive's own label_map.json."
    ),
]
