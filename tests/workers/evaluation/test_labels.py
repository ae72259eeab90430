import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn.functional import cross_entropy

from workers.evaluation.labels import LabelSpace

LOGITS = arrays(np.float32, (6, 4), elements=st.floats(-50, 50, width=32))


@given(logits=LOGITS, labels=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_plain_scores_are_argmax_and_cross_entropy(logits: np.ndarray, labels: list[int]) -> None:
    tensor, target = torch.from_numpy(logits), torch.tensor(labels)
    space = LabelSpace.of_classes(4)
    scores = space.score(tensor, space.mask([[label] for label in labels]))
    assert torch.equal(scores.correct, tensor.argmax(dim=1) == target)
    expected = cross_entropy(tensor.double(), target, reduction="none")
    torch.testing.assert_close(scores.nll, expected, rtol=1e-12, atol=1e-12)
    assert scores.nll.dtype == torch.float64


@given(logits=LOGITS)
def test_groups_score_by_the_mean_softmax(logits: np.ndarray) -> None:
    space = LabelSpace([(0, 2), (3,)], 4)
    softmax = torch.from_numpy(logits).double().softmax(dim=1)
    means = torch.stack([softmax[:, [0, 2]].mean(dim=1), softmax[:, 3]], dim=1)
    scores = space.score(torch.from_numpy(logits), space.mask([[0]] * 6))
    clear = (means[:, 0] - means[:, 1]).abs() > 1e-12
    assert torch.equal(scores.correct[clear], (means[:, 0] > means[:, 1])[clear])
    expected = -(means[:, 0] / means.sum(dim=1)).log()
    finite = expected < 30
    torch.testing.assert_close(scores.nll[finite], expected[finite], rtol=1e-9, atol=1e-9)


def test_a_subset_ignores_all_other_classes() -> None:
    space = LabelSpace([(1,), (3,)], 4)
    logits = torch.tensor([[9.0, 2.0, 9.0, 1.0]])
    scores = space.score(logits, space.mask([[0]]))
    assert scores.correct.tolist() == [True]
    torch.testing.assert_close(scores.nll, cross_entropy(torch.tensor([[2.0, 1.0]]).double(), torch.tensor([0]))[None])


def test_several_labels_may_be_accepted() -> None:
    space = LabelSpace.of_classes(3)
    logits = torch.tensor([[0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    scores = space.score(logits, space.mask([[1, 2], [0, 2]]))
    assert scores.correct.tolist() == [True, False]
    softmax = logits.double().softmax(dim=1)[0]
    torch.testing.assert_close(scores.nll[0], -(softmax[1] + softmax[2]).log())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_are_wrong(bad: float) -> None:
    space = LabelSpace.of_classes(3)
    scores = space.score(torch.tensor([[bad, 0.0, 0.0], [1.0, 0.0, 0.0]]), space.mask([[0], [0]]))
    assert scores.finite.tolist() == [False, True]
    assert scores.correct.tolist() == [False, True]
    assert scores.nll[0] == torch.inf
    assert scores.nll[1].isfinite()


@pytest.mark.parametrize("columns", [[], [()], [(0,), (4,)], [(-1,)]])
def test_impossible_columns_are_refused(columns: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="column"):
        LabelSpace(columns, 4)


@pytest.mark.parametrize("accepted", [[], [3], [-1]])
def test_impossible_labels_are_refused(accepted: list[int]) -> None:
    with pytest.raises(ValueError, match="image 1 accepts"):
        LabelSpace.of_classes(3).mask([[0], accepted])
