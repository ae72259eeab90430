from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.labelled_images import LabelledImages


def make(count: int = 6, seed: int = 0) -> LabelledImages:
    rng = np.random.default_rng(seed)
    return LabelledImages(rng.integers(0, 256, (count, 1, 4, 4), np.uint8), rng.integers(0, 3, count))


@given(st.integers(0, 8))
def test_first_keeps_a_prefix(count: int) -> None:
    part = make().first(count)
    assert len(part) == min(count, 6)
    assert np.array_equal(part.images, make().images[:count])


def test_digest_depends_on_pixels_labels_and_shape_alone() -> None:
    data = make()
    assert data.digest() == make().digest()
    assert data.digest() != data.first(5).digest()
    assert data.digest() != make(seed=1).digest()
    assert data.digest() != LabelledImages(data.images, (data.labels + 1) % 3).digest()
    assert data.digest() != LabelledImages(data.images.reshape(6, 1, 2, 8), data.labels).digest()
    assert data.digest() == LabelledImages(np.asfortranarray(data.images), data.labels).digest()


@pytest.mark.parametrize(
    ("shape", "dtype", "labels"),
    [((3, 4, 4), np.uint8, 3), ((3, 1, 4, 4), np.float32, 3), ((3, 1, 4, 4), np.uint8, 2)],
)
def test_refuses_other_shapes_and_dtypes(shape: tuple[int, ...], dtype: type, labels: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        LabelledImages(np.zeros(shape, dtype), np.zeros(labels, np.int64))
