import errno
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.adaptation_sets.labels import resolve
from service.adaptation_sets.registry import SetRegistry
from service.artifacts.folder import FolderStore
from service.errors import InvalidSet, SoupsearchError
from service.settings import Settings
from tests.limits import memory_limited_to_another
from tests.service.adaptation_sets.pictures import files_below
from tests.service.archives.packing import tar_of, zip_of

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 10, 2])


def npz(path: Path, **arrays: Any) -> Path:
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


@pytest.mark.parametrize("images", [IMAGES, IMAGES[..., 0], IMAGES[..., :1], np.asfortranarray(IMAGES)])
def test_arrays_come_back_as_sent(registry: SetRegistry, tmp_path: Path, images: np.ndarray) -> None:
    stored = registry.open(registry.add(npz(tmp_path / "a", images=images, labels=LABELS)).id)
    assert np.array_equal(np.stack(list(stored.images())), images)  # type: ignore[arg-type]
    assert stored.accepted == ((0,), (1,), (10,), (2,))
    assert stored.classes == ("0", "1", "2", "10")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64, ">i4"])
def test_the_id_depends_on_values_alone(registry: SetRegistry, tmp_path: Path, dtype: str) -> None:
    plain = registry.add(npz(tmp_path / "a", images=IMAGES, labels=LABELS))
    path = tmp_path / "b"
    with path.open("wb") as file:
        np.savez_compressed(file, labels=LABELS.astype(dtype)[:, None], images=np.asfortranarray(IMAGES))
    assert registry.add(path).id == plain.id


def test_several_accepted_labels_are_padded(registry: SetRegistry, tmp_path: Path) -> None:
    labels = np.array([[3, 1], [2, -1], [-1, 2], [4, -1]])
    document = registry.add(npz(tmp_path / "a", images=IMAGES, labels=labels))
    stored = registry.open(document.id)
    assert stored.accepted == ((1, 3), (2,), (2,), (4,))
    assert document.multi_label
    assert resolve(stored, None, 5).accepted == stored.accepted


@pytest.mark.parametrize("classes", [2, 3, 1000])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_one_hot_rows_are_single_labels(
    registry: SetRegistry, tmp_path: Path, classes: int, dtype: type[np.generic]
) -> None:
    labels = np.array([0, classes - 1, 1, 0])
    one_hot = np.eye(classes, dtype=dtype)[labels]
    document = registry.add(npz(tmp_path / "a", images=IMAGES, labels=one_hot))
    assert registry.open(document.id).accepted == tuple((int(label),) for label in labels)
    assert not document.multi_label
    assert registry.add(npz(tmp_path / "b", images=IMAGES, labels=labels)).id == document.id


def test_a_column_of_zeros_and_ones_holds_indices(registry: SetRegistry, tmp_path: Path) -> None:
    labels = np.array([[0], [1], [1], [0]])
    stored = registry.open(registry.add(npz(tmp_path / "a", images=IMAGES, labels=labels)).id)
    assert stored.accepted == ((0,), (1,), (1,), (0,))


def test_lists_of_two_classes_stay_lists_where_one_is_padded(registry: SetRegistry, tmp_path: Path) -> None:
    labels = np.array([[0, 1], [1, -1], [0, -1], [1, 0]])
    stored = registry.open(registry.add(npz(tmp_path / "a", images=IMAGES, labels=labels)).id)
    assert stored.accepted == ((0, 1), (1,), (0,), (0, 1))


def test_labels_are_indices_even_where_label_names_are_numbers(registry: SetRegistry, tmp_path: Path) -> None:
    stored = registry.open(registry.add(npz(tmp_path / "a", images=IMAGES, labels=np.array([0, 1, 1, 2]))).id)
    assert resolve(stored, ["2", "1", "0"], 3).accepted == ((0,), (1,), (1,), (2,))


def test_labels_may_be_missing_for_some_images_or_for_all(registry: SetRegistry, tmp_path: Path) -> None:
    some = registry.add(npz(tmp_path / "a", images=IMAGES, labels=np.array([0, -1, 2, -1])))
    assert (some.images, some.labelled, some.classes) == (4, 2, {"0": 1, "2": 1})
    stored = registry.open(some.id)
    assert stored.accepted == ((0,), (), (2,), ())
    labels = resolve(stored, None, 3)
    assert (labels.accepted, labels.labelled, labels.unlabelled) == (stored.accepted, (0, 2), (1, 3))

    padded = registry.add(npz(tmp_path / "b", images=IMAGES, labels=np.array([[0, 1], [-1, -1], [2, -1], [-1, -1]])))
    assert padded.labelled == 2

    none = registry.add(npz(tmp_path / "c", images=IMAGES))
    assert (none.labelled, none.classes) == (0, {})
    assert resolve(registry.open(none.id), ["a", "b"], 2).accepted == ((), (), (), ())
    assert registry.add(npz(tmp_path / "d", images=IMAGES, labels=np.full(4, -1))).id == none.id


