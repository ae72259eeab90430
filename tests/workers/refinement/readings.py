"""What a soup's last layer would take and return."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from search.evaluation import REFINEMENT_FOLDS
from tests.workers.evaluation.images import CLASSES, random_set
from workers.evaluation.sets import EncodedSet
from workers.refinement.reading import SoupReading


def random_reading(sizes: Sequence[int], features: int = 12) -> tuple[SoupReading, list[EncodedSet]]:
    """A reading of random sets of these sizes, whose features tell the labels, and its logits a little."""
    sets = [random_set(size, seed=place) for place, size in enumerate(sizes)]
    labels = torch.tensor([label for source in sets for (label,) in source.labels])
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, features, generator=generator)
    found = centres[labels] + torch.randn(len(labels), features, generator=generator)
    logits = found @ centres.t() / 3 + torch.randn(CLASSES, generator=generator)
    return SoupReading(logits, found), sets


def with_labels_changed(source: EncodedSet, fold: int) -> EncodedSet:
    """The set with another label for each image of ``fold``."""
    labels = [((label + (place % REFINEMENT_FOLDS == fold)) % CLASSES,) for place, (label,) in enumerate(source.labels)]
    return replace(source, accepted=tuple(labels))
