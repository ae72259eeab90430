"""All jobs of a study, and the names under which their results are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.study.config import AttackSection, PantrySection, StudyConfig, is_trained
from lab.study.inputs import StackInput, set_part
from lab.study.jobs import AttackJob, ScoreJob, StudyJob, Weights
from lab.study.shifts import Shift
from lab.study.store import Store, digest_of, file_digest
from search.space import Space
from search.strategies.curve import Curve
from search.strategies.simplex import Simplex
from workers.ray_runtime.task import SetPart
from workers.soups.model import CONFIG_FILE, WEIGHTS_FILE

PASSES_A_JOB = 60_000
"""The most forward passes in one scoring job: this is what a kill can cost, about ten seconds of a small network."""

SECOND_ALONE = (0.0, 1.0)
"""A comparison model is scored as the second of a stack that begins with an ingredient, so each has its own digest."""

CURVE_WEIGHTS = tuple(w for _, w in Curve().soups(Space(2)))
"""The weights of the second model on a curve of two (Croce et al., CVPR 2023, Figs 1, 2 and 5)."""


@dataclass(frozen=True)
class PantryPlan:
    """The jobs of one pantry.

    ``soups``: (S, n), the lattice's points, then the ingredients and the uniform soup if they are not on it.
    ``on_lattice`` (S,): which of them a search may choose. ``scores`` has the jobs of each set, ``models`` those of the
    comparison models. ``attacks`` and ``model_attacks`` are the same under attack, one for each soup or model.
    """

    section: PantrySection
    soups: NDArray[np.float64]
    on_lattice: NDArray[np.bool_]
    scores: dict[Shift, tuple[ScoreJob, ...]]
    models: dict[Shift, dict[str, ScoreJob]]
    attacks: dict[tuple[float, ...], AttackJob]
    model_attacks: dict[str, AttackJob]

    @property
    def jobs(self) -> list[StudyJob]:
        """All jobs, attacks first because they give the first figures; those of one stack follow each other."""
        scores = [job for jobs in self.scores.values() for job in jobs]
        models = [job for jobs in self.models.values() for job in jobs.values()]
        models.sort(key=lambda job: job.stack.digest)
        return [*self.attacks.values(), *self.model_attacks.values(), *models, *scores]


def plan_pantry(config: StudyConfig, section: PantrySection, names: dict[Shift, str], store: Store) -> PantryPlan:
    """Plan one pantry on the encoded sets of these names in ``store``."""
    planner = _Planner(config, section)
    soups, on_lattice = all_soups(config)
    sets = {shift: set_part(store, name) for shift, name in names.items()}
    clean = next((images for shift, images in sets.items() if shift.is_clean), None)
    attacked = clean if config.attacks is not None else None
    return PantryPlan(
        section,
        soups,
        on_lattice,
        {shift: planner.scores(shift, images, soups) for shift, images in sets.items()},
        {shift: planner.models(shift, images) for shift, images in sets.items()},
        planner.attacks(attacked) if attacked else {},
        planner.model_attacks(attacked) if attacked else {},
    )


def all_soups(config: StudyConfig) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Every soup to score, and which of them are points of the lattice."""
    count = len(config.ingredients)
    lattice = config.lattice.of(count).weights()
    known = {tuple(row) for row in lattice.tolist()}
    others = [row for row in [*np.eye(count), np.full(count, 1 / count)] if tuple(row.tolist()) not in known]
    soups = np.vstack([lattice, *others])
    return soups, np.arange(len(soups)) < len(lattice)


def attacked_soups(config: StudyConfig) -> tuple[tuple[float, ...], ...]:
    """The soups of all curves and simplices, without duplicates."""
    names = tuple(config.ingredients)
    points = [*curves(names, config.pairs), *simplices(names, config.triples)]
    return tuple(dict.fromkeys(weights for group in points for weights in group))


