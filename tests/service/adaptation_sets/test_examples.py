import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.adaptation_sets.labels import resolve
from service.adaptation_sets.registry import SetRegistry
from service.artifacts.store import ArtifactStore
from service.settings import Settings
from tests.service.archives.packing import pack

SETS = [
    *sorted(Path("examples/sets").glob("fashion-*/adaptation.zip")),
    Path("examples/sets/fashion-rotation/held_out.zip"),
]


@pytest.fixture
def registry(tmp_path: Path) -> SetRegistry:
    limits = Settings(_env_file=None, data_dir=tmp_path / "data", min_free_bytes=0)
    return SetRegistry(ArtifactStore(limits.data_dir, limits), limits)


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


def test_a_shipped_set_packed_otherwise_is_the_same(registry: SetRegistry, tmp_path: Path) -> None:
    with zipfile.ZipFile(SETS[0]) as archive:
        members = {f"shifted/{name}": archive.read(name) for name in reversed(archive.namelist())}
    pack(tmp_path / "set.tar.gz", members, "tar.gz")
    assert registry.add(tmp_path / "set.tar.gz").id == registry.add(SETS[0]).id
