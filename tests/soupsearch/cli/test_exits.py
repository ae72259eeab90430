"""Exit codes of the command, from what a command raises."""

from collections.abc import Callable

import click
import pytest
import typer

from service.errors import InvalidSet
from service.schemas.problem import Problem
from service.settings import Settings
from soupsearch.cli.exits import INTERRUPTED, REFUSED, UNREACHABLE, CommandError, reported
from soupsearch.client import ApiError, UnreachableError

PROBLEM = Problem(type="about:blank", title="Not found", status=404, code="job_not_found", detail="There is no job 7.")


def raising(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (CommandError("pass [--config]"), REFUSED, "pass [--config]"),
        (InvalidSet("no images in it"), REFUSED, "no images in it"),
        (ApiError(PROBLEM), REFUSED, "There is no job 7."),
        (PermissionError(13, "Permission denied", "/out"), REFUSED, "/out"),
        (ModuleNotFoundError("No module", name="uvicorn.config"), REFUSED, "pip install 'soupsearch[api,workers"),
        (UnreachableError("no service answers"), UNREACHABLE, "no service answers"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
        (click.Abort(), INTERRUPTED, "interrupted"),
        (SystemExit("the parent has ended"), REFUSED, "the parent has ended"),
    ],
)
def test_errors_end_in_a_line_and_a_code(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reported(raising(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert text in err


@pytest.mark.parametrize(("error", "code"), [(SystemExit(), 0), (SystemExit(0), 0), (SystemExit(2), 2)])
def test_a_command_may_choose_its_code(error: SystemExit, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert reported(raising(error)) == code
    assert capsys.readouterr().err == ""


def test_done_is_zero() -> None:
    assert reported(lambda: None) == 0


def test_usage_errors_and_exits_keep_their_codes() -> None:
    app = typer.Typer()

    @app.command()
    def command(code: int) -> None:
        raise typer.Exit(code)

    assert reported(lambda: app(["1"])) == 1
    assert reported(lambda: app(["one"])) == 2


def test_a_setting_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SOUPSEARCH_PORT", "eighty")
    assert reported(lambda: Settings(_env_file=None)) == REFUSED
    assert "SOUPSEARCH_PORT must be an integer, not 'eighty'" in capsys.readouterr().err


@pytest.mark.parametrize("defect", [ZeroDivisionError(), ModuleNotFoundError("No module", name="workers.gone")])
def test_defects_are_not_dressed_up(defect: Exception) -> None:
    with pytest.raises(type(defect)):
        reported(raising(defect))
