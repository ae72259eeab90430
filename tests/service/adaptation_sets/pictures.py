"""Small images as files, and what a store holds."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def picture(
    seed: int, form: str = "PNG", size: tuple[int, int] = (8, 6), mode: str = "RGB", **options: object
) -> bytes:
    """An image file of random pixels; ``size`` is width, height."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def two_classes() -> dict[str, bytes]:
    """Four images of two classes."""
    return {f"{name}/{index}.png": picture(seed) for seed, (name, index) in enumerate(_NAMES)}


_NAMES = [("cat", 0), ("cat", 1), ("dog", 0), ("dog", 1)]


def files_below(root: Path) -> list[Path]:
    """Everything in a store but its own folders."""
    return sorted(path for path in root.rglob("*") if path.parent not in (root, root / "names"))
