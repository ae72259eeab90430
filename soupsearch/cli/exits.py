"""Exit codes and how errors become them."""

from collections.abc import Callable

import click
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from service.errors import SoupsearchError
from service.schemas.wording import place, sentence
from service.settings import Settings
from soupsearch.client import ApiError, UnreachableError

OWN = ("search", "service", "workers", "lab", "soupsearch")
REFUSED = 1
UNREACHABLE = 3
INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot continue; the message says what to change."""


def reported(run: Callable[[], object]) -> int:  # noqa: PLR0911
    """Run a command and return its exit code. Errors that users can fix are printed in one line."""
    try:
        run()
    except SystemExit as error:
        return _exit_code(error)
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        return _fail(_settings_problem(error), REFUSED)
    except (ApiError, SoupsearchError, CommandError, OSError) as error:
        return _fail(str(error), REFUSED)
    except UnreachableError as error:
        return _fail(str(error), UNREACHABLE)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OWN:
            raise
        return _fail(f"{error.name} is not installed: pip install 'soupsearch[api,workers,embedded,lab]'", REFUSED)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED)
    return 0


def _exit_code(error: SystemExit) -> int:
    if isinstance(error.code, str):
        return _fail(error.code, REFUSED)
    return error.code or 0


def _settings_problem(error: ValidationError) -> str:
    faults = error.errors()
    return "; ".join(sentence(each, f"SOUPSEARCH_{place(each['loc']).upper()}") for each in faults)


def _fail(message: str, code: int) -> int:
    Console(stderr=True, soft_wrap=True).print(f"[red]error:[/red] {escape(message)}")
    return code