def curves(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[list[tuple[float, ...]]]:
    """For each pair, the soups with (1 - w) of the first and w of the second, for w in ``CURVE_WEIGHTS``."""
    groups = []
    for first, second in pairs:
        curve = Curve(between=(first, second))
        groups.append(curve.soups(curve.space(names), (names.index(first), names.index(second))))
    return groups


def simplices(names: Sequence[str], triples: Sequence[tuple[str, str, str]]) -> list[list[tuple[float, ...]]]:
    """For each triple its convex soups of step 0.2 (Croce et al., CVPR 2023, Figs 3, 4 and 10)."""
    groups = [Simplex(among=triple) for triple in triples]
    return [simplex.soups(simplex.space(names)) for simplex in groups]


class _Planner:
    def __init__(self, config: StudyConfig, section: PantrySection) -> None:
        self._config = config
        self._section = section
        folders = [section.folder / name for name in config.ingredients]
        self._stack = stack_input(folders, list(config.ingredients))
        self._models = {
            name: stack_input([folders[0], folder], ["reference", name]) for name, folder in section.comparison.items()
        }

    def scores(self, shift: Shift, images: SetPart, soups: NDArray[np.float64]) -> tuple[ScoreJob, ...]:
        """The soups on one set, in pieces."""
        size = max(1, PASSES_A_JOB // len(images.rows))
        blocks = [soups[start : start + size] for start in range(0, len(soups), size)]
        return tuple(self._score(self._stack, shift, images, _tuples(block)) for block in blocks)

    def models(self, shift: Shift, images: SetPart) -> dict[str, ScoreJob]:
        """The comparison models on one set."""
        return {model: self._score(stack, shift, images, (SECOND_ALONE,)) for model, stack in self._models.items()}

    def attacks(self, images: SetPart) -> dict[tuple[float, ...], AttackJob]:
        """Each soup of a curve or simplex under attack."""
        soups = attacked_soups(self._config)
        return {weights: self._attack(self._stack, images, weights, "soup") for weights in soups}

    def model_attacks(self, images: SetPart) -> dict[str, AttackJob]:
        """Each comparison model under attack."""
        return {model: self._attack(stack, images, SECOND_ALONE, model) for model, stack in self._models.items()}

    def _score(self, stack: StackInput, shift: Shift, images: SetPart, weights: Weights) -> ScoreJob:
        config = self._config
        vertices = tuple(row for row, point in enumerate(weights) if sorted(point)[-2:] == [0.0, 1.0])
        keep = None if config.logits == "all" else vertices
        key = digest_of(stack.digest, images.images, weights, config.precision, keep)
        path = f"scores/{self._section.name}/{shift.name}/{key}"
        return ScoreJob(path, stack, images, weights, config.precision, keep)

    def _attack(self, stack: StackInput, images: SetPart, weights: tuple[float, ...], label: str) -> AttackJob:
        section = self._config.attacks or AttackSection()
        threats = tuple(dict.fromkeys(self._config.threats.values()))
        count = min(section.images, len(images.rows))
        about = [stack.digest, images.images, weights, count, [str(threat) for threat in threats], section.losses]
        # Written so that results of earlier versions are found.
        how = (
            f"Settings(steps={section.steps}, loss='ce', restarts=1, targets=9, "
            f"larger_radii={section.larger_radii}, goal='first_success')"
        )
        path = f"attacks/{self._section.name}/{label}-{digest_of(*about, how, self._config.seed)}"
        return AttackJob(path, stack, images, (weights,), count, tuple(section.on(threats)), self._config.seed)


def check_trained(name: str, folder: Path) -> None:
    """Raise FileNotFoundError unless ``folder`` holds a model."""
    if not is_trained(folder):
        raise FileNotFoundError(f"{folder} has no {WEIGHTS_FILE}: train {name!r} first, or correct the study's file")


def stack_input(folders: Sequence[Path], names: Sequence[str]) -> StackInput:
    """Timm folders as one input. Raises FileNotFoundError if one is missing."""
    for name, folder in zip(names, folders, strict=True):
        check_trained(name, folder)
    files = [file_digest(folder / file) for folder in folders for file in (CONFIG_FILE, WEIGHTS_FILE)]
    return StackInput(tuple(folders), tuple(names), digest_of(files))


def _tuples(weights: NDArray[np.float64]) -> Weights:
    return tuple(tuple(row) for row in weights.tolist())
