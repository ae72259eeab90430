"""Identifies the code that computes scores."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import timm
import torch

import search
import workers

_SCORING = ("architectures", "soups", "evaluation", "refinement", "attacks")
_SERVING = ("ray_runtime",)


@lru_cache
def scoring_version() -> str:
    """Digest (hexadecimal, 16 characters) of all that scores depend on: what makes and evaluates soups; libraries."""
    return _digest(_SCORING)


@lru_cache
def evaluator_version() -> str:
    """Digest of the code that an evaluator runs; evaluators of other versions are not used."""
    return _digest(_SCORING + _SERVING)


def _digest(packages: tuple[str, ...]) -> str:
    root = Path(workers.__file__).parent
    pure = Path(search.__file__).parent
    digest = hashlib.sha256(f"torch {torch.__version__} timm {timm.__version__} numpy {np.__version__}".encode())
    for name in ("evaluation.py", "folds.py"):
        digest.update((pure / name).read_bytes())
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
