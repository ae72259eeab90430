"""Maps a set's classes to a model's logits."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from service.adaptation_sets.contents import as_index, class_order
from service.adaptation_sets.stored import StoredSet
from service.errors import InvalidRequest, InvalidSet
from service.schemas.adaptation_set import LabelMap, ModelClass
from service.schemas.objective import FEWEST_CLASSES, ThreatModel

_NAMED = 8
_SUM_ERROR = 1e-6


@dataclass(frozen=True)
class Labels:
    """The columns of scores, made from the model's classes, and the right columns of each image.

    columns:      for each column the model's class indices; its score is the mean of their softmax.
    column_names: the columns' display names.
    accepted:     for each image the columns that count as right, none for an image without a label. A prediction is the
                  column of the highest score.
    """

    columns: tuple[tuple[int, ...], ...]
    column_names: tuple[str, ...]
    accepted: tuple[tuple[int, ...], ...]

    @property
    def labelled(self) -> tuple[int, ...]:
        """The images that have a label."""
        return tuple(image for image, columns in enumerate(self.accepted) if columns)

    @property
    def unlabelled(self) -> tuple[int, ...]:
        """The images that have none."""
        return tuple(image for image, columns in enumerate(self.accepted) if not columns)


def resolve(stored: StoredSet, label_names: Sequence[str] | None, num_classes: int) -> Labels:
    """The labels of ``stored`` for a model of ``num_classes`` classes, named ``label_names`` if they have names.

    Without a label map there is one column for each class of the model. A folder's name must match a label
    name exactly; if not all folders match and all are integers, they are class indices, by value. Labels of an
    npz are always class indices. With a label map, only its classes are columns, integers by value and then
    names; classes mapped to the same classes of the model share a column.

    Raises InvalidSet: ``unknown_class`` if the model lacks a class, ``one_class`` if all labelled images accept the
    same column, so that a model that always answers it would be right.
    """
    if stored.label_map is None:
        labels = _own_classes(stored, label_names, num_classes)
    else:
        labels = _mapped_classes(stored, stored.label_map, label_names, num_classes)
    known = [set(columns) for columns in labels.accepted if columns]
    if common := set.intersection(*known) if known else set():
        raise InvalidSet(
            f"all labelled images of the set accept the class {labels.column_names[min(common)]!r} of this pantry, so "
            "that it is always right: send images of other classes too",
            param="adaptation_set",
            code="one_class",
        )
    return labels


def _own_classes(stored: StoredSet, label_names: Sequence[str] | None, num_classes: int) -> Labels:
    by_name = _by_name(label_names)
    names = {name for classes in stored.accepted for name in classes}
    if names.issubset(by_name):
        index_of: dict[ModelClass, int] = {name: by_name[str(name)] for name in names}
    elif all(as_index(name) is not None for name in names):
        index_of = {name: _checked_index(name, num_classes) for name in names}
    else:
        unknown = next(name for name in sorted(map(str, names), key=class_order) if name not in by_name)
        raise _unknown(unknown, label_names, num_classes)
    columns = tuple((index,) for index in range(num_classes))
    column_names = tuple(label_names) if label_names is not None else tuple(map(str, range(num_classes)))
    return Labels(columns, column_names, _accepted(stored, index_of))


def _mapped_classes(
    stored: StoredSet, label_map: LabelMap, label_names: Sequence[str] | None, num_classes: int
) -> Labels:
    places: dict[tuple[int, ...], int] = {}
    names: list[list[str]] = []
    column_of: dict[str, int] = {}
    for name in sorted(label_map, key=class_order):
        target = label_map[name]
        indices = _target_indices(target if isinstance(target, list) else [target], label_names, num_classes)
        if indices not in places:
            places[indices] = len(places)
            names.append([])
        column_of[name] = places[indices]
        names[places[indices]].append(name)
    index_of = {name: column_of[str(name)] for classes in stored.accepted for name in classes}
    return Labels(tuple(places), tuple("/".join(group) for group in names), _accepted(stored, index_of))


def _target_indices(
    targets: Iterable[ModelClass], label_names: Sequence[str] | None, num_classes: int
) -> tuple[int, ...]:
    by_name = _by_name(label_names)
    indices = set()
    for target in targets:
        if isinstance(target, str) and target in by_name:
            indices.add(by_name[target])
        elif as_index(target) is not None:
            indices.add(_checked_index(target, num_classes))
        else:
            raise _unknown(str(target), label_names, num_classes, param="label_map")
    return tuple(sorted(indices))


def prior_of(prior: Mapping[str, float], labels: Labels) -> tuple[float, ...]:
    """How common each column is among images without a label, where ``prior`` gives the shares of some by their names.

    The other columns share the rest equally. Raises InvalidRequest (``invalid_prior``) for a name that no column has,
    and for a share of nothing.
    """
    if unknown := [name for name in prior if name not in labels.column_names]:
        raise InvalidRequest(
            f"the prior names {unknown[0]!r}, which is no class here: name some of {_some(labels.column_names)}",
            param="objective.prior",
            code="invalid_prior",
        )
    left = [name for name in labels.column_names if name not in prior]
    rest = 1 - sum(prior.values())
    if (rest > _SUM_ERROR) != bool(left):
        raise InvalidRequest(
            f"the shares of the prior sum to {1 - rest:g}, and {len(left)} classes are not named: "
            + ("leave something for them, or name them" if left else "let them sum to 1"),
            param="objective.prior",
            code="invalid_prior",
        )
    return tuple(prior.get(name, rest / max(len(left), 1)) for name in labels.column_names)


def check_attackable(labels: Labels, threats: Iterable[ThreatModel]) -> None:
    """Check that attacks with the losses of ``threats`` can lead each image away from its class.

    Raises InvalidRequest: ``labels_needed`` when an image accepts no class, ``several_labels`` when one accepts
    several, ``too_few_classes`` for a loss.
    """
    for threat in threats:
        if labels.unlabelled:
            raise InvalidRequest(
                "robust accuracy needs a label for every image of the job's sets, and "
                f"{len(labels.unlabelled)} of this set's have none: label them, or leave them out",
                param="objective",
                code="labels_needed",
            )
        if any(len(accepted) > 1 for accepted in labels.accepted):
            raise InvalidRequest(
                "robust accuracy needs one right class per image, and this set has images with several: "
                "take accuracy, or a set with one label per image",
                param="objective",
                code="several_labels",
            )
        if len(labels.columns) < FEWEST_CLASSES[threat.loss]:
            raise InvalidRequest(
                f"the loss {threat.loss!r} needs {FEWEST_CLASSES[threat.loss]} classes and there are "
                f"{len(labels.columns)}: take the loss 'ce'",
                param="objective",
                code="too_few_classes",
            )


def _by_name(label_names: Sequence[str] | None) -> dict[ModelClass, int]:
    """Indices of the names that stand for only one class; ImageNet, for example, has two classes named "crane"."""
    names = [unicodedata.normalize("NFC", name) for name in label_names or ()]
    counts = Counter(names)
    return {name: index for index, name in enumerate(names) if counts[name] == 1}


def _checked_index(name: ModelClass, num_classes: int) -> int:
    index = as_index(name)
    if index is None or not 0 <= index < num_classes:
        raise InvalidSet(
            f"the class {name} is out of range: the pantry's models have the classes 0 to {num_classes - 1}",
            param="adaptation_set",
            code="unknown_class",
        )
    return index


def _accepted(stored: StoredSet, index_of: dict[ModelClass, int]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(sorted({index_of[name] for name in classes})) for classes in stored.accepted)


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''}"


def _unknown(
    name: str, label_names: Sequence[str] | None, num_classes: int, param: str = "adaptation_set"
) -> InvalidSet:
    known = f"the indices 0 to {num_classes - 1}"
    if label_names:
        known = f"{_some(label_names)}, or {known}"
    return InvalidSet(
        f"the class {name!r} is not exactly one of the pantry's: rename it or map it by a label_map to one of {known}",
        param=param,
        code="unknown_class",
    )
