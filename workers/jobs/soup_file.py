"""A soup as a file: the winner, or another soup on request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from search.evaluation import LayerWeights
from service.artifacts.store import ArtifactStore
from service.schemas.job import Point
from service.schemas.result import AppliedRefinement, MergedModel
from workers.evaluation.sets import EncodedSet
from workers.jobs.manifest import Manifest, ManifestIngredient
from workers.jobs.material import Ingredients
from workers.jobs.refining import refined_soup
from workers.jobs.reproduce import file_digest
from workers.ray_runtime.version import scoring_version
from workers.soups.files import save_model, soup_config
from workers.soups.stack import single_model


@dataclass(frozen=True)
class MergedFile:
    """A merged model in a staging folder, not yet stored."""

    weights: Path
    sha256: str
    refinement: AppliedRefinement | None = None

    @property
    def stack_key(self) -> str:
        """The key of the model as the only ingredient of a stack."""
        return f"model {self.sha256}"

    def arrays(self) -> dict[str, Any]:
        """The model as a stack of one ingredient, read from the file: its soup of weight 1 is the model itself."""
        return single_model(self.weights.parent)

    def commit(self, store: ArtifactStore, url: str) -> MergedModel:
        """Put it into the artifact store, where it stays for as long as a job refers to it."""
        size = self.weights.stat().st_size
        store.put("models", self.sha256, self.weights.parent)
        return MergedModel(sha256=self.sha256, bytes=size, url=url)


def write_soup(
    material: Ingredients,
    point: Point,
    sets: Sequence[EncodedSet],
    folder: Path,
    layers: LayerWeights | None = None,
) -> MergedFile:
    """Merge the soup of ``point`` in float32 and write it with its manifest as a timm folder inside ``folder``.

    It is refined as the point was scored, on all images of ``sets``, the job's selection; or it is the layer-wise soup
    of ``layers``. Equal requests on equal pantries and sets give equal bytes, see ``refined_soup``, which raises
    ValueError. Raises OSError if the disk fails.
    """
    weights = tuple(point.weights) if layers is None else layers
    tensors, refinement = refined_soup(material.stack, weights, sets, point.refinement)
    manifest = manifest_of(material, point, refinement, layers)
    return write_model(material, tensors, manifest.metadata(), folder / "model", refinement)


def write_model(
    material: Ingredients,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    folder: Path,
    refinement: AppliedRefinement | None = None,
) -> MergedFile:
    """Write a model of the pantry's architecture as the timm folder ``folder``. Raises OSError if the disk fails."""
    weights = save_model(folder, tensors, soup_config(material.stack.config), metadata)
    return MergedFile(weights, file_digest(weights), refinement)


def manifest_of(
    material: Ingredients, point: Point, refinement: AppliedRefinement | None, layers: LayerWeights | None = None
) -> Manifest:
    """Describes how the soup of ``point``, or the layer-wise soup of ``layers`` fitted from it, was made."""
    ingredients = material.pantry.ingredients
    return Manifest(
        version=version("soupsearch"),
        code=scoring_version(),
        pantry=material.pantry.name,
        pantry_digest=material.pantry.digest,
        ingredients=[ManifestIngredient(name=each.name, sha256=each.sha256) for each in ingredients],
        adaptation_sets=material.echo.adaptation_sets,
        request=material.request,
        seed=material.request.seed,
        weights=dict(zip(material.names, point.weights, strict=True)),
        score=point.score or 0.0,
        nll=None if point.nll is None else round(point.nll, 6),
        refinement=refinement,
        layers=None if layers is None else list(map(list, layers.vectors)),
    )
