"""Files that people write in YAML: recipes and studies."""

from pathlib import Path
from typing import Any

import yaml


def read_mapping(path: Path, kind: str, fields: str) -> dict[str, Any]:
    """The mapping in a YAML file; ``kind`` and its main ``fields`` are named when it is something else.

    Raises ValueError when it is not YAML or no mapping, OSError as the disk does.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a {kind}: write a mapping with {fields}")
    return content
