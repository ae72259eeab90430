"""Whether two devices score the shipped pantries alike."""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from search.evaluation import SetOutcome
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.stack import IngredientStack

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("linf", "l2", "l1", "nominal")
EXTRAPOLATED = ([1.4, 0.4, -0.4, -0.4], [-0.4, 0.4, -0.2, 1.2], [0.8, 0.8, -0.2, -0.4])


@dataclass(frozen=True)
class Agreement:
    """One soup on one set: images right on either device, and how far logits and mean nll differ at most."""

    pantry: str
    set: str
    weights: tuple[float, ...]
    images: int
    correct: int
    correct_on_cpu: int
    predictions_that_differ: int
    logit_difference: float
    nll_difference: float


def compare_devices(device: str, limit: int) -> list[dict[str, object]]:
    """Score the shipped pantries on ``limit`` images of each shipped set, on ``device`` and on the CPU."""
    return [
        asdict(row)
        for pantry in sorted(path for path in (EXAMPLES / "pantries").iterdir() if path.is_dir())
        for row in _compare_pantry(pantry, device, limit)
    ]


def _compare_pantry(pantry: Path, device: str, limit: int) -> list[Agreement]:
    stack = IngredientStack.from_folders([pantry / name for name in NAMES])
    archives = sorted((EXAMPLES / "sets").glob("*/held_out.zip"))
    sets = [read_set(archive, pantry / NAMES[0], limit) for archive in archives]
    there, here = Evaluator(stack, sets, device=device), Evaluator(stack, sets)
    rows = []
    for weights in _soups(len(stack)):
        one, other = there.evaluate(weights, keep_logits=True), here.evaluate(weights, keep_logits=True)
        pairs = zip(archives, one.sets, other.sets, strict=True)
        rows += [_compare(pantry.name, archive.parent.name, tuple(weights), a, b) for archive, a, b in pairs]
    return rows


def _soups(count: int) -> list[Sequence[float]]:
    return [*np.eye(count).tolist(), [1 / count] * count, *EXTRAPOLATED]


def _compare(pantry: str, name: str, weights: tuple[float, ...], one: SetOutcome, other: SetOutcome) -> Agreement:
    if one.logits is None or other.logits is None:
        raise ValueError("both outcomes need their logits")
    ours, theirs = one.logits, other.logits
    return Agreement(
        pantry=pantry,
        set=name,
        weights=weights,
        images=one.seen,
        correct=int(one.right.sum()),
        correct_on_cpu=int(other.right.sum()),
        predictions_that_differ=int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum()),
        logit_difference=float(np.abs(ours - theirs).max()),
        nll_difference=abs(one.nll - other.nll),
    )


def read_set(archive: Path, ingredient: Path, limit: int) -> EncodedSet:
    """The first ``limit`` images of a shipped archive of class folders, shuffled by a fixed seed."""
    config = json.loads((ingredient / "config.json").read_text(encoding="utf-8"))
    label_names = config["label_names"]
    with zipfile.ZipFile(archive) as members:
        names = sorted(name for name in members.namelist() if name.endswith(".png"))
        names = [names[row] for row in np.random.default_rng(0).permutation(len(names))[:limit]]
        images = [Image.open(io.BytesIO(members.read(name))) for name in names]
    labels = [label_names.index(Path(name).parent.name) for name in names]
    return EncodedSet.of_classes(encode_images(images, DataConfig.of(config)), labels, len(label_names))
