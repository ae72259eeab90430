"""Rebuilds a soup from the recipe in its file."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.evaluation import PLAIN, Refinement
from service.adaptation_sets.stored import StoredSet
from service.errors import InvalidRequest
from service.pantries.config import read_config
from service.schemas.result import AppliedRefinement
from workers.evaluation.preprocess import DataConfig
from workers.evaluation.sets import EncodedSet
from workers.jobs.manifest import Manifest, read_manifest, read_metadata
from workers.jobs.material import materials_of
from workers.jobs.refining import refined_soup
from workers.soups.files import model_file_bytes
from workers.soups.model import CONFIG_FILE, WEIGHTS_FILE
from workers.soups.model import read_config as read_timm_config
from workers.soups.stack import IngredientStack

_FORMAT_KEY = "format"


@dataclass(frozen=True)
class Reproduction:
    """The soup made again, ``content`` as bytes of a safetensors file; sha256 of the ``given`` file and of it.

    ``refined``: whether it learnt from images.
    """

    given: str
    made: str
    content: bytes
    refined: bool = False

    @property
    def same(self) -> bool:
        """Whether the files are equal byte for byte."""
        return self.given == self.made


def reproduce(model: Path, ingredients: Mapping[str, Path], sets: Sequence[StoredSet] = ()) -> Reproduction:
    """Merge the soup of ``model`` again from the timm folders of its ingredients, by name, and compare.

    A soup that was refined needs the adaptation sets of its job too. The last bits of what it learnt from them depend
    on the kind of CPU and the version of PyTorch.

    Raises InvalidRequest: ``no_manifest``; ``other_ingredients`` when a folder is missing or holds other weights than
    those the soup was made of; ``other_sets`` when a set is missing.
    """
    manifest = read_manifest(model)
    folders = [_checked(manifest, index, ingredients) for index in range(len(manifest.ingredients))]
    stack = IngredientStack.from_folders(folders, list(manifest.weights))
    metadata = {key: value for key, value in read_metadata(model).items() if key != _FORMAT_KEY}
    refinement = _asked(manifest.refinement)
    images = _selection(manifest, folders[0], sets) if refinement.changes_anything else []
    tensors, _ = refined_soup(stack, manifest.soup, images, refinement)
    content = model_file_bytes(tensors, metadata)
    return Reproduction(file_digest(model), hashlib.sha256(content).hexdigest(), content, refinement.changes_anything)


def file_digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _asked(applied: AppliedRefinement | None) -> Refinement:
    if applied is None:
        return PLAIN
    return Refinement(applied.statistics, applied.head, applied.temperature is not None)


def _selection(manifest: Manifest, ingredient: Path, sets: Sequence[StoredSet]) -> list[EncodedSet]:
    """The images that selected the soup, as its job read them."""
    given, request = {each.digest: each for each in sets}, manifest.request
    config = read_config(ingredient / CONFIG_FILE, ingredient.name)
    found = []
    for digest in manifest.adaptation_sets:
        if digest not in given:
            msg = (
                f"this soup was refined on the adaptation set {digest}, which is needed to make it again: "
                "give its images, with the label map that they had"
            )
            raise InvalidRequest(msg, code="other_sets")
        parts = materials_of(
            given[digest],
            config.label_names,
            config.num_classes,
            held_out=request.held_out_fraction,
            seed=request.seed,
        )
        found += [part.encoded(DataConfig.of(read_timm_config(ingredient))) for part in parts]
    return found


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
