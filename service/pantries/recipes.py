"""The optional ``recipe.yaml`` of an ingredient: kept for its owner, never executed."""

from pathlib import Path

import yaml

from service.errors import InvalidPantry

RECIPE_BYTES = 2**16
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml if PyYAML was built with it: at most 0.1 s for RECIPE_BYTES, a tenth of what Python's parser takes."""
_DEPTH = 32
"""No recipe is nested this deeply, and the time to parse YAML grows with the square of the depth."""


def check_recipe(path: Path, name: str) -> None:
    """Check that the file at ``path`` is one YAML mapping of up to RECIPE_BYTES.

    Only its structure is read. No values are constructed, so neither tags nor aliases have any effect.
    Raises InvalidPantry (``invalid_config``) naming the ingredient ``name``.
    """
    try:
        if path.stat().st_size > RECIPE_BYTES:
            msg = f"it has more than {RECIPE_BYTES} bytes"
            raise ValueError(msg)
        _check_mapping(path.read_text("utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise InvalidPantry(
            f"{path.name} of ingredient {name!r} is not a recipe ({error}): write a mapping in YAML, or leave it out",
            code="invalid_config",
        ) from error


def _check_mapping(text: str) -> None:
    roots = []
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if depth == 0 and isinstance(event, yaml.NodeEvent):
            roots.append(event)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            msg = f"it is nested deeper than {_DEPTH}"
            raise ValueError(msg)
    if len(roots) != 1 or not isinstance(roots[0], yaml.MappingStartEvent):
        msg = "it does not hold a mapping, or holds more than one document"
        raise ValueError(msg)
