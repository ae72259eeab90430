"""Weights of its own for each layer of a job's best soup, where cross-validation goes along."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.descent import Box
from search.evaluation import REFINEMENT_FOLDS, LayerWeights, Outcome, Weights
from search.folds import stratified_folds
from search.layers import LAYER_KINDS, Climb, Ladder
from search.loop import Executor
from search.space import Space
from search.strategies.gradient import Gradient
from search.strategy import LatticeRequest, StrategyRequest
from service.schemas.result import LayerStep, LayerWiseSoup
from workers.jobs.material import Material, SetMaterial
from workers.jobs.scoring import Scoring
from workers.jobs.split import Rows
from workers.ray_runtime.evaluators import EvaluatorPool


@dataclass(frozen=True)
class LayeredSoup:
    """What the ladder came to: ``weights`` of the layers and their cross-validated ``outcome``; None for ``one``."""

    document: LayerWiseSoup
    weights: LayerWeights | None = None
    outcome: Outcome | None = None


def layered(material: Material, scoring: Scoring, pool: EvaluatorPool, token: str, soup: Weights) -> LayeredSoup:
    """Climb the ladder of layer-wise soups from ``soup``, on the selection images; see ``search.layers``.

    Raises Interrupted; ValueError when the model gives no gradients, EvaluationMemoryError when they do not fit.
    """
    folds = [_folds_of(each) for each in material.sets]

    def executor_without(fold: int | None) -> Executor:
        def rows_of(each: SetMaterial) -> Rows:
            rows, own = each.split.selection, _folds_of(each)
            return rows if fold is None or own is None else tuple(np.array(rows)[own != fold].tolist())

        return pool.executor(material.task("float32", rows_of), material.arrays_of, token)

    search = material.request.search
    space = search.space(material.names)
    ladder = Ladder(scoring.objectives, _box(search, space), material.stack.layout.layers)
    climbed = ladder.climb(executor_without, soup, folds)
    document = _document(climbed, material, scoring)
    if climbed.taken == "one":
        return LayeredSoup(document)
    return LayeredSoup(document, climbed.soups[climbed.taken], climbed.crossed[climbed.taken])


def _box(search: StrategyRequest, space: Space) -> Box:
    """The limits of the search, or those that ``gradient`` has by default where it has none."""
    if isinstance(search, LatticeRequest):
        return Box.within(*search.reach, space)
    return (search if isinstance(search, Gradient) else Gradient()).box(space)


def _folds_of(each: SetMaterial) -> NDArray[np.intp] | None:
    """The fold of each selection image; None without labels."""
    accepted = each.accepted(each.split.selection)
    return None if accepted is None else stratified_folds([columns[0] for columns in accepted], REFINEMENT_FOLDS)


def _document(climbed: Climb, material: Material, scoring: Scoring) -> LayerWiseSoup:
    vectors = () if climbed.taken == "one" else climbed.soups[climbed.taken].vectors
    labelled = [each for each in scoring.of_sets(material.sets) if each.is_labelled]
    return LayerWiseSoup(
        kind=climbed.taken,
        weights=[dict(zip(material.names, vector, strict=True)) for vector in vectors],
        steps=[LayerStep(kind=kind, nll=scoring.objectives.nll(climbed.crossed[kind])) for kind in LAYER_KINDS],
        images=sum(len(each.split.selection) for each in labelled),
        evaluations=climbed.evaluations,
    )
