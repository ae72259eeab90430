"""The contents of a set, apart from its pixels, and its identity, which follows from them."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

from service.adaptation_sets.label_maps import canonical_label_map
from service.schemas.adaptation_set import LabelMap, ModelClass

_FORMAT = 1


@dataclass(frozen=True)
class Contents:
    """The images of a set in order: the accepted classes of each, and where they came from.

    accepted:  for each image its accepted classes: folder names (str), or the indices of an npz (int); none without a
               label.
    label_map: class of the set to the model's; None if the classes are the model's own.
    paths:     path of each image below the class folders' parent; empty for arrays.
    digests:   sha256 of each image's file in the order of ``paths``, or the one of the array's bytes.
    shape:     of the array of images, empty for files.
    precropped: whether the images are already cropped as for the model; part of the identity only if they are.
    """

    accepted: tuple[tuple[ModelClass, ...], ...]
    label_map: LabelMap | None
    paths: tuple[str, ...]
    digests: tuple[str, ...]
    shape: tuple[int, ...] = ()
    precropped: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """Images of each class, classes in their order: integers by value, otherwise by name."""
        counts = Counter(str(name) for name in chain.from_iterable(self.accepted))
        return {name: counts[name] for name in sorted(counts, key=class_order)}

    @property
    def labelled(self) -> int:
        """How many images have a label."""
        return sum(map(bool, self.accepted))

    @property
    def multi_label(self) -> bool:
        """Whether an image has several accepted classes."""
        return any(len(classes) > 1 for classes in self.accepted)

    def identity(self) -> str:
        """sha256 of the contents: independent of the kind of archive and of the order of its members."""
        document = self.as_document() | {"format": _FORMAT, "label_map": canonical_label_map(self.label_map)}
        return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def as_document(self) -> dict[str, Any]:
        """For JSON."""
        document: dict[str, Any] = {
            "accepted": self.accepted,
            "label_map": self.label_map,
            "paths": self.paths,
            "digests": self.digests,
            "shape": self.shape,
        }
        return document | ({"precropped": True} if self.precropped else {})

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The contents that ``as_document`` described."""
        return cls(
            accepted=tuple(tuple(classes) for classes in document["accepted"]),
            label_map=document["label_map"],
            paths=tuple(document["paths"]),
            digests=tuple(document["digests"]),
            shape=tuple(document["shape"]),
            precropped=document.get("precropped", False),
        )


def class_order(name: str) -> tuple[int, int, str]:
    """Sorts classes: integers first and by value, so that 2 comes before 10, then names."""
    index = as_index(name)
    return (1, 0, name) if index is None else (0, index, name)


def as_index(name: ModelClass) -> int | None:
    """``name`` as an index if it is one or is written as one, otherwise None."""
    if isinstance(name, int):
        return name
    return int(name) if name.isascii() and name.isdecimal() and len(name) <= 9 else None
