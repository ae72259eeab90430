from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from lab.data.corruptions import EXTRA_NAMES, NAMES, TableName, corrupt, corrupt_batch, parameters
from lab.data.corruptions.tables import CIFAR, IMAGENET
from lab.data.idx import load_idx_folder

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
DETERMINISTIC = {
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "low_contrast",
}  # fmt: skip

shapes = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda size: st.sampled_from([size, (*size, 1), (*size, 3)])
)
images = shapes.flatmap(lambda shape: arrays.arrays(np.uint8, shape))


@pytest.fixture(scope="module")
def garments() -> NDArray[np.uint8]:
    return load_idx_folder(FASHION_MNIST, "test").images[:20, 0]


def colour(garments: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(garments[:3].transpose(1, 2, 0))


@given(
    images,
    st.sampled_from(NAMES + EXTRA_NAMES),
    st.integers(1, 5),
    st.sampled_from(["cifar", "imagenet"]),
    st.integers(0),
)
@settings(max_examples=100, deadline=None)
def test_any_image_keeps_its_form_and_the_seed_decides(
    image: NDArray[np.uint8], name: str, severity: int, table: TableName, seed: int
) -> None:
    before = image.copy()
    first, second = (corrupt(image, name, severity, np.random.default_rng(seed), table) for _ in range(2))
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", NAMES + EXTRA_NAMES)
def test_grey_is_the_same_with_and_without_a_channel_axis(name: str, garments: NDArray[np.uint8]) -> None:
    flat = corrupt(garments[0], name, 3, np.random.default_rng(1))
    deep = corrupt(garments[0][..., None], name, 3, np.random.default_rng(1))
    np.testing.assert_array_equal(flat, deep[..., 0])


@pytest.mark.parametrize("name", NAMES + EXTRA_NAMES)
def test_only_corruptions_by_chance_look_at_the_generator(name: str, garments: NDArray[np.uint8]) -> None:
    results = [corrupt(colour(garments), name, 5, np.random.default_rng(seed)) for seed in range(4)]
    same = all(np.array_equal(results[0], other) for other in results[1:])
    assert same == (name in DETERMINISTIC)


@pytest.mark.parametrize("name", [name for name in NAMES + EXTRA_NAMES if name != "elastic_transform"])
@pytest.mark.parametrize("table", ["cifar", "imagenet"])
def test_severity_five_changes_more_than_severity_one(name: str, table: TableName, garments: NDArray[np.uint8]) -> None:
    changes = []
    for severity in (1, 5):
        results = corrupt_batch(garments, name, severity, np.random.default_rng(0), table)
        changes.append(np.abs(np.stack(results).astype(float) - garments).mean())
    assert 0 < changes[0] < changes[1]


def test_a_batch_gives_each_image_its_own_generator(garments: NDArray[np.uint8]) -> None:
    whole = corrupt_batch(garments, "gaussian_noise", 5, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    parts = [
        *corrupt_batch(garments[:7], "gaussian_noise", 5, rng),
        *corrupt_batch(garments[7:], "gaussian_noise", 5, rng),
    ]
    np.testing.assert_array_equal(np.stack(whole), np.stack(parts))
    assert not np.array_equal(whole[0].astype(int) - garments[0], whole[1].astype(int) - garments[1])


def test_both_tables_have_five_rows_for_each_of_the_fifteen() -> None:
    assert len(NAMES) == 15
    assert set(CIFAR) == set(IMAGENET) == set(NAMES)
    for name in NAMES:
        assert len(CIFAR[name]) == len(IMAGENET[name]) == 5
        assert {len(row) for row in CIFAR[name]} == {len(row) for row in IMAGENET[name]}
    assert parameters("gaussian_noise", 5, "cifar") == (0.10,)
    assert parameters("gaussian_noise", 5, "imagenet") == (0.38,)


@pytest.mark.parametrize(
    ("name", "severity", "table", "reason"),
    [
        ("sepia", 1, "cifar", "no corruption 'sepia'"),
        ("fog", 0, "cifar", "severity must be"),
        ("fog", 6, "cifar", "severity must be"),
        ("fog", 1, "mnist", "no corruption table 'mnist'"),
    ],
)
def test_what_is_not_in_a_table_is_refused(name: str, severity: int, table: TableName, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        corrupt(np.zeros((8, 8), np.uint8), name, severity, np.random.default_rng(0), table)


@pytest.mark.parametrize("shape", [(8,), (8, 8, 2), (8, 8, 4), (0, 8), (2, 8, 8, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must have shape"):
        corrupt(np.zeros(shape, np.uint8), "fog", 1, np.random.default_rng(0))


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        corrupt(np.zeros((8, 8), np.float32), "fog", 1, np.random.default_rng(0))


def test_rotation_turns_to_both_sides(garments: NDArray[np.uint8]) -> None:
    turned = corrupt_batch([garments[2]] * 20, "rotation", 2, np.random.default_rng(0))
    assert len({image.tobytes() for image in turned}) == 2


def test_low_contrast_squeezes_the_range() -> None:
    image = np.array([[0, 255]], np.uint8)
    assert corrupt(image, "low_contrast", 3, np.random.default_rng(0)).tolist() == [[38, 140]]


def test_salt_and_pepper_hits_all_channels_of_a_pixel() -> None:
    image = np.full((40, 40, 3), 100, np.uint8)
    noisy = corrupt(image, "salt_and_pepper", 5, np.random.default_rng(0))
    assert (noisy == noisy[..., :1]).all()
    assert set(np.unique(noisy)) == {0, 100, 255}
    assert np.mean(noisy != 100) == pytest.approx(0.3, abs=0.03)
