"""Images that are of the models' size already reach the models pixel by pixel, by every way there is."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lab.data.adaptation_sets import write_adaptation_set
from lab.data.label_maps import label_maps
from lab.data.layouts import ImageSet, load_conflict_stimuli, load_imagenet_c
from service.adaptation_sets.registry import SetRegistry
from service.jobs.store import JobStore
from service.pantries.registry import PantryRegistry
from service.settings import Settings
from soupsearch.cli.scoring import encoded_set
from tests.soupsearch.cli.commands import exit_code
from tests.workers.jobs.conftest import Bench
from tests.workers.soups.folders import VIT, config_of, write_ingredients
from workers.jobs.material import Material
from workers.soups.verify import verify_folder

SIZE = 224
COUNT = 4
TINY = VIT | {"model_args": VIT["model_args"] | {"img_size": SIZE, "patch_size": 56, "in_chans": 3}}


def stored_images(folder: Path, inner: tuple[str, ...], suffix: str) -> None:
    """Noise of the models' size in the class folders ``inner``."""
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        path = folder / inner[number % len(inner)] / f"{number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def corrupted(tmp_path: Path) -> ImageSet:
    """Images laid out as ImageNet-C's."""
    wnids = label_maps().wnids
    stored_images(tmp_path / "imagenet-c" / "fog" / "3", (wnids[7], wnids[300]), ".JPEG")
    return load_imagenet_c(tmp_path / "imagenet-c", "fog", 3)


@pytest.fixture
def stimuli(tmp_path: Path) -> ImageSet:
    """Images laid out as the cue-conflict stimuli."""
    stored_images(tmp_path / "stimuli", ("bear", "clock"), ".png")
    return load_conflict_stimuli(tmp_path / "stimuli")


@pytest.fixture
def ingredients(tmp_path: Path) -> list[Path]:
    """Two ingredients of ImageNet's classes, which crop an eighth of other images away."""
    config = config_of(TINY, SIZE, channels=3, classes=1000)
    config["pretrained_cfg"]["crop_pct"] = 0.875
    return write_ingredients(tmp_path / "pantry", config, 2)


def written(images: ImageSet, path: Path) -> Path:
    write_adaptation_set(images, path, count=COUNT, seed=0)
    return path


def as_stored(images: ImageSet) -> list[NDArray[np.uint8]]:
    """Each image (3, H, W) as its file decodes, in an order of their own."""
    return in_order(np.stack([np.asarray(picture).transpose(2, 0, 1) for picture, _ in images]))


def in_order(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return sorted(images, key=lambda image: image.tobytes())


@pytest.mark.parametrize("layout", ["corrupted", "stimuli"])
def test_an_evaluation_sees_the_images_as_they_are_stored(
    request: pytest.FixtureRequest, tmp_path: Path, ingredients: list[Path], layout: str
) -> None:
    images: ImageSet = request.getfixturevalue(layout)
    encoded = encoded_set(ingredients[0], written(images, tmp_path / "set.zip"))
    assert np.array_equal(in_order(encoded.images), as_stored(images))


def test_a_job_sees_the_images_as_they_are_stored(
    settings: Settings, job_store: JobStore, tmp_path: Path, corrupted: ImageSet, ingredients: list[Path]
) -> None:
    bench = Bench(settings, job_store, tmp_path)
    folders = {folder.name: folder for folder in ingredients}
    PantryRegistry(bench.artifacts, settings).add("imagenet", folders, verify_folder)
    stored = SetRegistry(bench.artifacts, settings).add(written(corrupted, tmp_path / "set.zip"))
    job_id = bench.submit("imagenet", adaptation_sets=[stored.id], held_out_fraction=0.0)
    material = Material(job_store.get(job_id).request, settings)
    (part,) = material.selection("float32").sets
    assert np.array_equal(in_order(material.arrays_of(part.images)["images"]), as_stored(corrupted))


def test_an_attack_begins_from_the_images_as_they_are_stored(
    tmp_path: Path, corrupted: ImageSet, ingredients: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    archive = written(corrupted, tmp_path / "set.zip")
    kept = tmp_path / "kept.npz"
    chosen = ("--threat", "Linf:4/255", "--steps", "1", "--seeds", "1", "--save", kept, "--json")
    assert exit_code("attack", ingredients[0], archive, *chosen) == 0
    assert json.loads(capsys.readouterr().out)["threats"][0]["steps"] == 1
    clean = np.load(kept, allow_pickle=False)["clean"]
    assert np.array_equal(in_order(np.rint(clean * 255).astype(np.uint8)), as_stored(corrupted))


def test_other_images_are_cropped_as_the_model_says(
    tmp_path: Path, corrupted: ImageSet, ingredients: list[Path]
) -> None:
    """The same files without the word that they are cropped."""
    plain = ImageSet(corrupted.images, corrupted.columns, corrupted.column_names, corrupted.accepted)
    encoded = encoded_set(ingredients[0], written(plain, tmp_path / "set.zip"))
    assert not np.array_equal(in_order(encoded.images), as_stored(corrupted))
