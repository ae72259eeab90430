"""The ``soupsearch`` command."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from soupsearch.cli import adapting, attacking, jobs, models, pantries, serving, study, training
from soupsearch.cli.exits import reported

app = typer.Typer(
    name="soupsearch",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Find the best **model soup** for a new data distribution from a few labelled images.\n\n"
        "A *pantry* holds checkpoints of one architecture, an *adaptation set* 10 to 1000 labelled images. A job "
        "finds the soup weights `w`, which sum to 1, for which `sum_i w_i theta_i` does best on these images.\n\n"
        "Start here: `soupsearch serve`, then `soupsearch pantry add NAME DIR...`, then "
        "`soupsearch adapt SET --pantry NAME --out model`.\n\n"
        "Exit codes: 0 done; 1 refused or failed (the message says what to change); 2 wrong usage; "
        "3 no service answers; 130 interrupted."
    ),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"soupsearch {version('soupsearch')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""


serving.register(app)
adapting.register(app)
jobs.register(app)
models.register(app)
attacking.register(app)
training.register(app)
study.register(app)
app.add_typer(pantries.app, name="pantry")


def main() -> None:
    """Run the command. Errors that users can fix end in a message and an exit code, not in a traceback."""
    sys.exit(reported(app))


if __name__ == "__main__":
    main()
