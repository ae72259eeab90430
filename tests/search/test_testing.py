"""The landscapes that strategies are checked on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from search.evaluation import EvaluationRequest, Passes
from search.testing import Landscape, RecordedLandscape

VECTORS = arrays(np.float64, 3, elements=st.floats(-1, 2))


@given(weights=VECTORS, seed=st.integers(0, 99))
def test_the_gradient_of_a_made_up_landscape_is_that_of_differences(weights: NDArray[np.float64], seed: int) -> None:
    landscape = Landscape(3, seed=seed)
    found = landscape.outcome(EvaluationRequest(tuple(weights.tolist()), gradient=True))
    assert found.passes == Passes(20, 20)
    for place in range(3):
        moved = [weights + side * 1e-2 * np.eye(3)[place] for side in (1, -1)]
        ahead, behind = (landscape.outcome(EvaluationRequest(tuple(each.tolist()))).sets[0].nll for each in moved)
        assert found.sets[0].gradient[0, place] == pytest.approx(-20 * (ahead - behind) / 2e-2, abs=0.02)


def test_broken_soups_and_recorded_ones_have_no_gradient() -> None:
    request = EvaluationRequest((0.5, 0.5, 0.0), gradient=True)
    assert Landscape(3, broken=1.0).outcome(request).sets[0].gradients is None
    recorded = RecordedLandscape(np.array([[0.5, 0.5, 0.0]]), np.zeros((1, 2, 3), np.float16), np.array([0, 1]))
    with pytest.raises(ValueError, match="logits alone"):
        recorded.outcome(request)
