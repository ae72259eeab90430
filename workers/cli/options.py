"""Options that several commands share."""

from typing import Annotated

import typer

Url = Annotated[
    str, typer.Option("--url", envvar="SOUPSEARCH_URL", help="The service to call.", metavar="URL", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:N.")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0: all cores.", min=0)]
DEFAULT_URL = "http://127.0.0.1:8000"
