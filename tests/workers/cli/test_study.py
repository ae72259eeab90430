"""The study command: what it refuses, and how it says so."""

from pathlib import Path

import pytest

from tests.workers.cli.commands import exit_code
from tests.workers.study.conftest import write_study


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command says, in one line, when it refuses."""
    assert exit_code("study", *arguments) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.strip().splitlines()[-1]


def test_a_study_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(capsys, tmp_path / "none.yaml", tmp_path / "out")
    assert message.startswith(f"error: {tmp_path / 'none.yaml'} is no file: give the YAML file of a study")


def test_wrong_fields_are_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path / "study.yaml", seed=-1)
    message = refusal(capsys, path, tmp_path / "out")
    assert message == f"error: {path}: seed: Input should be greater than or equal to 0"
