"""Temperatures of logits whose right one is known."""

import numpy as np
import pytest
import torch

from workers.refinement.temperature import COLDEST, HOTTEST, fit_temperature


def nll(logits: torch.Tensor, labels: torch.Tensor, temperature: float) -> float:
    return torch.nn.functional.cross_entropy(logits / temperature, labels).item()


def test_logits_drawn_at_a_temperature_have_it() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(20_000, 5)))
    labels = torch.from_numpy((logits.numpy() + rng.gumbel(size=logits.shape)).argmax(axis=1))
    for temperature in (0.5, 1.0, 7.0):
        found = fit_temperature(lambda tried, hot=temperature: nll(logits * hot, labels, tried))  # type: ignore[misc]
        assert found == pytest.approx(temperature, rel=0.03)


def test_the_temperature_is_a_minimum_and_follows_the_unit_of_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (60,), generator=generator)
    logits = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    logits[torch.arange(60), labels] += 1
    found = fit_temperature(lambda tried: nll(logits, labels, tried))
    for factor in (0.99, 1.01):
        assert nll(logits, labels, found) <= nll(logits, labels, found * factor)
    assert fit_temperature(lambda tried: nll(3 * logits, labels, tried)) == pytest.approx(3 * found, rel=1e-4)


def test_it_stays_within_bounds() -> None:
    logits, labels = torch.eye(4, dtype=torch.float64), torch.arange(4)
    assert fit_temperature(lambda tried: nll(logits, labels, tried)) == pytest.approx(COLDEST, rel=1e-3)
    assert fit_temperature(lambda tried: nll(-logits, labels, tried)) == pytest.approx(HOTTEST, rel=1e-3)
