"""Requests as the command line writes them: their sets have the names given there until they are stored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soupsearch.cli.objectives import Fields, with_ids
from soupsearch.cli.sets import read_label_map, set_sources

LabelMaps = Mapping[str, Fields | None]
"""Each set, as written on the command line, with the label map to send with it."""


@dataclass(frozen=True)
class AskedRequest:
    """A request to adapt: ``fields``, and what is ``measured`` (see ``objective_fields``) on which ``sets``."""

    fields: Fields
    measured: Fields
    sets: LabelMaps

    def send(self, client: Any, call: Callable[..., Any]) -> Any:
        """What ``call`` answers to the request with its one set, or to one that names several, which are stored first.

        Sets are stored with their label maps.
        """
        with set_sources(list(self.sets)) as sources:
            pairs = list(zip(sources, self.sets.values(), strict=True))
            source, mapping = pairs[0]
            if len(pairs) == 1 and isinstance(source, Path):
                return call(self.fields | self.measured | ({"label_map": mapping} if mapping else {}), source)
            stored = [client.add_set(each, labels).id if isinstance(each, Path) else each for each, labels in pairs]
        ids = dict(zip(self.sets, stored, strict=True))
        named = {"adaptation_sets": list(dict.fromkeys(ids.values()))}
        return call(self.fields | with_ids(self.measured, ids) | named)


def given(options: Fields) -> Fields:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None and value is not False}


def search_fields(options: Fields, names: Mapping[str, str | None], budget: Fields) -> Fields:
    """The fields of a search that were given: its ``options``, lists of ``names`` written NAME,NAME, and its budget."""
    lists = {field: text and text.split(",") for field, text in names.items()}
    return given(options | lists | {"budget": given(budget) or None})


def with_label_maps(names: Sequence[str], scored: Sequence[str], label_map: Path | None) -> LabelMaps:
    """Each set with the label map to send; a set that only a constraint names keeps its own."""
    mapping = read_label_map(label_map)
    return {name: mapping if name in scored else None for name in names}
