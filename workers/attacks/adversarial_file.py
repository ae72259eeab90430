"""Adversarial images in a file."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workers.attacks.robustness import RobustAccuracy

FILE_NAME = "adversarial.npz"


def adversarial_path(given: Path) -> Path:
    """``given`` if it ends in ``.npz``, otherwise ``adversarial.npz`` in that folder.

    Raises FileExistsError if the file is there already: adversarial images are never overwritten.
    """
    path = given if given.suffix == ".npz" else given / FILE_NAME
    if path.exists():
        raise FileExistsError(f"{path} is there already: save to another file or folder, or remove it")
    return path


def save_adversarial(
    path: Path, found: RobustAccuracy, images: Tensor, labels: Tensor, *, seeds: Sequence[int]
) -> None:
    """Write what an attack with ``keep_points`` found: T attacks from S seeds on ``images`` (N, C, H, W).

    The arrays: ``images`` float32 (T, S, N, C, H, W) in [0, 1], the image itself where the attack failed; ``clean``
    float32 (N, C, H, W); ``labels`` int64 (N,); ``robust`` bool (T, S, N); ``threats`` (``NORM:EPS``) and ``losses``
    text (T,); ``steps`` int64 (T,); ``seeds`` int64 (S,). Nothing in it is pickled. The file appears whole or not.

    Raises ValueError if the points were not kept, FileExistsError if ``path`` has appeared meanwhile.
    """
    points = [result.points for result in found.threats if result.points is not None]
    if len(points) != len(found.threats):
        raise ValueError("the adversarial images were not kept: attack with keep_points")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            np.savez(
                file,
                images=torch.stack(points).float().cpu().numpy(),
                clean=images.float().cpu().numpy(),
                labels=labels.cpu().numpy(),
                robust=torch.stack([result.robust for result in found.threats]).cpu().numpy(),
                threats=np.array([str(result.threat) for result in found.threats]),
                losses=np.array([result.settings.loss for result in found.threats]),
                steps=np.array([result.settings.steps for result in found.threats]),
                seeds=np.array(list(seeds)),
            )
            file.flush()
            os.fsync(file.fileno())
        _move_to_free(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _move_to_free(unfinished: Path, path: Path) -> None:
    """Give a file the name ``path``. Raises FileExistsError if another file has it."""
    try:
        os.link(unfinished, path)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links: take the name first, then put the content there
        path.open("xb").close()
        unfinished.replace(path)
