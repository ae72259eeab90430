"""The arithmetic that attacks and forward passes are scored in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Convolutions in IEEE float32 by deterministic algorithms, forwards and backwards."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
