import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.evaluation import (
    EvaluationRequest,
    LayerWeights,
    Outcome,
    Passes,
    Refinement,
    SetOutcome,
    Status,
    joined,
    weights_key,
)
from tests.search.outcomes import assert_same, labelled, set_outcomes


@given(set_outcomes(seen=20, threats=2), st.sets(st.integers(0, 20)))
def test_parts_of_a_set_are_joined_in_order(whole: SetOutcome, cuts: set[int]) -> None:
    ends = [0, *sorted(cuts), 20]
    parts = [
        Outcome("complete", (_rows(whole, slice(*ends[place : place + 2])),), Passes(1, 2), 3, 0.5)
        for place in range(len(ends) - 1)
    ]
    found = joined(parts)
    assert_same(found, Outcome("complete", (whole,), Passes(len(parts), 2 * len(parts)), 3))
    assert found.seconds == 0.5 * len(parts)


def test_gradients_of_parts_are_told_apart_and_added_in_order() -> None:
    def part(*gradient: float) -> Outcome:
        return Outcome("complete", (replace(labelled(-0.5), gradients=np.array([[gradient]])),))

    parts = [part(1e16, 1.0), part(1.0, -2.0), part(-1e16, 3.0)]
    (found,) = joined(parts).sets
    assert found.gradients is not None
    assert found.gradients.shape == (3, 1, 2)
    assert found.gradient.tolist() == [[(1e16 + 1.0) - 1e16, 2.0]]
    assert_same(joined([joined(parts[:2]), parts[2]]), joined(parts))
    assert found.of_images(np.arange(1)).gradients is None
    broken = replace(parts[1], status="not_finite")
    assert joined([parts[0], broken]).sets[0].gradients is None
    with pytest.raises(ValueError, match="ask for it"):
        labelled(-0.5).gradient  # noqa: B018


def test_a_layer_wise_soup_has_no_single_weights() -> None:
    soup = LayerWeights(((0.25, 0.75), (0.5, 0.5)))
    assert weights_key(soup) == "0.25,0.75;0.5,0.5"
    for model in (soup, "logits"):
        with pytest.raises(TypeError, match="weights"):
            EvaluationRequest(model).weights  # noqa: B018


def _rows(whole: SetOutcome, rows: slice) -> SetOutcome:
    assert whole.robust is not None
    assert whole.log_probability is not None
    robust, likelihood = whole.robust[:, rows], whole.log_probability[rows]
    return SetOutcome(whole.total, whole.prediction[rows], whole.right[rows], likelihood, robust)


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        (("complete", "complete"), "complete"),
        (("not_finite", "complete"), "not_finite"),
        (("not_finite", "pruned"), "pruned"),
        (("stopped", "pruned"), "stopped"),
    ],
)
def test_the_worst_part_decides_the_status(parts: tuple[Status, Status], status: Status) -> None:
    found = joined([Outcome(part, (labelled(-0.1),)) for part in parts])
    assert found.status == status
    assert found.is_whole == (status in {"complete", "not_finite"})


def test_nothing_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        joined([])


def test_a_set_is_summed_up_by_its_labelled_images() -> None:
    found = labelled(-0.5, -2.0, -0.25)
    assert (found.seen, found.accuracy, found.nll) == (3, 2 / 3, 2.75 / 3)
    assert labelled(-0.5, -math.inf).nll == math.inf
    assert math.copysign(1, labelled(0.0).nll) == 1
    assert (labelled().accuracy, labelled().nll) == (0.0, math.inf)
    bare = SetOutcome(2, np.zeros(2, np.int32))
    for read in (lambda: bare.right, lambda: bare.accuracy, lambda: bare.nll):
        with pytest.raises(ValueError, match="without labels"):
            read()


def test_a_refinement_says_what_it_changes_and_needs() -> None:
    assert not Refinement().changes_anything
    assert Refinement(statistics="adapted").changes_anything
    assert not Refinement(statistics="adapted").needs_labels
    for refinement in (Refinement(head="refit"), Refinement(temperature=True)):
        assert refinement.changes_anything
        assert refinement.needs_labels
