from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.lab.training.recipes import fashion


@pytest.fixture(autouse=True)
def _all_in_one_thread(one_thread: None) -> None:
    pass


@pytest.fixture(scope="session")
def small_fashion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of IDX files with 320 training and 100 test images of Fashion-MNIST."""
    folder = tmp_path_factory.mktemp("small-fashion")
    data = fashion(420)
    for prefix, part in (("train", slice(320)), ("t10k", slice(320, 420))):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(_idx(data.images[part, 0]))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(_idx(data.labels[part].astype(np.uint8)))
    return folder


def _idx(array: NDArray[np.uint8]) -> bytes:
    shape = np.array(array.shape, dtype=">u4").tobytes()
    return bytes((0, 0, 8, array.ndim)) + shape + array.tobytes()