def test_an_npz_says_that_its_images_are_precropped(registry: SetRegistry, tmp_path: Path) -> None:
    plain = registry.add(npz(tmp_path / "a", images=IMAGES, labels=LABELS))
    same = registry.add(npz(tmp_path / "b", images=IMAGES, labels=LABELS, precropped=False))
    precropped = registry.add(npz(tmp_path / "c", images=IMAGES, labels=LABELS, precropped=True))
    assert same.id == plain.id != precropped.id
    assert (plain.precropped, precropped.precropped) == (False, True)
    assert np.array_equal(np.stack(list(registry.open(precropped.id).images())), IMAGES)  # type: ignore[arg-type]


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "float_images": ({"images": IMAGES / 255, "labels": LABELS}, "npz_dtype"),
    "nan_images": ({"images": np.full((4, 6, 8), np.nan), "labels": LABELS}, "npz_not_finite"),
    "wide_images": ({"images": IMAGES.astype(np.int64), "labels": LABELS}, "npz_dtype"),
    "flat_images": ({"images": IMAGES.reshape(4, -1), "labels": LABELS}, "npz_shape"),
    "channels_first": ({"images": np.moveaxis(IMAGES, 3, 1), "labels": LABELS}, "npz_shape"),
    "object_images": ({"images": np.array([None] * 4), "labels": LABELS}, "npz_object"),
    "object_labels": ({"images": IMAGES, "labels": np.array(["a", None, 1, 2], dtype=object)}, "npz_object"),
    "text_labels": ({"images": IMAGES, "labels": np.array(["a", "b", "a", "b"])}, "npz_dtype"),
    "float_labels": ({"images": IMAGES, "labels": LABELS.astype(float)}, "npz_dtype"),
    "nan_labels": ({"images": IMAGES, "labels": np.array([0, 1, 2, np.nan])}, "npz_not_finite"),
    "infinite_labels": ({"images": IMAGES, "labels": np.array([0, 1, 2, np.inf])}, "npz_not_finite"),
    "fewer_labels": ({"images": IMAGES, "labels": LABELS[:3]}, "npz_shape"),
    "deep_labels": ({"images": IMAGES, "labels": LABELS.reshape(4, 1, 1)}, "npz_shape"),
    "many_labels": ({"images": IMAGES, "labels": np.arange(4 * 257).reshape(4, 257)}, "npz_shape"),
    "scalar_labels": ({"images": IMAGES, "labels": np.array(3)}, "npz_shape"),
    "scalar_images": ({"images": np.uint8(3), "labels": LABELS}, "npz_shape"),
    "binary_signs": ({"images": IMAGES, "labels": np.array([1, -1, -1, 1])}, "one_class"),
    "negative": ({"images": IMAGES, "labels": np.array([0, 1, -2, 2])}, "npz_labels"),
    "giant_label": ({"images": IMAGES, "labels": np.array([0, 1, 2**63, 2], dtype=np.uint64)}, "npz_labels"),
    "repeated": ({"images": IMAGES, "labels": np.array([[3, 1], [2, -1], [4, 4], [0, -1]])}, "npz_labels"),
    "many_hot": ({"images": IMAGES, "labels": np.array([[1, 0, 0], [0, 1, 1], [1, 0, 0], [0, 1, 0]])}, "npz_labels"),
    "none_hot": ({"images": IMAGES, "labels": np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])}, "npz_labels"),
    "all_hot": ({"images": IMAGES, "labels": np.ones((4, 3), int)}, "npz_labels"),
    "both_hot": ({"images": IMAGES, "labels": np.array([[0, 1], [1, 1], [1, 0], [1, 0]])}, "npz_labels"),
    "flags_not_hot": ({"images": IMAGES, "labels": np.eye(4, 5) < 1}, "npz_labels"),
    "signs": ({"images": IMAGES, "labels": 2 * np.eye(4, dtype=int) - 1}, "npz_labels"),
    "scaled": ({"images": IMAGES, "labels": 255 * np.eye(4, dtype=int)}, "npz_labels"),
    "soft": ({"images": IMAGES, "labels": 0.9 * np.eye(4) + 0.025}, "npz_dtype"),
    "nan_soft": ({"images": IMAGES, "labels": np.where(np.eye(4) > 0, np.nan, 0)}, "npz_not_finite"),
    "flags": ({"images": IMAGES, "labels": LABELS > 1}, "npz_dtype"),
    "column_of_flags": ({"images": IMAGES, "labels": LABELS[:, None] > 1}, "npz_dtype"),
    "hot_of_fewer": ({"images": IMAGES, "labels": np.eye(3, dtype=int)}, "npz_shape"),
    "hot_in_one_class": ({"images": IMAGES, "labels": np.tile([0, 1, 0], (4, 1))}, "one_class"),
    "one_class": ({"images": IMAGES, "labels": np.zeros(4, int)}, "one_class"),
    "empty": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "no_images"),
    "no_images": ({"labels": LABELS}, "npz_arrays"),
    "more_arrays": ({"images": IMAGES, "labels": LABELS, "names": LABELS}, "npz_arrays"),
    "precropped_number": ({"images": IMAGES, "labels": LABELS, "precropped": np.int64(1)}, "npz_dtype"),
    "precropped_each": ({"images": IMAGES, "labels": LABELS, "precropped": np.ones(4, bool)}, "npz_shape"),
    "many": ({"images": np.zeros((121, 2, 2), np.uint8), "labels": np.arange(121)}, "too_many_images"),
    "line": ({"images": np.zeros((4, 1, 101), np.uint8), "labels": LABELS}, "image_too_large"),
    "pixels": ({"images": np.zeros((2, 64, 65), np.uint8), "labels": np.arange(2)}, "image_too_large"),
}


