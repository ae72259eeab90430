"""The state of an interrupted training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from workers.whole_file import whole_file


class CheckpointMismatchError(ValueError):
    """A checkpoint belongs to another recipe or other data."""


def save_checkpoint(path: Path, digest: str, state: dict[str, Any]) -> None:
    """Replace ``path`` by ``state`` atomically: a kill at any moment leaves either the old or the new state."""
    with whole_file(path) as file:
        torch.save({"digest": digest, "state": state}, file)


def load_checkpoint(path: Path, digest: str) -> dict[str, Any] | None:
    """The state last saved at ``path``, or None if there is none.

    Raises CheckpointMismatchError if it was saved under another ``digest``.
    """
    if not path.is_file():
        return None
    content = torch.load(path, weights_only=True, map_location="cpu")
    if content["digest"] != digest:
        raise CheckpointMismatchError(
            f"{path} was left by a run with another recipe or other data: remove it to start again"
        )
    state: dict[str, Any] = content["state"]
    return state
