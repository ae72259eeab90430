import io
from collections.abc import Callable
from pathlib import Path

import pytest

from service.adaptation_sets.images import FORMATS, decode
from service.errors import SoupsearchError, is_of_machine
from tests.service.adaptation_sets.pictures import picture
from tests.service.archives.failing import FAILURES, FailingFile, failures


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_what_the_machine_fails_to_read_is_no_damage(
    tmp_path: Path, form: str, failure: Callable[[], Exception]
) -> None:
    path = tmp_path / "image"
    path.write_bytes(picture(0, form, size=(150, 150)))

    def read(reads: int) -> None:
        with FailingFile(path, reads, failure) as raw, io.BufferedReader(raw) as stream:
            decode(stream, "image", 2**16)

    errors = list(failures(read))
    if form == "TIFF":  # Pillow itself takes an error of the disk in a TIFF's directory for the end of it
        errors = errors[:1]
    assert errors
    assert all(is_of_machine(error) and not isinstance(error, SoupsearchError) for error in errors)
