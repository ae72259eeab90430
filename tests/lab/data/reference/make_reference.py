"""Make corruptions.npz: what the package imagecorruptions-imaug 1.1.5 makes of one image.

pip install imagecorruptions-imaug==1.1.5
PYTHONPATH=. python tests/lab/data/reference/make_reference.py

Run it only to look at another release of the package; the tests read the file. Kept out of the tests' requirements
because the package brings numba and a graphical OpenCV.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from imagecorruptions import corruptions as reference
from numpy.typing import NDArray
from PIL import Image

from lab.data.corruptions import NAMES
from lab.data.idx import load_idx_folder

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
OUT = Path(__file__).parent / "corruptions.npz"
SEED = 7
DRAWS = 32


@lru_cache(maxsize=1)
def colour_image() -> NDArray[np.uint8]:
    """(56, 84, 3): eighteen test images, six to a channel, in two rows of three."""
    tiles = load_idx_folder(FASHION_MNIST, "test").images[:18, 0].reshape(3, 2, 3, 28, 28)
    return np.ascontiguousarray(tiles.transpose(1, 3, 2, 4, 0).reshape(56, 84, 3))


def corrupted(name: str, severity: int, seed: int) -> NDArray[np.uint8]:
    """One image of the reference, from NumPy's global generator or the seed that its function takes."""
    np.random.seed(seed)
    seeded = {"seed": seed} if name in {"impulse_noise", "glass_blur"} else {}
    result = getattr(reference, name)(Image.fromarray(colour_image()), severity, **seeded)
    return np.asarray(result).astype(np.uint8)


def main() -> None:
    """Write the input, every corruption of it, and the mean absolute change over many draws."""
    arrays: dict[str, Any] = {"image": colour_image()}
    for name in NAMES:
        for severity in range(1, 6):
            arrays[f"{name}/{severity}"] = corrupted(name, severity, SEED)
            draws = [corrupted(name, severity, seed).astype(float) for seed in range(DRAWS)]
            arrays[f"{name}/{severity}/mean"] = np.array([draw.mean() for draw in draws])
            arrays[f"{name}/{severity}/change"] = np.array([np.abs(draw - colour_image()).mean() for draw in draws])
    np.savez_compressed(OUT, **arrays)


if __name__ == "__main__":
    main()
