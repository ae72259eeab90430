"""Evaluation of ingredients and midpoints before the search, and the warnings it leads to."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import binomtest

from search.budget import Budget
from search.evaluation import PLAIN, EvaluationRequest, Outcome, Refinement, SetOutcome, Weights
from service.job_warnings import SelectingImages, warn_of_images, warn_of_long_search
from service.refinements import warn_of_dropped_soups
from service.schemas.job import JobWarning
from workers.evaluation.baselines import BaselineOutcomes, evaluate_baselines
from workers.evaluation.errors import EvaluationMemoryError
from workers.jobs.material import Material
from workers.jobs.refining import (
    RefinedModels,
    baseline_refinements,
    candidates,
    choose,
    evaluate_refined,
    simplicity,
)
from workers.jobs.scoring import Scoring
from workers.jobs.split import spread
from workers.ray_runtime.evaluators import EvaluatorPool
from workers.ray_runtime.task import Task

MIDPOINT_IMAGES = 256
CHANCE_P_VALUE = 0.01
COLLAPSE = 0.5
"""A midpoint with less than this share of its weaker end's accuracy has collapsed."""


@dataclass(frozen=True)
class Compared:
    """Models to compare a soup with on some images: the baselines, and the pantry's reference if it has one."""

    baselines: BaselineOutcomes
    reference: Outcome | None


@dataclass(frozen=True)
class Preflight:
    """The models that soups are compared with on the selection images, warnings, and how soups are refined.

    ``refined`` holds outcomes of ``soups``, each ingredient and the uniform soup, plain and after each refinement.
    """

    compared: Compared
    warnings: list[JobWarning]
    soups: list[Weights]
    refined: RefinedModels
    refinement: Refinement

    @property
    def ingredients(self) -> tuple[Outcome, ...]:
        """The outcomes of the ingredients, refined as soups are."""
        return self.refined.outcomes[self.refinement][:-1]

    @property
    def known(self) -> dict[EvaluationRequest, Outcome]:
        """The outcomes of ``soups`` that the search would ask for."""
        outcomes = self.refined.outcomes[self.refinement]
        requests = [EvaluationRequest(soup, refinement=self.refinement) for soup in self.soups]
        return dict(zip(requests, outcomes, strict=True))


def run_preflight(material: Material, scoring: Scoring, pool: EvaluatorPool, token: str) -> Preflight:
    """Evaluate every ingredient, the uniform soup, the ensembles, and all midpoints on at most 256 images of each set.

    Ingredients and uniform soup are also evaluated after the refinements that the request leaves open, of which one is
    chosen for the search, and after those of the baselines. Warns of few images and, by their labels, of ingredients at
    chance level and midpoints that collapse, which means that the ingredients share no starting point. Everything is in
    float32, whatever the search's precision. Raises the pool's errors, and InvalidRequest (``not_refinable``).
    """
    compared = compare_with(material, pool, token, held_out=False)
    if compared.baselines.logit_ensemble is None:
        raise EvaluationMemoryError(
            "the ensemble of all ingredients does not fit into memory under attack: use fewer ingredients, or a "
            "device with more memory"
        )
    size = len(material.names)
    warnings = [
        *warn_of_images(material.request, selecting_images(material)),
        *warn_of_dropped_soups(material.request),
        *warn_of_chance(material, compared.baselines.ingredients),
        *(_midpoint_warnings(material, pool, token) if any(each.is_labelled for each in material.sets) else []),
    ]
    singles: list[Weights] = [tuple(row) for row in np.eye(size).tolist()]
    models = [*singles, (1 / size,) * size]
    reads_logits = scoring.objectives.reads_logits
    open_ones = candidates(material.request.refine, material.limits, adapts=reads_logits)
    wanted = () if material.attacks else {*open_ones, *baseline_refinements(material.limits)} - {PLAIN}
    executor = pool.executor(material.selection("float32"), material.arrays_of, token)
    found = evaluate_refined(executor, models, sorted(wanted, key=simplicity))
    plain = (*compared.baselines.ingredients, compared.baselines.uniform_soup)
    refined = RefinedModels({PLAIN: plain, **found.outcomes}, found.refused)
    chosen = choose(refined, open_ones, scoring.objectives.nll)
    return Preflight(compared, warnings, models, refined if reads_logits else refined.with_logits_of(chosen), chosen)


