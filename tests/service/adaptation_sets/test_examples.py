import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.adaptation_sets.labels import resolve
from service.adaptation_sets.registry import SetRegistry
from service.artifacts import open_store
from service.settings import Settings
from tests.service.archives.packing import pack

SETS = [
    *sorted(Path("examples/sets").glob("fashion-*/adaptation.zip")),
    Path("examples/sets/fashion-rotation/held_out.zip"),
]


@pytest.fixture
def registry(tmp_path: Path) -> SetRegistry:
    limits = Settings(_env_file=None, data_dir=tmp_path / "data", min_free_bytes=0)
    return SetRegistry(open_store(limits), limits)


@pytest.mark.parametrize("path", SETS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_shipped_sets_come_back_pixel_by_pixel(registry: SetRegistry, path: Path) -> None:
    document = registry.add(path)
    assert document.images == {"adaptation": 100, "held_out": 600}[path.stem]
    assert len(document.classes) == 10

    stored = registry.open(document.id)
    with zipfile.ZipFile(path) as archive:
        for name, image in zip(stored.contents.paths, stored.images(), strict=True):
            with archive.open(name) as file:
                assert np.array_equal(np.asarray(image), np.asarray(Image.open(file)))
    labels = resolve(stored, stored.classes, 10)
    assert [stored.classes[columns[0]] for columns in labels.accepted] == [
        name.split("/")[0] for name in stored.contents.paths
    ]


def test_the_shipped_sets_keep_their_ids(registry: SetRegistry) -> None:
    """Stored jobs and everything computed name sets by them."""
    expected = {
        "gaussian-noise": "3f46a79710801756a75fbd39090a419fd4f3e95404c7bc80caf6ba6163fee00f",
        "low-contrast": "f634d725d29a618a67886fbf0ce392b041162f8589e9305dd9d686f1a115196e",
        "rotation": "ff3ed750dcfb6f2b55defb5107001a198ca186c982f12db2c7221c057b616fe4",
        "salt-and-pepper": "0aab19474f10c296facadf0298aa027c7441ff58d7ac5b0a5464831f0b44c138",
    }
    assert {
        name: registry.add(Path(f"examples/sets/fashion-{name}/adaptation.zip")).id for name in expected
    } == expected


def test_a_shipped_set_packed_otherwise_is_the_same(registry: SetRegistry, tmp_path: Path) -> None:
    with zipfile.ZipFile(SETS[0]) as archive:
        members = {f"shifted/{name}": archive.read(name) for name in reversed(archive.namelist())}
    pack(tmp_path / "set.tar.gz", members, "tar.gz")
    assert registry.add(tmp_path / "set.tar.gz").id == registry.add(SETS[0]).id
