import io
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.adaptation_sets.images import FORMATS as FORMATS_OF_IMAGES
from service.adaptation_sets.registry import SetRegistry
from service.artifacts.folder import FolderStore
from service.errors import SoupsearchError
from service.settings import Settings
from tests.service.adaptation_sets.pictures import picture, two_classes
from tests.service.archives.packing import FORMATS, pack

QUICK = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
THOROUGH = settings(QUICK, max_examples=100)
LIMITS: dict[str, Any] = {
    "max_upload_bytes": 2**20,
    "max_unpacked_bytes": 2**20,
    "max_images": 50,
    "max_image_pixels": 2**16,
}


def packed(form: str) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        members = two_classes() | {"dog/2.jpg": picture(7, "JPEG"), "labels.json": b'{"cat/0.png": ["dog", 3]}'}
        return pack(Path(scratch) / "a", members, form).read_bytes()


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=np.zeros((3, 4, 4), np.uint8), labels=np.arange(3))
    return buffer.getvalue()


SAMPLES = {form: packed(form) for form in FORMATS} | {"npz": arrays()}


def stored_or_refused(data: bytes) -> bool:
    """Nothing but a SoupsearchError comes out, and nothing stays but a whole set; returns whether it was stored."""
    with tempfile.TemporaryDirectory() as scratch:
        limits = Settings(_env_file=None, data_dir=Path(scratch) / "data", min_free_bytes=0, **LIMITS)
        store = FolderStore(limits.data_dir, limits)
        upload = Path(scratch) / "upload"
        upload.write_bytes(data)
        registry = SetRegistry(store, limits)
        with suppress(SoupsearchError):
            stored = registry.open(registry.add(upload).id)
            assert len(list(stored.images())) == len(stored)
        assert list((store.root / "staging").iterdir()) == []
        assert len(registry.list()) == len(list((store.root / "sets").iterdir()))
        return bool(registry.list())


@QUICK
@given(
    head=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08", bytes(257) + b"ustar\x0000"]),
    tail=st.binary(max_size=2000),
)
def test_random_bytes(head: bytes, tail: bytes) -> None:
    stored_or_refused(head + tail)


Mutation = Callable[[bytes], bytes]


@st.composite
def mutations(draw: st.DrawFn, size: int) -> Mutation:
    at = draw(st.integers(0, size - 1))
    piece = draw(st.binary(min_size=1, max_size=8))
    cut = draw(st.integers(0, 40))
    kind = draw(st.sampled_from(["replace", "insert", "remove", "truncate"]))
    if kind == "replace":
        return lambda data: data[:at] + piece + data[at + len(piece) :]
    if kind == "insert":
        return lambda data: data[:at] + piece + data[at:]
    if kind == "remove":
        return lambda data: data[:at] + data[at + cut :]
    return lambda data: data[:at]


def mutated(data: st.DataObject, sample: bytes) -> bytes:
    for mutate in data.draw(st.lists(mutations(len(sample)), min_size=1, max_size=3)):
        sample = mutate(sample)
    return sample


def check_mutated_set(form: str, data: st.DataObject) -> None:
    stored_or_refused(mutated(data, SAMPLES[form]))


def check_mutated_image(form: str, data: st.DataObject) -> None:
    image = mutated(data, picture(1, form))
    with tempfile.TemporaryDirectory() as scratch:
        upload = pack(Path(scratch) / "a", {"cat/0": picture(0), "dog/0": image}, "tar").read_bytes()
    stored_or_refused(upload)


@QUICK
@given(form=st.sampled_from(sorted(SAMPLES)), data=st.data())
def test_mutated_sets(form: str, data: st.DataObject) -> None:
    check_mutated_set(form, data)


@QUICK
@given(form=st.sampled_from(FORMATS_OF_IMAGES), data=st.data())
def test_mutated_images(form: str, data: st.DataObject) -> None:
    check_mutated_image(form, data)


@pytest.mark.slow
@pytest.mark.parametrize("form", SAMPLES)
@THOROUGH
@given(data=st.data())
def test_many_mutated_sets(form: str, data: st.DataObject) -> None:
    check_mutated_set(form, data)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS_OF_IMAGES)
@THOROUGH
@given(data=st.data())
def test_many_mutated_images(form: str, data: st.DataObject) -> None:
    check_mutated_image(form, data)


def test_the_samples_themselves_are_taken() -> None:
    assert {form for form, sample in SAMPLES.items() if stored_or_refused(sample)} == set(SAMPLES)
