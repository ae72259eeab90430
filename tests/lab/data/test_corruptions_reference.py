"""Parity with imagecorruptions-imaug 1.1.5 (see reference/make_reference.py), given its stream of random numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lab.data.corruptions import NAMES, corrupt

REFERENCE = np.load(Path(__file__).parent / "reference" / "corruptions.npz")
IMAGE: NDArray[np.uint8] = REFERENCE["image"]
SEED, DRAWS = 7, 8

EQUAL = {
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "motion_blur", "zoom_blur", "fog", "brightness",
    "contrast", "pixelate", "jpeg_compression",
}  # fmt: skip
"""The same image up to one grey level where float32 and float64 fall on two sides of a whole number."""

DIFFERENT = {
    ("pixelate", 4): "the reference enlarges by nearest neighbour, the published images by a box filter",
    ("snow", 4): "the reference cuts the magnified flakes at the top left, the published images in the middle",
    ("snow", 5): "the same",
}


class LegacyStream:
    """NumPy's global generator of old, which the reference draws from, with the methods that corruptions call."""

    def __init__(self, seed: int) -> None:
        legacy = np.random.RandomState(seed)
        self.normal, self.uniform, self.poisson = legacy.normal, legacy.uniform, legacy.poisson


def ours(name: str, severity: int) -> NDArray[np.uint8]:
    # The reference's impulse noise takes a seed, and makes a generator of today's kind from it.
    rng: Any = np.random.default_rng(SEED) if name == "impulse_noise" else LegacyStream(SEED)
    return corrupt(IMAGE, name, severity, rng, "imagenet")


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", sorted(EQUAL))
def test_equal_to_the_reference(name: str, severity: int) -> None:
    difference = np.abs(ours(name, severity).astype(int) - REFERENCE[f"{name}/{severity}"])
    if (name, severity) in DIFFERENT:
        assert difference.max() > 1
        assert difference.mean() < 2.0
    else:
        assert difference.max() <= 1
        assert difference.mean() < 0.03


@pytest.mark.parametrize("severity", range(1, 6))
def test_snow_is_equal_to_two_levels_where_no_flake_is_cut(severity: int) -> None:
    difference = np.abs(ours("snow", severity).astype(int) - REFERENCE[f"snow/{severity}"])
    assert (difference.max() > 2) == (("snow", severity) in DIFFERENT)
    assert np.mean(difference) < 0.06 or ("snow", severity) in DIFFERENT


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize(("name", "tolerance"), [("glass_blur", 0.03), ("snow", 0.06), ("frost", 0.15)])
def test_as_strong_as_the_reference_over_many_draws(name: str, severity: int, tolerance: float) -> None:
    """Glass blur has a compiled generator there, frost photographs: only their distributions can be compared."""
    draws = [corrupt(IMAGE, name, severity, np.random.default_rng(seed), "imagenet") for seed in range(DRAWS)]
    change = np.mean([np.abs(draw.astype(float) - IMAGE).mean() for draw in draws])
    assert change == pytest.approx(REFERENCE[f"{name}/{severity}/change"].mean(), rel=tolerance)


def test_every_corruption_but_the_elastic_one_is_compared() -> None:
    """The reference has no affine part and other sizes there; its own tests are in test_corruption_fields.py."""
    assert EQUAL | {"glass_blur", "snow", "frost", "elastic_transform"} == set(NAMES)
