"""All figures and claims of a study, from its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.study.claims.claim import PaperClaim, over_seeds
from lab.study.claims.robustness import robustness_claims
from lab.study.claims.shifts import composition_claims, few_shot_claim, shift_claims
from lab.study.config import StudyConfig
from lab.study.figures.comparison import ComparisonCell, comparison_cells
from lab.study.figures.composition import Composition, compositions
from lab.study.figures.curves import CurvePoint, curve_points
from lab.study.figures.few_shot import FewShotPoint, few_shot_points, same_size
from lab.study.figures.shifts import ShiftScore, shift_scores
from lab.study.figures.simplices import SimplexPoint, simplex_points
from lab.study.methods import best_pair, methods, single_soup
from lab.study.results import SOFTMAX, PantryResults, RobustTable


@dataclass(frozen=True)
class ModelRobustness:
    """Accuracy of a comparison model under attack, in one metric."""

    pantry: str
    model: str
    metric: str
    accuracy: float
    images: int


@dataclass(frozen=True)
class PantryAnalysis:
    """The numbers of one pantry's figures, and its claims; empty if nothing was measured."""

    results: PantryResults
    curves: list[CurvePoint]
    simplices: list[SimplexPoint]
    models: list[ModelRobustness]
    shifts: list[ShiftScore]
    comparison: list[ComparisonCell]
    few_shot: list[FewShotPoint]
    compositions: list[Composition]
    claims: list[PaperClaim]
    single_soup: tuple[float, ...]
    ensemble_of_two: str


def analyse(config: StudyConfig, results: PantryResults) -> PantryAnalysis:
    """Every figure of one pantry."""
    robust, names = results.robust, results.ingredients
    outcomes = methods(results)
    few_shot = _few_shot(config, results)
    composed = compositions(results)
    return PantryAnalysis(
        results,
        curve_points(results.name, names, config.pairs, robust) if robust else [],
        simplex_points(results.name, names, config.triples, robust) if robust else [],
        _models(results.name, robust) if robust else [],
        shift_scores(results, outcomes),
        comparison_cells(results, outcomes),
        few_shot,
        composed,
        sorted(
            [
                *robustness_claims(results, config.pairs),
                *shift_claims(results, outcomes),
                few_shot_claim(results.name, few_shot if results.shifted else ()),
                *composition_claims(results, composed),
            ],
            key=lambda claim: claim.number,
        ),
        single_soup(results),
        best_pair(results).removeprefix(SOFTMAX),
    )


def claims_over_seeds(config: StudyConfig, results: Sequence[PantryResults]) -> list[PaperClaim]:
    """The claims for each architecture with several pantries, on the sets that all of these have."""
    groups: dict[str, list[PantryResults]] = {}
    for each in results:
        groups.setdefault(each.architecture, []).append(each)
    return [
        claim
        for architecture, members in groups.items()
        if len(members) > 1
        for claim in over_seeds(architecture, [analyse(config, each).claims for each in _common(members)])
    ]


def _common(members: Sequence[PantryResults]) -> list[PantryResults]:
    shared = set.intersection(*({table.shift.name for table in member.tables} for member in members))
    return [member.restricted(shared) for member in members]


def _few_shot(config: StudyConfig, results: PantryResults) -> list[FewShotPoint]:
    tables = same_size(results.shifted or results.tables)
    return few_shot_points(results, config.few_shot.counts, config.few_shot.draws, tables, config.seed)


def _models(pantry: str, robust: RobustTable) -> list[ModelRobustness]:
    return [
        ModelRobustness(pantry, model, metric, float(row.mean()), len(row))
        for model, outcomes in robust.models.items()
        for metric, row in zip(robust.metrics, outcomes, strict=True)
    ]
