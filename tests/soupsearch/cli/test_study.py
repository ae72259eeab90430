"""The study command: what it refuses, and how it says so."""

from pathlib import Path

import pytest

from tests.inputs import image_zip
from tests.lab.study.conftest import write_study
from tests.soupsearch.cli.commands import exit_code


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command says, in one line, when it refuses."""
    assert exit_code("study", *arguments) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.strip().splitlines()[-1]


def test_a_study_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(capsys, tmp_path / "none.yaml", tmp_path / "out")
    assert message.startswith(f"error: {tmp_path / 'none.yaml'} does not exist: give the path of a study")


def test_wrong_fields_are_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path / "study.yaml", seed=-1)
    message = refusal(capsys, path, tmp_path / "out")
    assert message == f"error: {path}: seed must be at least 0, not -1"


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["foo"], "error: unknown device 'foo': use auto, cpu, cuda or cuda:N"),
        (["cuda:99"], "error: PyTorch finds no device cuda:99 on this machine: use --device cpu"),
        (
            ["cuda:1", "--ray-address", "127.0.0.1:1"],
            "error: Ray gives each evaluator its GPU: use --device auto, cpu or cuda instead of cuda:1",
        ),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], chosen: list[str], message: str
) -> None:
    path = write_study(tmp_path / "study.yaml")
    assert refusal(capsys, path, tmp_path / "out", "--device", *chosen).startswith(message)
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_does_not_answer_is_told_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path / "study.yaml")
    message = refusal(capsys, path, tmp_path / "out", "--ray-address", "127.0.0.1:1")
    assert message.startswith("error: no Ray cluster answers at 127.0.0.1:1")
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path / "study.yaml")
    assert f"no file can be written in {path / 'cache'}" in refusal(capsys, path, path)


def test_an_archive_that_is_refused_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lamps.zip").write_bytes(image_zip(["lamp", "chair"]))
    data = {"sets": [{"name": "lamps", "archive": "lamps.zip"}]}
    path = write_study(tmp_path / "study.yaml", data=data, attacks=None)
    message = refusal(capsys, path, tmp_path / "out")
    assert message.startswith(f"error: {tmp_path / 'lamps.zip'}: the class 'chair' is not exactly one of the pantry's")
