from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lab.data.corruptions.blur import clipped_zoom, directional_blur
from lab.data.corruptions.digital import elastic_transform
from lab.data.corruptions.fields import FROST_SIDE, FROST_TEXTURES, frost_texture, plasma
from lab.data.corruptions.image import FloatImage


@given(st.sampled_from([2, 4, 32, 64]), st.floats(1.2, 3.0), st.integers(0))
def test_plasma_spans_zero_to_one(side: int, decay: float, seed: int) -> None:
    field = plasma(side, decay, np.random.default_rng(seed))
    assert field.shape == (side, side)
    assert field.min() == 0.0
    assert field.max() == 1.0


def test_a_faster_decay_is_smoother() -> None:
    rough, smooth = (plasma(64, decay, np.random.default_rng(0)) for decay in (1.4, 3.0))
    assert np.abs(np.diff(smooth)).mean() < np.abs(np.diff(rough)).mean()


@pytest.mark.parametrize("index", range(FROST_TEXTURES))
def test_frost_is_always_the_same_and_never_flat(index: int) -> None:
    texture = frost_texture(index)
    first = texture.copy()
    frost_texture.cache_clear()
    np.testing.assert_array_equal(frost_texture(index), first)
    assert texture.shape == (FROST_SIDE, FROST_SIDE, 3)
    assert 0.0 <= texture.min() <= texture.max() <= 1.0
    assert 0.05 < texture.mean(axis=2).std() < 0.2
    assert (texture[..., 0].mean() < texture[..., 2].mean()).all()
    with pytest.raises(ValueError, match="read-only"):
        texture[0, 0, 0] = 0.0


@given(st.floats(1.0, 4.5), st.integers(1, 40), st.integers(1, 40))
@example(3.19, 23, 23)
def test_zoom_keeps_the_size_and_a_constant(factor: float, height: int, width: int) -> None:
    zoomed = clipped_zoom(np.full((height, width, 1), 0.25), factor)
    assert zoomed.shape == (height, width, 1)
    np.testing.assert_allclose(zoomed, 0.25)


@given(st.integers(0, 20), st.floats(0.5, 15.0), st.floats(-180.0, 180.0))
def test_directional_blur_keeps_a_constant(radius: int, sigma: float, degrees: float) -> None:
    np.testing.assert_allclose(directional_blur(np.full((9, 14, 3), 0.7), radius, sigma, degrees), 0.7)


def test_directional_blur_smears_along_its_direction_alone() -> None:
    image = np.zeros((21, 21, 1))
    image[10, 10] = 1.0
    across = directional_blur(image, 3, 2.0, 0.0)
    assert set(np.flatnonzero(across[..., 0].any(axis=1))) == {10}
    assert set(np.flatnonzero(across[..., 0].any(axis=0))) == set(range(4, 11))


def ramp(side: int) -> FloatImage:
    """Each pixel's column, and its row, as a share of the side."""
    rows, columns = np.indices((side, side)) / side
    return np.stack([columns, rows, rows], axis=2)


def test_elastic_transform_without_strength_is_an_affine_map() -> None:
    moved = elastic_transform(ramp(64), np.random.default_rng(1), 0.0, 0.0, 0.02)[16:48, 16:48]
    assert np.abs(moved - ramp(64)[16:48, 16:48]).max() > 1e-3
    np.testing.assert_allclose(np.diff(moved, n=2, axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.diff(moved, n=2, axis=1), 0.0, atol=1e-12)


def test_elastic_transform_displaces_as_far_as_smoothed_noise_does() -> None:
    strength, smoothness = 0.05, 0.01
    moved = elastic_transform(ramp(224), np.random.default_rng(1), strength, smoothness, 0.0)
    pixels = (moved - ramp(224))[8:-8, 8:-8, :2] * 224
    spread_of_noise, sigma = 1 / np.sqrt(3), smoothness * 224
    expected = strength * 224 * spread_of_noise / (2 * np.sqrt(np.pi) * sigma)
    np.testing.assert_allclose(pixels.std(axis=(0, 1)), expected, rtol=0.05)
