"""Small real inputs: archives of images and folders of ingredients."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

LABELS = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]

Part = tuple[str | None, str | bytes] | tuple[str | None, str | bytes, str]
"""One part of a form: the name of its file, its content, and its media type."""


def png(seed: int = 0, side: int = 28) -> bytes:
    """An image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip of ``files`` by path."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()


def image_zip(classes: Sequence[str] = ("Bag", "Coat"), each: int = 3, seed: int = 0) -> bytes:
    """A zip of class folders with ``each`` images."""
    return zip_of(
        {
            f"{name}/{number}.png": png(seed + 1000 * place + number)
            for place, name in enumerate(classes)
            for number in range(each)
        }
    )


def unlabelled_zip(images: int = 6, seed: int = 0) -> bytes:
    """A zip of images without a label."""
    return zip_of({f"unlabelled/{number}.png": png(seed + 5000 + number) for number in range(images)})


def write_ingredient(folder: Path, seed: int, classes: int = 10) -> Path:
    """A folder with a small checkpoint and its configuration as timm writes it; timm itself cannot build it."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    weights = {
        "body.weight": rng.normal(size=(8, 16)).astype(np.float32),
        "head.weight": rng.normal(size=(classes, 8)).astype(np.float32),
    }
    save_file(weights, folder / "model.safetensors")
    config = {
        "architecture": "test_vit",
        "num_classes": classes,
        "label_names": LABELS[:classes],
        "pretrained_cfg": {"input_size": [1, 28, 28], "mean": [0.5], "std": [0.5], "num_classes": classes},
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def pantry_zip(tmp: Path, names: Sequence[str] = ("linf", "l2")) -> bytes:
    """A zip of ingredient folders."""
    files: dict[str, bytes] = {}
    for seed, name in enumerate(names):
        folder = write_ingredient(tmp / name, seed)
        files |= {f"{name}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    return zip_of(files)
