"""Progress where a bar can be drawn, and where none can."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.training.progress import TrainingProgress
from soupsearch.cli.bars import EVERY, Bars, training_bars
from soupsearch.cli.study import _progress

TEXT = "{task.description} {task.completed}"
SCRIPT = """
import sys
from soupsearch.cli.bars import Bars
with Bars(every=0.0) as bars:
    bar = bars.add_task("scoring", total=40)
    for done in range(1, 41):
        bars.update(bar, completed=done)
        if "wait" in sys.argv and done == 1:
            sys.stdin.read()
print("the result")
"""


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def told(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [line.split() for line in captured.err.splitlines()]


def test_a_bar_gets_a_line_every_thirty_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with Bars(TEXT, get_time=lambda: now) as bars:
        first, second = bars.add_task("first", total=1000), bars.add_task("second", total=1000)
        for seconds in range(1, 121):
            now = float(seconds)
            bars.update(first, completed=seconds)
            bars.update(second, completed=seconds)
        lines = told(capsys)
    assert EVERY == 30
    for name in ("first", "second"):
        assert [line[1] for line in lines if line[0] == name] == ["30", "60", "90", "120"]
    assert told(capsys) == []


def test_between_two_lines_nothing_is_said_but_that_a_bar_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars(TEXT, every=1e9) as bars:
        first, second = bars.add_task("first", total=2), bars.add_task("second", total=9)
        for done in (1, 2, 2):
            bars.update(first, completed=done)
            bars.update(second, completed=done)
        assert told(capsys) == [["first", "2"]]
    assert told(capsys) == [["second", "2"]]


def broken() -> None:
    with Bars(TEXT, every=1e9) as bars:
        bars.update(bars.add_task("scoring", total=3), completed=2)
        raise ValueError("broken")


def test_where_it_stood_is_told_when_an_error_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"):
        broken()
    assert told(capsys) == [["scoring", "2"]]


@pytest.mark.parametrize("options", [{"quiet": True}, {"lines": False}])
def test_one_that_shall_say_nothing_says_nothing(capsys: pytest.CaptureFixture[str], options: dict[str, bool]) -> None:
    with Bars(every=0.0, **options) as bars:
        bars.update(bars.add_task("scoring", total=1), completed=1)
    assert told(capsys) == []


def test_colours_that_are_forced_draw_no_bar_into_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Bars(TEXT) as bars:
        bars.update(bars.add_task("scoring", total=1), completed=1)
    assert told(capsys) == [["scoring", "1"]]


def test_a_line_of_a_study_has_its_stage_and_share(capsys: pytest.CaptureFixture[str]) -> None:
    with _progress() as on_progress:
        on_progress("scoring soups", 5_000_000, 20_000_000)
    assert told(capsys) == [["scoring", "soups", "25%", "-:--:--"]]


def test_a_line_of_a_training_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a-long-name-of-an-ingredient-of-some-pantry"
    with training_bars() as bars:
        bars(name, TrainingProgress(7, 20, loss=0.5, accuracy=0.5, learning_rate=0.1, images_per_second=123.4))
    assert told(capsys) == [[name, "7/20", "steps", "loss", "0.500", "123", "images/s", "-:--:--"]]


def test_work_goes_on_when_nobody_reads_its_log_any_more() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stdin is not None
        assert process.stdout is not None
        assert "scoring" in process.stderr.readline()
        process.stderr.close()
        process.stdin.close()
        assert process.stdout.read() == "the result\n"
        assert process.wait(120) == 0


def test_work_goes_on_when_the_disk_of_its_log_is_full() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=full, text=True, check=True, timeout=120
        )
    assert done.stdout == "the result\n"


def written(terminal: int) -> Iterator[bytes]:
    """What a terminal shows, until its last writer is gone."""
    try:
        while part := os.read(terminal, 10_000):
            yield part
    except OSError:
        return


def test_a_terminal_gets_a_bar_that_is_drawn_again() -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=theirs, stdout=subprocess.PIPE, env=environment):
        os.close(theirs)
        drawn = b"".join(written(ours))
    os.close(ours)
    assert b"\x1b[2K" in drawn  # erases the line that it draws again
    assert b"100%" in drawn
    assert drawn.count(b"\n") == 1
