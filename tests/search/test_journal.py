import json
import math
import zlib
from base64 import b64encode
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.evaluation import EvaluationRequest, LayerWeights, Outcome, Refinement, Visit, weights_key
from search.journal import journal_key, packed, unpacked
from tests.search.outcomes import OUTCOMES, assert_same, labelled


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
    kept += [replace(soup, visit=Visit(((0, rows),))) for rows in ((0, 1), (1, 0))]
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
