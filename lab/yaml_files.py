"""Files that people write in YAML: recipes and studies."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from service.schemas.wording import place, sentence


def read_mapping(path: Path, kind: str, fields: str) -> dict[str, Any]:
    """The mapping in a YAML file. Errors name ``kind`` and its main ``fields`` if the file holds something else.

    Raises ValueError if it is not YAML or not a mapping, and OSError, saying what to give, if there is no such file.
    """
    if not path.is_file():
        wrong = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {wrong}: give the path of a {kind}, a YAML file with {fields}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a {kind}: write a mapping with {fields}")
    return content


def wrong_fields(error: ValidationError) -> str:
    """Each wrong field of a file, by its path through the sections, and what it should be."""
    return "; ".join(sentence(each, place(each["loc"])) for each in error.errors())
