"""Commands run in this process, with the exit codes that users see."""

from soupsearch.cli.exits import reported
from soupsearch.cli.main import app


def exit_code(*arguments: object) -> int:
    """Run ``soupsearch`` with ``arguments`` and return its exit code."""
    return reported(lambda: app([str(argument) for argument in arguments]))
