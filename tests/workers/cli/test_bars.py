"""Progress where a bar can be drawn, and where none can."""

import os
import pty
import subprocess
import sys

import pytest

from workers.cli.bars import Bars
from workers.cli.study import _progress

SCRIPT = """
from workers.cli.bars import Bars
with Bars(every=0.0) as bars:
    bar = bars.add_task("scoring", total=2)
    bars.update(bar, completed=1)
    bars.update(bar, completed=2)
"""


def lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [line.split() for line in captured.err.splitlines()]


def test_a_file_gets_a_line_when_it_is_due(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars("{task.description} {task.completed}", every=0.0) as bars:
        bar = bars.add_task("scoring", total=3)
        for done in (1, 2, 3, 3):
            bars.update(bar, completed=done)
    assert lines(capsys) == [["scoring", "1"], ["scoring", "2"], ["scoring", "3"]]


def test_between_two_lines_nothing_is_said_but_that_a_bar_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars("{task.description} {task.completed}", every=1e9) as bars:
        first, second = bars.add_task("first", total=2), bars.add_task("second", total=9)
        for done in (1, 2):
            bars.update(first, completed=done)
            bars.update(second, completed=done)
        assert lines(capsys) == [["first", "2"]]
    assert lines(capsys) == [["second", "2"]]


def broken() -> None:
    with Bars("{task.description} {task.completed}", every=1e9) as bars:
        bars.update(bars.add_task("scoring", total=3), completed=2)
        raise ValueError("broken")


def test_where_it_stood_is_told_when_an_error_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"):
        broken()
    assert lines(capsys) == [["scoring", "2"]]


def test_a_quiet_one_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars(quiet=True, every=0.0) as bars:
        bars.update(bars.add_task("scoring", total=1), completed=1)
    assert lines(capsys) == []


def test_a_line_of_a_study_has_its_stage_and_share(capsys: pytest.CaptureFixture[str]) -> None:
    with _progress() as on_progress:
        on_progress("scoring soups", 5_000_000, 20_000_000)
    (line,) = lines(capsys)
    assert line[:2] == ["scoring", "soups"]
    assert "25%" in line


def test_a_terminal_gets_a_bar_that_is_drawn_again(capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", SCRIPT], stderr=theirs, env=environment, check=True, timeout=120)
    os.close(theirs)
    drawn = os.read(ours, 100_000)
    os.close(ours)
    assert b"\x1b[2K" in drawn  # erases the line that it draws again
    assert b"100%" in drawn
    assert capfd.readouterr().err == ""
