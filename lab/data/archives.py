"""Adaptation sets as files: a zip of class folders whose bytes depend only on its contents."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_EPOCH = (1980, 1, 1, 0, 0, 0)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """PNG of a uint8 image of shape (H, W), (H, W, 1) or (H, W, 3).

    Not compressed, so that the bytes are the same whichever deflate library is installed.
    """
    pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def write_archive(out: Path, members: Mapping[str, bytes]) -> None:
    """Write ``members`` (path in the archive to contents) as a zip file, in the order of their paths.

    Neither times nor the system are recorded: the same members give the same bytes. Creates missing parent folders of
    ``out``.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(members):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, members[path])
