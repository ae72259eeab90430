"""From the best point to a stored model and the job's result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.evaluation import EvaluationRequest, Outcome
from search.lattice import LatticeError
from search.loop import Interrupted
from search.objectives import violation
from search.pareto import pareto_front
from search.space import Space
from search.strategies.grid import Grid
from service.artifacts.store import ArtifactStore
from service.errors import SoupsearchError
from service.schemas.job import Point, Progress
from service.schemas.objective import Constraint
from service.schemas.result import (
    Baselines,
    ConstraintOutcome,
    Cost,
    FrontSoup,
    HeldOut,
    PairedTest,
    Result,
    ScoredSoup,
)
from workers.jobs.material import Material
from workers.jobs.preflight import Compared, Preflight, compare_with
from workers.jobs.scoring import Scoring
from workers.jobs.soup_file import MergedFile, write_soup
from workers.ray_runtime.evaluators import EvaluatorPool
from workers.ray_runtime.task import Task

ATTACKS = ":attacks"
"""Stops work that a cancelled job can do without while it is finalized, by its token."""


class NoFiniteSoup(SoupsearchError):
    """Every soup's logits were not finite."""

    code = "no_finite_soup"


@dataclass(frozen=True)
class Finalizer:
    """Makes the result of a search over ``material``."""

    material: Material
    scoring: Scoring
    pool: EvaluatorPool
    store: ArtifactStore
    token: str

    def finish(
        self,
        ranked: Sequence[Point],
        preflight: Preflight | None,
        *,
        progress: Progress,
        is_partial: bool,
        reused: int,
        seconds: Callable[[], float],
        is_cancelled: Callable[[], bool],
        url: str,
    ) -> Result:
        """Merge, write, score the written file and store it; without held-out scores if the job is cancelled meanwhile.

        Raises NoFiniteSoup when no point has a score, StorageFull.
        """
        if not ranked:
            msg = "every soup gave logits that are not finite: choose bounds closer to [0, 1], or convex"
            raise NoFiniteSoup(msg, param="search")
        best = ranked[0]
        with self.store.staging() as folder:
            merged = write_soup(self.material, best, folder)
            score = self._score_file(merged, is_cancelled)
            held_out = self._held_out(merged, is_cancelled)
            model = merged.commit(self.store, url)
        value = self.scoring.objectives.value(score)
        return Result(
            weights=self._named(best),
            metric=self.material.request.ranked_by[0].metric,
            score=(best.score or 0.0) if value is None else value,
            images=sum(len(each.split.selection) for each in self.scoring.of_sets(self.material.sets)),
            nll=self.scoring.objectives.nll(score),
            interval=self.scoring.objectives.interval(score),
            metrics=self.scoring.metrics(score) or best.metrics,
            objectives=best.objectives,
            constraints=self._constraints(best),
            constraints_met=best.violation == 0 if best.constraints else None,
            front=[self._front_soup(point) for point in pareto_front(ranked) if point.objectives],
            per_set=self.scoring.per_set(score),
            partial=is_partial,
            floored_channels=best.floored_channels,
            held_out=held_out,
            top=[self._scored(point) for point in ranked[: self.material.request.top_k]],
            baselines=None if preflight is None else self._baselines(preflight.compared),
            paired_test=None if preflight is None else self._paired_test(score, preflight),
            cost=self._cost(progress, reused, seconds()),
            model=model,
        )

    def _score_file(self, merged: MergedFile, is_cancelled: Callable[[], bool]) -> Outcome:
        """Score the written file on the selection images; without attacks if cancelled before they finish."""
        if self.material.attacks and not is_cancelled():
            try:
                return self._finite(merged, attacked=True)
            except Interrupted:
                if not is_cancelled():
                    raise
        return self._finite(merged, attacked=False)

    def _finite(self, merged: MergedFile, *, attacked: bool) -> Outcome:
        task = self.material.selection("float32", merged.stack_key, attacked=attacked)
        outcome = self._evaluate(merged, task, self._stoppable if task.attacks else self.token)
        if outcome.status == "not_finite":
            msg = "the merged soup gives logits that are not finite: choose bounds closer to [0, 1], or convex"
            raise NoFiniteSoup(msg, param="search")
        return outcome

    def _evaluate(self, merged: MergedFile, task: Task, token: str) -> Outcome:
        def arrays_of(key: str) -> dict[str, object]:
            return merged.arrays() if key == merged.stack_key else self.material.arrays_of(key)

        (outcome,) = self.pool.executor(task, arrays_of, token).outcomes([EvaluationRequest((1.0,))])
        return outcome

    @property
    def _stoppable(self) -> str:
        """Cancelling the job stops attacks and held-out scores, but not the scoring of the written file."""
        return f"{self.token}{ATTACKS}"

    def _held_out(self, merged: MergedFile, is_cancelled: Callable[[], bool]) -> HeldOut | None:
        if is_cancelled() or not all(each.split.held_out for each in self.material.sets):
            return None
        try:
            soup = self._evaluate(merged, self.material.held_out(merged.stack_key), self._stoppable)
            compared = compare_with(self.material, self.pool, self._stoppable, held_out=True)
        except Interrupted:
            if not is_cancelled():
                raise
            return None
        return HeldOut(
            images=sum(len(each.split.held_out) for each in self.scoring.of_sets(self.material.sets)),
            soup=self.scoring.document(soup),
            **self._compared(compared),
        )

    def _baselines(self, compared: Compared) -> Baselines:
        return Baselines(**self._compared(compared))

    def _compared(self, compared: Compared) -> dict[str, Any]:
        baselines = compared.baselines
        others = {
            "uniform_soup": baselines.uniform_soup,
            "logit_ensemble": baselines.logit_ensemble,
            "softmax_ensemble": baselines.softmax_ensemble,
            "reference": compared.reference,
        }
        documents = {name: self.scoring.document(each) for name, each in others.items() if each is not None}
        ingredients = map(self.scoring.document, baselines.ingredients)
        return {"ingredients": dict(zip(self.material.names, ingredients, strict=True)), **documents}

    def _paired_test(self, score: Outcome, preflight: Preflight) -> PairedTest | None:
        objectives, ingredients = self.scoring.objectives, preflight.compared.baselines.ingredients
        rival = int(np.argmax([self.scoring.score(each) for each in ingredients]))
        test = objectives.compare(score, ingredients[rival])
        if test is None:
            return None
        return PairedTest(
            against=self.material.names[rival],
            difference=test.difference,
            interval=test.interval,
            p_value=test.p_value,
        )

    def _cost(self, progress: Progress, reused: int, seconds: float) -> Cost:
        images = self.material.image_count
        return Cost(
            points=progress.done,
            pruned_points=progress.pruned,
            reused_points=reused,
            images=images,
            forward_passes=progress.images,
            backward_passes=progress.backward,
            grid_forward_passes=self._grid_points(progress.total) * self.material.passes_a_soup,
            seconds=seconds,
        )

    def _grid_points(self, total: int) -> int:
        """Points of the request's grid; for other strategies those of the default grid."""
        if isinstance(self.material.request.search, Grid):
            return total
        try:
            return Grid().lattice(Space(len(self.material.names))).count()
        except LatticeError:
            return total

    def _constraints(self, point: Point) -> list[ConstraintOutcome]:
        pairs = zip(self.material.request.constraints, point.constraints, strict=True)
        return [_outcome(constraint, value) for constraint, value in pairs]

    def _front_soup(self, point: Point) -> FrontSoup:
        return FrontSoup(**self._scored(point).model_dump(), point=point.index)

    def _scored(self, point: Point) -> ScoredSoup:
        return ScoredSoup(
            score=point.score or 0.0,
            nll=point.nll,
            weights=self._named(point),
            floored_channels=point.floored_channels,
            metrics=point.metrics,
            objectives=point.objectives,
            violation=point.violation,
        )

    def _named(self, point: Point) -> dict[str, float]:
        return dict(zip(self.material.names, point.weights, strict=True))


def _outcome(constraint: Constraint, value: float) -> ConstraintOutcome:
    holds = violation([value], [constraint.at_least]) == 0
    return ConstraintOutcome(constraint=constraint, value=value, holds=holds)
