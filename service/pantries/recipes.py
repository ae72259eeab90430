"""The ``recipe.yaml`` that an ingredient may come with: kept for its owner, never acted on."""

from pathlib import Path

import yaml

from service.errors import InvalidPantry

RECIPE_BYTES = 2**16
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML was built with it: within RECIPE_BYTES 0.1 s at worst, ten times less than Python's parser."""
_DEPTH = 32
"""No recipe is nested so deep, and the time to parse YAML grows with the square of it."""


def check_recipe(path: Path, name: str) -> None:
    """Check that the file at ``path`` is one mapping in YAML, of up to RECIPE_BYTES.

    Only its form is read: no value is made of it, so that neither tags nor aliases do anything.
    Raises InvalidPantry (``invalid_config``) naming the ingredient ``name``.
    """
    try:
        if path.stat().st_size > RECIPE_BYTES:
            msg = f"it has more than {RECIPE_BYTES} bytes"
            raise ValueError(msg)
        _check_mapping(path.read_text("utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise InvalidPantry(
            f"{path.name} of ingredient {name!r} is no recipe ({error}): write a mapping in YAML, or leave it out",
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
        msg = "it holds no mapping, or more than one document"
        raise ValueError(msg)