@pytest.mark.parametrize(("arrays", "code"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_leave_nothing(
    registry: SetRegistry, store: FolderStore, tmp_path: Path, arrays: dict[str, Any], code: str
) -> None:
    with pytest.raises(SoupsearchError) as caught:
        registry.add(npz(tmp_path / "a", **arrays))
    assert caught.value.code == code, caught.value.detail
    assert caught.value.param == "adaptation_set"
    assert ".npy" not in caught.value.detail
    assert caught.value.status == (413 if code.startswith("too_many") or code.endswith("too_large") else 422)
    assert files_below(store.root) == []


def test_arrays_are_named_as_they_were_saved(registry: SetRegistry, tmp_path: Path) -> None:
    with pytest.raises(InvalidSet, match="the npz holds the arrays x, y: it must hold images"):
        registry.add(npz(tmp_path / "a", x=IMAGES, y=LABELS))


def test_arrays_that_are_cut_or_lie_about_their_shape_are_refused(
    registry: SetRegistry, store: FolderStore, tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "labels.npy", LABELS)
    images, labels = (tmp_path / "images.npy").read_bytes(), (tmp_path / "labels.npy").read_bytes()
    lies = [
        images[:-1],
        images[:20],
        b"",
        b"\x80\x05cposix\nsystem\n",
        images.replace(b"(4, 6, 8, 3)", b"(9, 9, 9, 9)"),
        images.replace(b"(4, 6, 8, 3)", b"(4, 6, 8,-3)"),
        images.replace(b"(4, 6, 8, 3)", b"(4, [], 8, )"),
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 9001) + b"-" * 9000 + b"1",
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**20) + b" " * 2**20,
    ]
    for lie in lies:
        with pytest.raises(InvalidSet) as caught:
            registry.add(zip_of(tmp_path / "a", {"images.npy": lie, "labels.npy": labels}))
        assert caught.value.code in {"damaged_archive", "npz_shape"}
        assert caught.value.param == "adaptation_set"
        assert files_below(store.root) == []


def test_arrays_that_do_not_fit_into_the_address_space_are_not_damaged(tmp_path: Path) -> None:
    limits = Settings(_env_file=None, data_dir=tmp_path / "data", min_free_bytes=0)
    path = tmp_path / "a"
    with path.open("wb") as file:
        np.savez_compressed(file, images=np.zeros((2, 8192, 8192), np.uint8), labels=np.arange(2))
    store = FolderStore(limits.data_dir, limits)
    with memory_limited_to_another(2**26), pytest.raises(OSError, match="Cannot allocate memory") as caught:
        SetRegistry(store, limits).add(path)
    assert caught.value.errno == errno.ENOMEM
    assert files_below(store.root) == []


def test_a_compressed_bomb_is_refused(registry: SetRegistry, store: FolderStore, tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        np.savez_compressed(file, images=np.zeros((100, 150, 150), np.uint8), labels=np.arange(100))
    with pytest.raises(SoupsearchError) as caught:
        registry.add(path)
    assert caught.value.code == "unpacked_too_large"
    assert files_below(store.root) == []


def test_arrays_in_a_tar_are_no_set(registry: SetRegistry, tmp_path: Path) -> None:
    with pytest.raises(InvalidSet) as caught:
        registry.add(tar_of(tmp_path / "a", {"images.npy": b"x", "labels.npy": b"y"}))
    assert caught.value.code == "not_an_image"


@pytest.mark.parametrize(
    ("channels", "model", "fits"),
    [(1, 3, True), (3, 1, True), (4, 3, True), (3, 4, True), (5, 3, False), (2, 2, True), (5, 5, True), (1, 2, False)],
)
def test_channels_are_compared_with_the_models(
    registry: SetRegistry, tmp_path: Path, channels: int, model: int, fits: bool
) -> None:
    images = np.zeros((2, 4, 4, channels), np.uint8)
    stored = registry.open(registry.add(npz(tmp_path / "a", images=images, labels=np.arange(2))).id)
    if fits:
        assert stored.check_channels(model) is None  # type: ignore[func-returns-value]
        return
    with pytest.raises(InvalidSet) as caught:
        stored.check_channels(model)
    assert caught.value.code == "channels_mismatch"
