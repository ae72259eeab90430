"""Log-probabilities are float32, rounded from float64: off by at most 2^-24 of their size."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch.nn.functional import cross_entropy

from workers.evaluation.labels import ImageOutcomes, LabelSpace

ROUNDING: dict[str, Any] = {"rtol": 2**-24, "atol": 1e-12}
LOGITS = arrays(np.float32, (6, 4), elements=st.floats(-50, 50, width=32))


def labelled(space: LabelSpace, logits: Tensor, accepted: list[list[int]]) -> tuple[ImageOutcomes, Tensor, Tensor]:
    """The outcomes of labelled images, and their ``correct`` and ``log_probability``."""
    found = space.outcomes(logits, space.mask(accepted))
    assert found.correct is not None
    assert found.log_probability is not None
    return found, found.correct, found.log_probability


@given(logits=LOGITS, labels=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_plain_outcomes_are_argmax_and_cross_entropy(logits: np.ndarray, labels: list[int]) -> None:
    tensor, target = torch.from_numpy(logits), torch.tensor(labels)
    space = LabelSpace.of_classes(4)
    found, correct, likelihood = labelled(space, tensor, [[label] for label in labels])
    assert torch.equal(found.prediction, tensor.argmax(dim=1).int())
    assert torch.equal(correct, tensor.argmax(dim=1) == target)
    expected = cross_entropy(tensor.double(), target, reduction="none")
    torch.testing.assert_close(-likelihood.double(), expected, **ROUNDING)
    assert likelihood.dtype == torch.float32


@given(logits=LOGITS)
def test_groups_score_by_the_mean_softmax(logits: np.ndarray) -> None:
    space = LabelSpace([(0, 2), (3,)], 4)
    softmax = torch.from_numpy(logits).double().softmax(dim=1)
    means = torch.stack([softmax[:, [0, 2]].mean(dim=1), softmax[:, 3]], dim=1)
    found, correct, likelihood = labelled(space, torch.from_numpy(logits), [[0]] * 6)
    clear = (means[:, 0] - means[:, 1]).abs() > 1e-12
    assert torch.equal(correct[clear], (means[:, 0] > means[:, 1])[clear])
    assert torch.equal(found.prediction[clear], means.argmax(dim=1).int()[clear])
    expected = -(means[:, 0] / means.sum(dim=1)).log()
    finite = expected < 30
    torch.testing.assert_close(-likelihood.double()[finite], expected[finite], rtol=2**-24 + 1e-9, atol=1e-9)


def test_a_subset_ignores_all_other_classes() -> None:
    space = LabelSpace([(1,), (3,)], 4)
    logits = torch.tensor([[9.0, 2.0, 9.0, 1.0]])
    found, correct, likelihood = labelled(space, logits, [[0]])
    assert (correct.tolist(), found.prediction.tolist()) == ([True], [0])
    expected = cross_entropy(torch.tensor([[2.0, 1.0]]).double(), torch.tensor([0]))[None]
    torch.testing.assert_close(-likelihood.double(), expected, **ROUNDING)


def test_several_labels_may_be_accepted() -> None:
    space = LabelSpace.of_classes(3)
    logits = torch.tensor([[0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    _, correct, likelihood = labelled(space, logits, [[1, 2], [0, 2]])
    assert correct.tolist() == [True, False]
    softmax = logits.double().softmax(dim=1)[0]
    torch.testing.assert_close(likelihood[0].double(), (softmax[1] + softmax[2]).log(), **ROUNDING)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_are_wrong(bad: float) -> None:
    space = LabelSpace.of_classes(3)
    logits = torch.tensor([[bad, 0.0, 0.0], [1.0, 0.0, 0.0]])
    found, correct, likelihood = labelled(space, logits, [[0], [0]])
    assert found.finite.tolist() == [False, True]
    assert correct.tolist() == [False, True]
    assert found.prediction.tolist() == [-1, 0]
    assert likelihood[0] == -torch.inf
    assert likelihood[1].isfinite()
    assert space.outcomes(logits, None).prediction.tolist() == [-1, 0]


@given(logits=LOGITS)
def test_images_without_labels_are_predicted_alike(logits: np.ndarray) -> None:
    space = LabelSpace([(0, 2), (3,)], 4)
    bare, full = (space.outcomes(torch.from_numpy(logits), mask) for mask in (None, space.mask([[0]] * 6)))
    assert torch.equal(bare.prediction, full.prediction)
    assert torch.equal(bare.finite, full.finite)
    assert bare.correct is None
    assert bare.log_probability is None


@pytest.mark.parametrize("columns", [[], [()], [(0,), (4,)], [(-1,)]])
def test_impossible_columns_are_refused(columns: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="column"):
        LabelSpace(columns, 4)


@pytest.mark.parametrize("accepted", [[], [3], [-1]])
def test_impossible_labels_are_refused(accepted: list[int]) -> None:
    with pytest.raises(ValueError, match="image 1 accepts"):
        LabelSpace.of_classes(3).mask([[0], accepted])
