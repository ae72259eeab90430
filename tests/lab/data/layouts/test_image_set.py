from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.data.labelled_images import LabelledImages
from lab.data.layouts import ImageSet
from tests.limits import no_more_files

GREY = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)


def test_images_of_classes_are_scored_among_all_of_them() -> None:
    images = ImageSet.of_classes(LabelledImages(GREY[:, None], np.array([1, 0, 1])), ["a", "b"])
    assert images.columns == ((0,), (1,))
    assert images.column_names == ("a", "b")
    assert images.accepted == ((1,), (0,), (1,))
    assert np.asarray(images.picture(2)).tolist() == GREY[2].tolist()


def test_a_subset_keeps_order_and_scoring() -> None:
    images = ImageSet(GREY, ((4, 5), (6,)), ("a", "b"), ((0,), (1,), (0, 1)), precropped=True)
    part = images.subset([2, 0])
    assert [np.asarray(picture).tolist() for picture, _ in part] == [GREY[2].tolist(), GREY[0].tolist()]
    assert part.accepted == ((0, 1), (0,))
    assert part.columns == images.columns
    assert part.precropped


@pytest.mark.parametrize(
    ("columns", "column_names", "accepted", "reason"),
    [
        (((0,), (1,)), ("a", "b"), ((0,), (1,)), "3 images have 2 labels"),
        (((0,), (1,)), ("a",), ((0,), (1,), (1,)), "each column needs a name"),
        (((0,), ()), ("a", "b"), ((0,), (1,), (1,)), "at least one class"),
        (((0,), (1,)), ("a", "b"), ((0,), (1,), (2,)), "image 2 accepts"),
        (((0,), (1,)), ("a", "b"), ((0,), (), (1,)), "image 1 accepts"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    columns: tuple[tuple[int, ...], ...],
    column_names: tuple[str, ...],
    accepted: tuple[tuple[int, ...], ...],
    reason: str,
) -> None:
    with pytest.raises(ValueError, match=reason):
        ImageSet(GREY, columns, column_names, accepted)


@pytest.mark.parametrize("kept", [0, 40, -30])
def test_a_file_that_does_not_decode_is_named(tmp_path: Path, kept: int) -> None:
    paths = (tmp_path / "whole.png", tmp_path / "cut.png")
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for path in paths:
        Image.fromarray(noise).save(path)
    paths[1].write_bytes(paths[1].read_bytes()[:kept])
    images = ImageSet(paths, ((0,), (1,)), ("a", "b"), ((0,), (1,)))
    assert np.array_equal(np.asarray(images.picture(0)), noise)
    with pytest.raises(OSError, match=r"cut.png cannot be decoded.*copy it again"):
        images.picture(1)


def test_a_machine_without_file_handles_does_not_make_an_image_damaged(tmp_path: Path) -> None:
    Image.fromarray(GREY[0]).save(tmp_path / "whole.png")
    images = ImageSet((tmp_path / "whole.png",), ((0,), (1,)), ("a", "b"), ((0,),))
    images.picture(0)
    with no_more_files(), pytest.raises(OSError, match=r"^\[Errno 24\] Too many open files"):
        images.picture(0)
