import json
import math
import zlib
from base64 import b64encode
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from search.evaluation import (
    EvaluationRequest,
    LayerWeights,
    Outcome,
    Passes,
    Refinement,
    SetOutcome,
    Status,
    joined,
    journal_key,
    packed,
    unpacked,
    weights_key,
)
from tests.search.outcomes import assert_same

FLAGS = st.booleans()
LIKELIHOODS = st.floats(-200, 0, width=32) | st.just(-math.inf)
COUNTS = st.integers(0, 2**40)


@st.composite
def set_outcomes(draw: st.DrawFn, *, seen: int | None = None, threats: int | None = None) -> SetOutcome:
    count = draw(st.integers(0, 40)) if seen is None else seen
    prediction = draw(arrays(np.int32, count, elements=st.integers(-1, 2**31 - 1)))
    if threats is None and not draw(FLAGS):
        return SetOutcome(count + draw(st.integers(0, 3)), prediction)
    rows = draw(st.none() | st.integers(0, 3)) if threats is None else threats
    numbers = st.floats(allow_nan=False)
    gradients = arrays(np.float64, st.tuples(*[st.integers(0, 3)] * 3), elements=numbers)
    return SetOutcome(
        total=count + draw(st.integers(0, 3)),
        prediction=prediction,
        correct=draw(arrays(np.bool_, count, elements=FLAGS)),
        log_probability=draw(arrays(np.float32, count, elements=LIKELIHOODS)),
        robust=None if rows is None else draw(arrays(np.bool_, (rows, count), elements=FLAGS)),
        gradients=draw(st.none() | gradients) if threats is None else None,
    )


OUTCOMES = st.builds(
    Outcome,
    st.sampled_from(["complete", "not_finite"]),
    st.lists(set_outcomes(), max_size=3).map(tuple),
    st.builds(Passes, COUNTS, COUNTS),
    COUNTS,
    st.floats(0, 1e9),
)


def labelled(*likelihoods: float) -> SetOutcome:
    found = np.array(likelihoods, dtype=np.float32)
    return SetOutcome(len(found), np.zeros(len(found), np.int32), found > -1, found)


@given(OUTCOMES)
def test_a_packed_outcome_is_unpacked_bit_for_bit(outcome: Outcome) -> None:
    text = packed(outcome)
    assert text.isascii()
    again = unpacked(text)
    assert_same(again, outcome)
    assert again.seconds == outcome.seconds
    assert packed(again) == text


def test_logits_are_packed_bit_for_bit() -> None:
    bare = Outcome("complete", (labelled(-0.5, -math.inf),))
    logits = np.array([[0.1, -0.0, np.inf], [1e-30, np.nan, 3]], np.float32)
    kept = replace(bare, sets=(replace(bare.sets[0], logits=logits),))
    assert_same(unpacked(packed(kept)), kept)
    assert_same(kept.without_logits(), bare)


def test_outcomes_of_different_requests_have_different_names() -> None:
    soup = EvaluationRequest((0.25, 0.75))
    kept = [
        replace(each, keep_logits=logits, gradient=gradient, refinement=Refinement(statistics, head, temperature))
        for each in (soup, replace(soup, model=LayerWeights(((0.25, 0.75), (0.5, 0.5)))))
        for gradient in (False, True)
        for logits in (False, True)
        for statistics in ("source", "adapted")
        for head in ("keep", "refit")
        for temperature in (False, True)
    ]
    assert len({journal_key(each) for each in kept}) == len(kept)
    assert journal_key(soup) == weights_key(soup.weights)
    for other in (replace(soup, model="logits"), replace(soup, blocks=(0, 1)), replace(soup, attacked=False)):
        assert journal_key(other) is None


@given(st.text())
def test_any_text_that_is_no_packed_outcome_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a packed outcome"):
        unpacked(text)


@given(OUTCOMES, st.data())
def test_a_packed_outcome_cut_short_is_refused(outcome: Outcome, data: st.DataObject) -> None:
    text = packed(outcome)
    place = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ValueError, match="not a packed outcome"):
        unpacked(text[:place])


HEADER = {
    "status": "complete",
    "passes": [1, 0],
    "floored_channels": 0,
    "seconds": 0.0,
    "sets": [[1, 1, False, None, None, None]],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "best"},
        {"status": None},
        {"passes": [1, 2, 3]},
        {"passes": None},
        {"sets": [[1, 2, False, None, None, None]]},
        {"sets": [[1, 1, True, None, None, None]]},
        {"sets": [[1, 0, False, None, None, None]]},
        {"sets": [[1, -1, False, None, None, None]]},
        {"sets": [[1, 10**30, False, None, None, None]]},
        {"sets": [[1, 1, False, 10**30, None, None]]},
        {"sets": [[1, "1", False, None, None, None]]},
        {"sets": [[1, 1, False, None, 1, None]]},
        {"sets": [[1, 1, False, None, -1, None]]},
        {"sets": [[1, 1, False, None, None, [1, 1, 1]]]},
        {"sets": [[1, 1, False, None, None, [-1, -1, 0]]]},
        {"sets": [[1, 1, False, None, None, [0, 0]]]},
        {"sets": [[1, 1, False, None, None]]},
        {"sets": [[1, 1]]},
        {"sets": 3},
    ],
)
def test_a_header_that_no_outcome_has_is_refused(changes: dict[str, object]) -> None:
    def text(header: object) -> str:
        return b64encode(zlib.compress(json.dumps(header).encode() + b"\n" + bytes(4))).decode()

    assert unpacked(text(HEADER)).sets[0].prediction.tolist() == [0]
    for wrong in (HEADER | changes, {name: value for name, value in HEADER.items() if name not in changes}):
        with pytest.raises(ValueError, match="not a packed outcome"):
            unpacked(text(wrong))


@pytest.mark.parametrize("content", [b"", b"\n", b"[]\n", b"7\n", b"null", b"\xff\n", b"[" * 100_000])
def test_content_that_is_no_header_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a packed outcome"):
        unpacked(b64encode(zlib.compress(content)).decode())


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
