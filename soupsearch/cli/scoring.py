"""Scores of model folders on adaptation sets of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from service.adaptation_sets.labels import resolve
from service.adaptation_sets.registry import SetRegistry
from service.adaptation_sets.stored import StoredSet
from service.artifacts import open_store
from service.schemas.adaptation_set import LabelMap
from service.settings import Settings
from soupsearch.cli.exits import CommandError

if TYPE_CHECKING:
    from torch import nn

    from workers.evaluation.sets import EncodedSet


@dataclass(frozen=True)
class FolderScore:
    """One model on one set. On ``not_finite`` of the images its outputs hold NaN or infinity; these count as wrong."""

    images: int
    correct: int
    nll: float
    interval: tuple[float, float]
    not_finite: int = 0

    @property
    def accuracy(self) -> float:
        """Fraction of the images that are right."""
        return self.correct / self.images

    def document(self) -> dict[str, Any]:
        """The score as JSON; ``nll`` is null if any output is not finite."""
        return {
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "nll": None if self.not_finite else self.nll,
            "correct": self.correct,
            "images": self.images,
            "not_finite": self.not_finite,
        }

    def sentence(self) -> str:
        """The score as text."""
        low, high = self.interval
        right = f"{self.correct} of {self.images} images; 95 % {low:.1%} to {high:.1%}"
        if not self.not_finite:
            return f"accuracy {self.accuracy:.1%} ({right}), negative log-likelihood {self.nll:.3f} nats"
        return (
            f"accuracy {self.accuracy:.1%} ({right}). The model's outputs are not finite on {self.not_finite} of the "
            "images, which count as wrong: its weights hold NaN or infinity, or it is a soup extrapolated too far. "
            "Use soup weights closer to the ingredients, or other ingredients"
        )


@contextmanager
def local_set(archive: Path, label_map: LabelMap | None = None) -> Iterator[StoredSet]:
    """Check an archive as the service would, and open it. Leaves nothing behind."""
    with TemporaryDirectory(prefix="soupsearch-") as scratch:
        settings = Settings(data_dir=Path(scratch), min_free_bytes=0)
        registry = SetRegistry(open_store(settings), settings)
        yield registry.open(registry.add(archive, label_map).id)


def encoded_set(folder: Path, archive: Path, label_map: LabelMap | None = None) -> "EncodedSet":
    """The labelled images of an archive as the model in ``folder`` takes them, with their labels.

    Raises CommandError when none has a label.
    """
    from workers.evaluation.labels import LabelSpace
    from workers.evaluation.preprocess import DataConfig, encode_images
    from workers.evaluation.sets import EncodedSet
    from workers.soups.model import read_config

    config = read_config(folder)
    num_classes = int(config["num_classes"])
    with local_set(archive, label_map) as stored:
        labels = resolve(stored, config.get("label_names"), num_classes)
        rows = labels.labelled
        if not rows:
            raise CommandError(
                f"no image of {archive} has a label: put images into class folders to score a model on them"
            )
        images = encode_images(stored.images(), DataConfig.of(config), precropped=stored.precropped)[list(rows)]
    accepted = tuple(labels.accepted[row] for row in rows)
    return EncodedSet(images, accepted, LabelSpace(labels.columns, num_classes))


def loaded_folder(folder: Path) -> "nn.Module":
    """The model of a folder, in evaluation mode on the CPU. Raises CommandError when timm cannot load it."""
    from workers.evaluation.folder import load_folder

    try:
        return load_folder(folder)
    except (RuntimeError, OSError, ValueError) as error:
        raise CommandError(f"timm cannot load {folder}: {error}") from error


def score_folder(
    folder: Path, archive: Path, label_map: LabelMap | None = None, *, threads: int = 0, quiet: bool = True
) -> FolderScore:
    """Load a model folder with timm and score it on the images of an archive, with a progress bar unless ``quiet``.

    Images without a label are left out. Raises CommandError when timm cannot load the folder or no image has a label,
    InvalidSet or TooLarge when the archive is refused.
    """
    import torch

    from search.statistics import bootstrap_interval
    from soupsearch.cli.bars import Bars
    from workers.evaluation.folder import evaluate_model

    if threads:
        torch.set_num_threads(threads)
    model = loaded_folder(folder)
    images = encoded_set(folder, archive, label_map)
    with Bars(quiet=quiet) as progress:
        bar = progress.add_task("scoring", total=len(images))
        found = evaluate_model(model, images, on_batch=lambda done: progress.update(bar, completed=done))
    interval = bootstrap_interval([found.right])
    not_finite = int((found.prediction < 0).sum())
    return FolderScore(len(images), int(found.right.sum()), found.nll, interval, not_finite)
