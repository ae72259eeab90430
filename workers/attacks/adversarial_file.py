"""Adversarial images in a file."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workers.attacks.robustness import RobustAccuracy
from workers.whole_file import make_output_folder, whole_file

FILE_NAME = "adversarial.npz"


def prepare_path(given: Path) -> Path:
    """Make the folder of a file of adversarial images; returns the file's path.

    It is ``given`` if that ends in ``.npz``, otherwise ``adversarial.npz`` in that folder. To be called before
    an attack, whose images would otherwise be lost. Raises FileExistsError if the file is there already, for
    adversarial images are never overwritten, and OSError if it could not be written.
    """
    path = given if given.suffix == ".npz" else given / FILE_NAME
    if path.exists():
        raise FileExistsError(f"{path} is there already: save to another file or folder, or remove it")
    where = "save to a file that ends in .npz, or to a folder, where you may write"
    make_output_folder(path.parent, otherwise=where)
    return path


def check_room(path: Path, images: Tensor, *, attacks: int, seeds: int) -> None:
    """Raise OSError unless the disk of ``path`` has room for what attacks on ``images`` (N, C, H, W) will save."""
    needed = 4 * images.numel() * (attacks * seeds + 1)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            f"the adversarial images will take {needed / 2**20:.0f} MiB, and {free / 2**20:.0f} MiB are free in "
            f"{path.parent}: free some space, save elsewhere, or take fewer images, threats, losses or seeds"
        )


def save_adversarial(
    path: Path, found: RobustAccuracy, images: Tensor, labels: Tensor, *, seeds: Sequence[int]
) -> None:
    """Write what an attack with ``keep_points`` found: T attacks from S seeds on ``images`` (N, C, H, W).

    The arrays: ``images`` float32 (T, S, N, C, H, W) in [0, 1], the image itself where the attack failed; ``clean``
    float32 (N, C, H, W); ``labels`` int64 (N,); ``robust`` bool (T, S, N); ``seeds`` int64 (S,). The attacks:
    ``threats`` (``NORM:EPS``) and ``losses`` text (T,); ``steps``, ``restarts`` and ``targets`` int64 (T,), targets
    being 0 for a loss without; ``larger_radii`` bool (T,). Nothing in it is pickled. The file appears whole or not.

    Raises ValueError if the points were not kept, FileExistsError if ``path`` has appeared meanwhile, and OSError,
    with what to do, on a full disk.
    """
    points = [result.points for result in found.threats if result.points is not None]
    if len(points) != len(found.threats):
        raise ValueError("the adversarial images were not kept: attack with keep_points")
    attacks = [result.attack for result in found.threats]
    with whole_file(path, overwrite=False) as file:
        np.savez(
            file,
            images=torch.stack(points).float().cpu().numpy(),
            clean=images.float().cpu().numpy(),
            labels=labels.cpu().numpy(),
            robust=torch.stack([result.robust for result in found.threats]).cpu().numpy(),
            threats=np.array([str(each.threat) for each in attacks]),
            losses=np.array([each.loss for each in attacks]),
            steps=np.array([each.steps for each in attacks]),
            restarts=np.array([each.restarts for each in attacks]),
            targets=np.array([each.targets if each.targeted else 0 for each in attacks]),
            larger_radii=np.array([each.larger_radii for each in attacks]),
            seeds=np.array(list(seeds)),
        )
