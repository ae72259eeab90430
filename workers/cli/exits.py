"""Exit codes and how errors become them."""

from collections.abc import Callable

import click
from rich.console import Console
from rich.markup import escape

from service.client import ApiError, UnreachableError
from service.errors import SoupsearchError

REFUSED = 1
UNREACHABLE = 3
INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot go on; the message says what to change."""


def reported(run: Callable[[], object]) -> int:
    """Run a command and return its exit code, with errors that users can mend printed in a line."""
    try:
        run()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else REFUSED
    except (ApiError, SoupsearchError, CommandError) as error:
        return _fail(str(error), REFUSED)
    except UnreachableError as error:
        return _fail(str(error), UNREACHABLE)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED)
    return 0


def _fail(message: str, code: int) -> int:
    Console(stderr=True, soft_wrap=True).print(f"[red]error:[/red] {escape(message)}")
    return code
