"""Label maps: class of a set to the class or classes of the model."""

from collections.abc import Collection

from service.errors import InvalidSet
from service.schemas.adaptation_set import LabelMap, ModelClass


def canonical_label_map(label_map: LabelMap | None) -> dict[str, list[ModelClass]] | None:
    """``label_map`` with each class's targets as a sorted list without repetitions, keys sorted."""
    if label_map is None:
        return None
    return {name: _targets(label_map[name]) for name in sorted(label_map)}


def _targets(target: ModelClass | list[ModelClass]) -> list[ModelClass]:
    targets = target if isinstance(target, list) else [target]
    return sorted(set(targets), key=lambda each: (isinstance(each, str), str(each).zfill(12)))


def joined_label_map(given: LabelMap | None, packed: LabelMap | None) -> LabelMap | None:
    """The one label map of a set, from its request or its archive, in canonical form.

    Raises InvalidSet with code ``two_label_maps`` if both exist and differ.
    """
    of_request, of_archive = canonical_label_map(given), canonical_label_map(packed)
    if of_request is not None and of_archive is not None and of_request != of_archive:
        raise InvalidSet(
            "the request's label_map differs from the archive's label_map.json: send one of them",
            param="label_map",
            code="two_label_maps",
        )
    joined = of_archive if of_request is None else of_request
    return None if joined is None else dict(joined)


def check_label_map(label_map: LabelMap | None, classes: Collection[str]) -> None:
    """Raise InvalidSet (``unknown_class``) when a class of the set is not in its label map."""
    if label_map is None:
        return
    if missing := [name for name in classes if name not in label_map]:
        raise InvalidSet(
            f"the class {missing[0]!r} of the set is not in its label_map: add it there, or leave the class out",
            param="label_map",
            code="unknown_class",
        )