def _midpoint_warnings(material: Material, pool: EvaluatorPool, token: str) -> list[JobWarning]:
    small = material.task("float32", lambda each: spread(each.split.selection, each.labels.accepted, MIDPOINT_IMAGES))
    size = len(material.names)
    pairs = list(combinations(range(size), 2))
    soups = [*np.eye(size).tolist(), *(_midpoint(pair, size) for pair in pairs)]
    executor = pool.executor(small, material.arrays_of, token)
    outcomes = executor.outcomes([EvaluationRequest(tuple(soup)) for soup in soups])
    return warn_of_collapse(material.names, pairs, outcomes[:size], outcomes[size:])


def compare_with(material: Material, pool: EvaluatorPool, token: str, *, held_out: bool) -> Compared:
    """Evaluate baselines and reference on the images held out, or on the selection images."""

    def task_of(stack: str | None) -> Task:
        return material.held_out(stack) if held_out else material.selection("float32", stack)

    task = task_of(None)
    executor = pool.executor(task, material.arrays_of, token)
    baselines = evaluate_baselines(executor, len(material.names), task.sets, attacked=bool(task.attacks))
    if material.reference_key is None:
        return Compared(baselines, None)
    executor = pool.executor(task_of(material.reference_key), material.arrays_of, token)
    return Compared(baselines, executor.outcomes([EvaluationRequest((1.0,), keep_logits=not task.attacks)])[0])


def _midpoint(pair: tuple[int, int], size: int) -> list[float]:
    return [0.5 if index in pair else 0.0 for index in range(size)]


def selecting_images(material: Material) -> list[SelectingImages]:
    """The images of each set that select the soup: those with a label, and those without."""
    return [
        SelectingImages(each.stored.digest, len(each.split.selection), len(each.labels.columns), each.is_labelled)
        for each in material.sets
    ]


def warn_of_chance(material: Material, ingredients: Sequence[Outcome]) -> list[JobWarning]:
    """Warn of ingredients no better than a constant answer: perhaps their classes are in another order."""
    warnings = []
    for name, score in zip(material.names, ingredients, strict=True):
        for each, part in zip(material.sets, score.sets, strict=True):
            if not each.is_labelled:
                continue
            chance = _constant_accuracy(each.labels.accepted, each.split.selection, len(each.labels.columns))
            if binomtest(int(part.right.sum()), part.total, chance, alternative="greater").pvalue > CHANCE_P_VALUE:
                message = (
                    f"ingredient {name!r} is right on {part.accuracy:.1%} of set {each.stored.digest[:12]}, "
                    f"not significantly better than one constant answer ({chance:.1%}): "
                    "is the order of its classes the pantry's?"
                )
                warnings.append(JobWarning(code="chance_level_ingredient", message=message))
    return warnings


def _constant_accuracy(accepted: Sequence[Sequence[int]], rows: Sequence[int], columns: int) -> float:
    counts = np.bincount([label for row in rows for label in accepted[row]], minlength=columns)
    return max(float(counts.max()) / max(len(rows), 1), 1 / columns)


def warn_of_collapse(
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    ends: Sequence[Outcome],
    midpoints: Sequence[Outcome],
) -> list[JobWarning]:
    """Warn of midpoints much worse than both ends: these ingredients were not fine-tuned from a common start."""
    warnings = []
    for (first, second), middle in zip(pairs, midpoints, strict=True):
        weaker = min(_right(ends[first].sets), _right(ends[second].sets))
        if _right(middle.sets) < COLLAPSE * weaker:
            message = (
                f"halfway between {names[first]!r} and {names[second]!r} accuracy falls to {_right(middle.sets):.1%}, "
                f"from {weaker:.1%}: were they fine-tuned from a common start?"
            )
            warnings.append(JobWarning(code="collapsed_midpoint", message=message))
    return warnings


def warn_of_time(
    material: Material, baselines: BaselineOutcomes, points: int, evaluators: int, budget: Budget | None = None
) -> list[JobWarning]:
    """Warn if attacks on ``points`` soups, or those that ``budget`` allows, will take an hour or more.

    Judges by the time and the passes that those on the ingredients took.
    """
    if not material.attacks:
        return []
    ingredients = baselines.ingredients
    pace = sum(outcome.seconds for outcome in ingredients) / len(ingredients)
    passes = sum(outcome.passes.forward for outcome in ingredients) / len(ingredients)
    if budget is not None and budget.forward_passes is not None:
        points = min(points, round(budget.forward_passes / passes))
    seconds = pace * points / evaluators
    if budget is not None and budget.seconds is not None:
        seconds = min(seconds, budget.seconds)
    return warn_of_long_search(seconds)


def _right(sets: Sequence[SetOutcome]) -> float:
    labelled = [part for part in sets if part.correct is not None]
    return sum(part.accuracy for part in labelled) / len(labelled)
