"""Options that several commands share."""

from typing import Annotated

import typer

Url = Annotated[
    str, typer.Option("--url", envvar="SOUPSEARCH_URL", help="The service to call.", metavar="URL", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
DEFAULT_URL = "http://127.0.0.1:8000"
