"""The manifest in a merged model's file, which says how the model was made."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from search.evaluation import LayerWeights, Weights
from service.errors import InvalidRequest
from service.schemas.base import Name, Sha256
from service.schemas.request import AdaptRequest
from service.schemas.result import AppliedRefinement

METADATA_KEY = "soupsearch"
_MAX_HEADER = 100 * 2**20


class ManifestIngredient(BaseModel):
    """One ingredient: its name in the pantry and the sha256 of its ``model.safetensors``."""

    model_config = ConfigDict(frozen=True)

    name: Name
    sha256: Sha256


class Manifest(BaseModel):
    """The recipe of a soup, in its safetensors metadata under ``soupsearch``, as JSON.

    ``weights`` are by ingredient, in the pantry's order; JSON's shortest decimals give back the same doubles. ``score``
    and ``nll`` are from the search, on the selection images; the file's own scores are known only once it is written,
    and are in the job's result. ``refinement`` is what was changed of the soup beyond its weights, None where nothing
    was, and in files of earlier versions. ``layers``, where they are given, are the weights of each layer in the
    pantry's order, fitted from ``weights``. Two runs of one request give the same manifest.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    version: str
    code: str
    pantry: Name
    pantry_digest: Sha256
    ingredients: list[ManifestIngredient]
    adaptation_sets: list[Sha256]
    request: AdaptRequest
    seed: int
    weights: dict[Name, float]
    score: float
    nll: float | None
    refinement: AppliedRefinement | None = None
    layers: list[list[float]] | None = None

    @property
    def soup(self) -> Weights | LayerWeights:
        """The weights that the file was merged with."""
        return tuple(self.weights.values()) if self.layers is None else LayerWeights(tuple(map(tuple, self.layers)))

    def metadata(self) -> dict[str, str]:
        """For the safetensors header."""
        return {METADATA_KEY: self.model_dump_json()}


def read_manifest(model: Path) -> Manifest:
    """The manifest of a ``model.safetensors``. Raises InvalidRequest (``no_manifest``) when it has none."""
    text = read_metadata(model).get(METADATA_KEY)
    if text is None:
        raise InvalidRequest(f"{model} does not say how it was made: soupsearch did not merge it", code="no_manifest")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        msg = f"{model} was merged by another version of soupsearch: {error.error_count()} fields differ"
        raise InvalidRequest(msg, code="no_manifest") from error


def read_metadata(model: Path) -> Mapping[str, str]:
    """The metadata in a safetensors file's header. Raises InvalidRequest (``no_manifest``) if it is not one."""
    try:
        with model.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, _MAX_HEADER)))
        return dict(header.get("__metadata__", {}))
    except (FileNotFoundError, IsADirectoryError, struct.error, ValueError, AttributeError) as error:
        raise InvalidRequest(f"{model} cannot be read as safetensors: {error}", code="no_manifest") from error
