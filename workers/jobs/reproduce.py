"""Rebuilds a soup from the recipe in its file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.errors import InvalidRequest
from workers.jobs.manifest import Manifest, read_manifest, read_metadata
from workers.soups.files import model_file_bytes
from workers.soups.merge import merge
from workers.soups.model import WEIGHTS_FILE
from workers.soups.stack import IngredientStack

_FORMAT_KEY = "format"


@dataclass(frozen=True)
class Reproduction:
    """The soup made again, ``content`` as bytes of a safetensors file; sha256 of the ``given`` file and of it."""

    given: str
    made: str
    content: bytes

    @property
    def same(self) -> bool:
        """Whether the files are equal byte for byte."""
        return self.given == self.made


def reproduce(model: Path, ingredients: Mapping[str, Path]) -> Reproduction:
    """Merge the soup of ``model`` again from the timm folders of its ingredients, by name, and compare.

    Raises InvalidRequest: ``no_manifest``; ``other_ingredients`` when a folder is missing or holds other weights than
    those the soup was made of.
    """
    manifest = read_manifest(model)
    folders = [_checked(manifest, index, ingredients) for index in range(len(manifest.ingredients))]
    stack = IngredientStack.from_folders(folders, list(manifest.weights))
    metadata = {key: value for key, value in read_metadata(model).items() if key != _FORMAT_KEY}
    content = model_file_bytes(merge(stack, list(manifest.weights.values())), metadata)
    return Reproduction(file_digest(model), hashlib.sha256(content).hexdigest(), content)


def file_digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(manifest: Manifest, index: int, ingredients: Mapping[str, Path]) -> Path:
    wanted = manifest.ingredients[index]
    folder = ingredients.get(wanted.name)
    if folder is None or not (folder / WEIGHTS_FILE).is_file():
        msg = f"the ingredient {wanted.name!r} of pantry {manifest.pantry!r} is needed to make this soup again"
        raise InvalidRequest(msg, code="other_ingredients")
    if file_digest(folder / WEIGHTS_FILE) != wanted.sha256:
        msg = f"{folder} holds other weights than the {wanted.name!r} that this soup was made of ({wanted.sha256})"
        raise InvalidRequest(msg, code="other_ingredients")
    return folder
