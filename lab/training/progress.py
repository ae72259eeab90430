"""The progress of a training, and its log."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LOG = "metrics.jsonl"
EVENTS = "tensorboard"
_EVERY = 10


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands after ``step`` of ``steps``. Loss and accuracy are those of the last training batch."""

    step: int
    steps: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float


OnProgress = Callable[[TrainingProgress], None]


class MetricsLog:
    """Writes every tenth step and the last one to ``metrics.jsonl`` in ``folder``, one JSON object per line.

    With ``tensorboard`` the same goes into event files in the folder ``tensorboard``. A resumed run continues the log
    from where it resumed and drops later lines of the previous run. Raises ValueError if tensorboardX is not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        if tensorboard and find_spec("tensorboardX") is None:
            raise ValueError("tensorboardX is not installed: pip install tensorboardX, or leave out --tensorboard")
        self._path = folder / LOG
        self._events = folder / EVENTS if tensorboard else None
        self._writer: Any = None
        self._begun = False

    def __call__(self, progress: TrainingProgress) -> None:
        """Record a step."""
        if not self._begun:
            self._begin(progress.step)
        if progress.step % _EVERY and progress.step != progress.steps:
            return
        metrics = asdict(progress)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics, allow_nan=False) + "\n")
        if self._writer is not None:
            for name in ("loss", "accuracy", "learning_rate", "images_per_second"):
                self._writer.add_scalar(name, metrics[name], progress.step)

    def close(self) -> None:
        """Write everything that is not written yet."""
        if self._writer is not None:
            self._writer.close()

    def _begin(self, step: int) -> None:
        self._begun = True
        lines = self._path.read_text("utf-8").splitlines(keepends=True) if self._path.is_file() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < step]
        self._path.write_text("".join(kept), "utf-8")
        if self._events is not None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self._events), purge_step=step)
