from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.training.progress import EVENTS, LOG, MetricsLog, TrainingProgress


def at(step: int, steps: int = 25) -> TrainingProgress:
    return TrainingProgress(step, steps, 1 / step, 0.5, 0.1, 100.0)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def test_every_tenth_step_and_the_last_are_kept(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in range(1, 26):
        log(at(step))
    assert [line["step"] for line in lines(tmp_path)] == [10, 20, 25]
    assert lines(tmp_path)[0] == {
        "step": 10, "steps": 25, "loss": 0.1, "accuracy": 0.5, "learning_rate": 0.1, "images_per_second": 100.0,
    }  # fmt: skip


def test_a_resumed_run_writes_on_where_it_resumed(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in range(1, 26):
        log(at(step))
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 3')
    resumed = MetricsLog(tmp_path)
    for step in range(16, 26):
        resumed(at(step))
    assert [line["step"] for line in lines(tmp_path)] == [10, 20, 25]


def test_events_are_written_for_tensorboard(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=True)
    for step in range(1, 26):
        log(at(step))
    log.close()
    (events,) = (tmp_path / EVENTS).iterdir()
    assert b"images_per_second" in events.read_bytes()
