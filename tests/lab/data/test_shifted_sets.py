from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.data.fashion_mnist import CLASS_NAMES
from lab.data.idx import load_idx_folder
from lab.data.labelled_images import LabelledImages
from lab.data.shifted_sets import SHIFTS, write_shifted_sets

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
SHIPPED = Path(__file__).parents[3] / "examples" / "sets"


@pytest.fixture(scope="module")
def test_images() -> LabelledImages:
    return load_idx_folder(FASHION_MNIST, "test")


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_shipped_sets_are_made_again_byte_for_byte(test_images: LabelledImages, tmp_path: Path) -> None:
    written = write_shifted_sets(test_images, CLASS_NAMES, tmp_path)
    assert len(written) == 2 * len(SHIFTS)
    for path in written:
        assert path.read_bytes() == (SHIPPED / path.relative_to(tmp_path)).read_bytes(), path
    assert sorted(SHIPPED.glob("*/*.zip")) == sorted(SHIPPED / path.relative_to(tmp_path) for path in written)


@pytest.mark.parametrize("shift", SHIFTS)
def test_shipped_sets_are_balanced_small_and_apart(shift: str, test_images: LabelledImages) -> None:
    adaptation, held_out = (
        members(SHIPPED / f"fashion-{shift}" / f"{part}.zip") for part in ("adaptation", "held_out")
    )
    for contents, count in ((adaptation, 100), (held_out, 600)):
        per_class = [sum(name.startswith(f"{label}/") for name in contents) for label in CLASS_NAMES]
        assert per_class == [count // 10] * 10
    assert not set(adaptation) & set(held_out)
    for name, content in adaptation.items():
        label, file_name = name.split("/")
        assert test_images.labels[int(file_name[:-4])] == CLASS_NAMES.index(label)
        with Image.open(io.BytesIO(content)) as picture:
            assert (picture.mode, picture.size, picture.format) == ("L", (28, 28), "PNG")


def test_no_held_out_image_of_one_shift_is_in_the_adaptation_set_of_another() -> None:
    adaptation, held_out = (
        {name for shift in SHIFTS for name in members(SHIPPED / f"fashion-{shift}" / f"{part}.zip")}
        for part in ("adaptation", "held_out")
    )
    assert len(adaptation) == 100
    assert len(held_out) == 600
    assert not adaptation & held_out


def test_the_shipped_sets_stay_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.glob("*/*.zip")) < 3 * 2**20


def test_another_seed_draws_other_images(test_images: LabelledImages, tmp_path: Path) -> None:
    first, second = (
        write_shifted_sets(
            test_images, CLASS_NAMES, tmp_path / str(seed), adaptation_count=10, held_out_count=10, seed=seed
        )
        for seed in (0, 1)
    )
    assert set(members(first[0])) != set(members(second[0]))


def test_colour_images_are_written_in_colour(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 9, 7), dtype=np.uint8)
    data = LabelledImages(images, np.array([0, 1, 0, 1, 0, 1]))
    written = write_shifted_sets(data, ["a", "b"], tmp_path, prefix="tiny", adaptation_count=2, held_out_count=4)
    assert written[0] == tmp_path / "tiny-low-contrast" / "adaptation.zip"
    with Image.open(io.BytesIO(next(iter(members(written[0]).values())))) as picture:
        assert (picture.mode, picture.size) == ("RGB", (7, 9))
