"""Reading the files of a study into its tables."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.study.config import StudyConfig
from lab.study.data_config import CLEAN
from lab.study.jobs import AttackJob, ScoreJob
from lab.study.plan import PantryPlan
from lab.study.results import LOGITS, SOFTMAX, UNION, Flags, PantryResults, RobustTable, ShiftTable
from lab.study.shifts import Shift
from lab.study.store import Store
from workers.evaluation.sets import EncodedSet


def load_results(config: StudyConfig, plan: PantryPlan, store: Store) -> PantryResults:
    """Everything that was measured for one pantry. Raises FileNotFoundError if a job has not been computed."""
    specialty = {name: _metric(config, name) for name in config.ingredients}
    return PantryResults(
        plan.section.name,
        plan.section.architecture,
        specialty,
        plan.soups,
        plan.on_lattice,
        tuple(_table(config, plan, shift, store) for shift in plan.scores),
        _robust(config, plan, store) if plan.attacks else None,
        config.strong_severity,
    )


def _metric(config: StudyConfig, name: str) -> str:
    return str(config.threats[name]) if name in config.threats else CLEAN


def _table(config: StudyConfig, plan: PantryPlan, shift: Shift, store: Store) -> ShiftTable:
    jobs = plan.scores[shift]
    count = jobs[0].count
    share = config.data.selection / (config.data.selection + config.data.held_out)
    others = _ensembles(jobs, store) | _models(plan, shift, store)
    return ShiftTable(
        shift,
        np.concatenate([_correct(job, store) for job in jobs]),
        np.concatenate([store.read(job.name, "nll")["nll"] for job in jobs]),
        others,
        selection=round(count * share),
    )


def _correct(job: ScoreJob, store: Store) -> Flags:
    packed = store.read(job.name, "correct")["correct"]
    return np.unpackbits(packed, axis=1, count=job.count).astype(bool)


def _models(plan: PantryPlan, shift: Shift, store: Store) -> dict[str, Flags]:
    return {name: _correct(job, store)[0] for name, job in plan.models[shift].items()}


def _ensembles(jobs: tuple[ScoreJob, ...], store: Store) -> dict[str, Flags]:
    """Softmax ensembles of all ingredients and of each pair (Croce et al., Table 1), and the logit ensemble of all."""
    images: EncodedSet = jobs[0].images.load()
    logits = ingredient_logits(jobs, store)
    names = jobs[0].stack.names
    groups = [*combinations(range(len(names)), 2), tuple(range(len(names)))]
    unique = dict.fromkeys(groups)
    softmax = {SOFTMAX + " + ".join(names[i] for i in group): ensemble(images, logits[list(group)]) for group in unique}
    return softmax | {LOGITS + " + ".join(names): logit_ensemble(images, logits)}


def ingredient_logits(jobs: tuple[ScoreJob, ...], store: Store) -> NDArray[np.float16]:
    """The kept logits of the ingredients, float16 (ingredients, images, classes)."""
    found: dict[int, NDArray[np.float16]] = {}
    for job in jobs:
        vertices = {row: _vertex(weights) for row, weights in enumerate(job.weights) if _vertex(weights) is not None}
        if vertices:
            kept = store.read(job.name, "logits", "rows")
            place = {row: index for index, row in enumerate(kept["rows"].tolist())}
            found |= {vertex: kept["logits"][place[row]] for row, vertex in vertices.items() if vertex is not None}
    return np.stack([found[index] for index in sorted(found)])


def ensemble(images: EncodedSet, logits: NDArray[np.floating]) -> Flags:
    """Which images the mean of the models' probabilities classifies correctly; ``logits`` (models, images, classes)."""
    parts: Tensor = torch.from_numpy(logits.astype(np.float64)).log_softmax(dim=2)
    return _correct_of(images, parts.logsumexp(dim=0))


def logit_ensemble(images: EncodedSet, logits: NDArray[np.floating]) -> Flags:
    """Which images the mean of the models' logits classifies correctly; ``logits`` (models, images, classes).

    The stored logits are shifted by each image's largest. That moves the mean by a constant per image, which does not
    affect any prediction.
    """
    return _correct_of(images, torch.from_numpy(logits.astype(np.float64)).mean(dim=0))


def _correct_of(images: EncodedSet, logits: Tensor) -> Flags:
    correct: Flags = np.asarray(images.space.outcomes(logits, images.space.mask(images.labels)).correct)
    return correct


def _vertex(weights: tuple[float, ...]) -> int | None:
    ones = [index for index, weight in enumerate(weights) if weight == 1.0]
    return ones[0] if len(ones) == 1 and sum(weight != 0.0 for weight in weights) == 1 else None


def _robust(config: StudyConfig, plan: PantryPlan, store: Store) -> RobustTable:
    threats = dict.fromkeys(str(threat) for threat in config.threats.values())
    return RobustTable(
        (CLEAN, *threats, UNION),
        {weights: _outcomes(job, store) for weights, job in plan.attacks.items()},
        {name: _outcomes(job, store) for name, job in plan.model_attacks.items()},
        _attack_name(config),
    )


def _outcomes(job: AttackJob, store: Store) -> Flags:
    result = store.read(job.name)
    return np.vstack([result["clean"], result["robust"], result["robust"].all(axis=0)])


def _attack_name(config: StudyConfig) -> str:
    section = config.attacks
    if section is None:
        return ""
    radii = ", larger radii first for L1" if section.larger_radii else ""
    losses = " and ".join(section.losses)
    return f"APGD on {losses}, {section.steps} steps{radii}"
