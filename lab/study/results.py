"""The tables of a study, as figures and claims read them, and how they are made of the study's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.study.config import CLEAN, StudyConfig
from lab.study.jobs import AttackJob, ScoreJob
from lab.study.plan import PantryPlan
from lab.study.shifts import Shift
from lab.study.store import Store
from workers.evaluation.sets import LabelledColumns

Flags = NDArray[np.bool_]
UNION = "union"
SOFTMAX = "softmax ensemble of "
LOGITS = "logit ensemble of "


@dataclass(frozen=True)
class ShiftTable:
    """Every soup on the N images of one shift, in the order in which the images were drawn.

    ``correct`` bool and ``nll`` float32 are (S, N). ``others`` has a row (N,) for each model that is not a soup:
    comparison models and ensembles. The first ``selection`` images are for choosing, the others are held out.
    """

    shift: Shift
    correct: Flags
    nll: NDArray[np.float32]
    others: Mapping[str, Flags]
    selection: int

    @property
    def held_out(self) -> Flags:
        """``correct`` on the images held out, (S, N - selection)."""
        return self.correct[:, self.selection :]

    def other_held_out(self, name: str) -> Flags:
        """The row of ``name`` in ``others`` on the images held out."""
        return self.others[name][self.selection :]


@dataclass(frozen=True)
class RobustTable:
    """Soups and models under attack on N images.

    ``metrics`` names the M rows: clean, one for each threat, and the union (right whatever the threat). ``soups`` maps
    soup weights to bool (M, N), ``models`` the names of comparison models. ``attack`` names the attack.
    """

    metrics: tuple[str, ...]
    soups: Mapping[tuple[float, ...], Flags]
    models: Mapping[str, Flags]
    attack: str


@dataclass(frozen=True)
class PantryResults:
    """Everything measured for one pantry; ``robust`` is None if nothing was attacked.

    ``specialty`` gives the metric that each ingredient was trained for. Shifts with a severity of at least
    ``strong_severity``, and those without a severity, count as strong.
    """

    name: str
    architecture: str
    specialty: Mapping[str, str]
    soups: NDArray[np.float64]
    on_lattice: Flags
    tables: tuple[ShiftTable, ...]
    robust: RobustTable | None
    strong_severity: int

    @property
    def ingredients(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(self.specialty)

    def row_of(self, weights: NDArray[np.float64]) -> int:
        """The row of the soup with ``weights``. Raises ValueError if it was not scored."""
        rows = np.flatnonzero(np.abs(self.soups - weights).max(axis=1) < 1e-9)
        if not len(rows):
            raise ValueError(f"no soup with the weights {weights.tolist()} was scored")
        return int(rows[0])

    @property
    def ingredient_rows(self) -> list[int]:
        """The rows of the ingredients themselves."""
        return [self.row_of(row) for row in np.eye(len(self.ingredients))]

    @property
    def uniform_row(self) -> int:
        """The row of the uniform soup."""
        count = len(self.ingredients)
        return self.row_of(np.full(count, 1 / count))

    @property
    def clean(self) -> ShiftTable | None:
        """The table of the clean images, if there is one."""
        return next((table for table in self.tables if table.shift.is_clean), None)

    @property
    def shifted(self) -> tuple[ShiftTable, ...]:
        """All tables except the clean images'."""
        return tuple(table for table in self.tables if not table.shift.is_clean)

    @property
    def strong(self) -> tuple[ShiftTable, ...]:
        """The tables of strong shifts, or of all shifts if none is strong."""
        kept = tuple(table for table in self.shifted if (table.shift.severity or 5) >= self.strong_severity)
        return kept or self.shifted

    def restricted(self, names: set[str]) -> PantryResults:
        """The same results with only the shifts in ``names``."""
        return replace(self, tables=tuple(table for table in self.tables if table.shift.name in names))


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
    count = len(jobs[0].images.rows)
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
    return np.unpackbits(packed, axis=1, count=len(job.images.rows)).astype(bool)


def _models(plan: PantryPlan, shift: Shift, store: Store) -> dict[str, Flags]:
    return {name: _correct(job, store)[0] for name, job in plan.models[shift].items()}


def _ensembles(jobs: tuple[ScoreJob, ...], store: Store) -> dict[str, Flags]:
    """Softmax ensembles of all ingredients and of each pair (Croce et al., Table 1), and the logit ensemble of all."""
    images = jobs[0].images
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


def ensemble(images: LabelledColumns, logits: NDArray[np.floating]) -> Flags:
    """Which images the mean of the models' probabilities classifies correctly; ``logits`` (models, images, classes)."""
    parts: Tensor = torch.from_numpy(logits.astype(np.float64)).log_softmax(dim=2)
    return _correct_of(images, parts.logsumexp(dim=0))


def logit_ensemble(images: LabelledColumns, logits: NDArray[np.floating]) -> Flags:
    """Which images the mean of the models' logits classifies correctly; ``logits`` (models, images, classes).

    The stored logits are shifted by each image's largest. That moves the mean by a constant per image, which does not
    affect any prediction.
    """
    return _correct_of(images, torch.from_numpy(logits.astype(np.float64)).mean(dim=0))


def _correct_of(images: LabelledColumns, logits: Tensor) -> Flags:
    correct: Flags = np.asarray(images.space.outcomes(logits, images.space.mask(images.accepted or ())).correct)
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
