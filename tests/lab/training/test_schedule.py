from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.training.recipe import OptimizerRecipe
from lab.training.schedule import learning_rate, radius_share


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_rises_to_the_peak_and_falls_to_zero(schedule: str) -> None:
    recipe = OptimizerRecipe.model_validate({"schedule": schedule, "learning_rate": 0.4, "warmup": 0.25})
    rates = [learning_rate(recipe, step / 1000) for step in range(1000)]
    assert rates[:250] == sorted(rates[:250])
    assert rates[250:] == sorted(rates[250:], reverse=True)
    assert rates[250] == pytest.approx(0.4)
    assert 0 < rates[-1] < 0.001


def test_thirds_divide_by_ten() -> None:
    recipe = OptimizerRecipe(schedule="thirds", learning_rate=0.05)
    rates = [learning_rate(recipe, progress) for progress in (0.0, 0.33, 0.34, 0.66, 0.67, 0.99)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005])


@given(
    schedule=st.sampled_from(["one_cycle", "cosine", "thirds"]), warmup=st.floats(0, 0.9), progress=st.floats(0, 0.999)
)
def test_rates_stay_within_the_peak(schedule: str, warmup: float, progress: float) -> None:
    recipe = OptimizerRecipe.model_validate({"schedule": schedule, "learning_rate": 0.1, "warmup": warmup})
    assert 0 < learning_rate(recipe, progress) <= 0.1


def test_the_radius_waits_grows_and_stays() -> None:
    shares = [radius_share(0.2, 0.4, progress) for progress in (0.0, 0.19, 0.2, 0.3, 0.4, 0.9)]
    assert shares == pytest.approx([0, 0, 0.01, 0.5, 1, 1])


def test_without_warmup_the_radius_is_full_from_the_start() -> None:
    assert radius_share(0.0, 0.0, 0.0) == 1.0
