"""Which of ImageNet's 1000 classes the other evaluation sets cover."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources


@dataclass(frozen=True)
class LabelMaps:
    """ImageNet's classes and the subsets that other sets use; all class indices are 0 to 999.

    ``wnids``: the WordNet id of each class, in order. ``imagenet_a``, ``imagenet_r``: the 200 classes of each set.
    ``cue16``: the classes behind each of the 16 coarse classes of the cue-conflict stimuli, in order of name.
    """

    wnids: tuple[str, ...]
    imagenet_a: tuple[int, ...]
    imagenet_r: tuple[int, ...]
    cue16: Mapping[str, tuple[int, ...]]


@lru_cache(maxsize=1)
def label_maps() -> LabelMaps:
    """The label maps shipped in ``label_maps.json``."""
    maps = json.loads(resources.files("lab.data").joinpath("label_maps.json").read_text("utf-8"))
    return LabelMaps(
        wnids=tuple(maps["wnids"]),
        imagenet_a=tuple(maps["imagenet_a"]),
        imagenet_r=tuple(maps["imagenet_r"]),
        cue16={name: tuple(maps["cue16"][name]) for name in sorted(maps["cue16"])},
    )
