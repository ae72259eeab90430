"""Outcomes drawn at random, and compared bit for bit."""

import math
from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from search.evaluation import Outcome, Passes, SetOutcome

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


def assert_same(one: Outcome, other: Outcome) -> None:
    """The same outcome but for the time that it took: arrays in type, shape and every bit."""
    assert (one.status, one.passes, one.floored_channels) == (other.status, other.passes, other.floored_channels)
    for ours, theirs in zip(one.sets, other.sets, strict=True):
        for field in fields(SetOutcome):
            assert _bits(getattr(ours, field.name)) == _bits(getattr(theirs, field.name)), field.name


def _bits(value: "NDArray[Any] | int | None") -> object:
    return value if value is None or isinstance(value, int) else (value.dtype, value.shape, value.tobytes())
