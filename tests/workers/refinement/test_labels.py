"""Labels of several sets as one."""

from dataclasses import replace

import pytest
import torch

from tests.workers.evaluation.images import CLASSES, random_images, random_set
from workers.evaluation.labels import LabelSpace
from workers.evaluation.sets import EncodedSet
from workers.refinement.labels import PooledLabels


def test_each_image_has_the_likelihood_of_its_set() -> None:
    plain = random_set(7)
    mapped = EncodedSet(random_images(3), ((0,), (1,), (0, 1)), LabelSpace([(0, 3), (2,)], CLASSES))
    labels = PooledLabels([plain, mapped])
    logits = torch.randn(10, CLASSES, generator=torch.Generator().manual_seed(0))
    found = labels.nll(logits)
    assert labels.sizes == [7, 3]
    for source, part, likelihoods in ((plain, logits[:7], found[:7]), (mapped, logits[7:], found[7:])):
        outcomes = source.space.outcomes(part, source.space.mask(source.labels))
        assert outcomes.log_probability is not None
        torch.testing.assert_close(-likelihoods.float(), outcomes.log_probability)
    with pytest.raises(ValueError, match="label map"):
        labels.accepted  # noqa: B018
    right = PooledLabels([plain]).accepted
    assert right.nonzero()[:, 1].tolist() == [label for (label,) in plain.labels]


def test_sets_without_labels_are_passed_over() -> None:
    bare = replace(random_set(3), accepted=None)
    labels = PooledLabels([bare, random_set(4), bare, random_set(2, seed=1)])
    assert (labels.rows.tolist(), labels.sizes) == ([3, 4, 5, 6, 10, 11], [4, 2])
    assert labels.first == PooledLabels([random_set(4), random_set(2, seed=1)]).first
    with pytest.raises(ValueError, match="no set has any"):
        PooledLabels([bare])
