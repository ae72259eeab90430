"""From the best point to a stored model and the job's result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from search.objectives import violation
from search.pareto import pareto_front
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
    Score,
    ScoredSoup,
)
from workers.evaluation.baselines import BaselineScores
from workers.evaluation.errors import EvaluationMemoryError, EvaluationStopped
from workers.evaluation.scores import ModelScore
from workers.jobs.material import Material
from workers.jobs.preflight import Preflight, score_reference
from workers.jobs.scoring import Scoring
from workers.jobs.soup_file import MergedFile, write_soup
from workers.ray_runtime.evaluators import EvaluatorPool
from workers.ray_runtime.task import Task

ATTACKS = ":attacks"
"""Ends the token of what a cancelled job can do without while it is finalized."""


class NoFiniteSoup(SoupsearchError):
    """Every soup gave logits that are not finite."""

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
        reused: int,
        seconds: Callable[[], float],
        is_cancelled: Callable[[], bool],
        url: str,
    ) -> Result:
        """Merge, write, score the written file and store it; the held-out scores are left out when cancelled meanwhile.

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
        value = self.scoring.value(score)
        return Result(
            weights=self._named(best),
            metric=self.material.request.ranked_by[0].metric,
            score=(best.score or 0.0) if value is None else value,
            images=sum(len(each.split.selection) for each in self.scoring.of_sets(self.material.sets)),
            nll=self.scoring.nll(score),
            interval=self.scoring.interval(score),
            metrics=self.scoring.metrics(score) or best.metrics,
            objectives=best.objectives,
            constraints=self._constraints(best),
            constraints_met=best.violation == 0 if best.constraints else None,
            front=[self._front_soup(point) for point in pareto_front(ranked) if point.objectives],
            per_set=self.scoring.per_set(score),
            partial=progress.done < progress.total,
            floored_channels=best.floored_channels,
            held_out=held_out,
            top=[self._scored(point) for point in ranked[: self.material.request.top_k]],
            baselines=None if preflight is None else self._baselines(preflight.baselines, preflight.reference),
            paired_test=None if preflight is None else self._paired_test(score, preflight),
            cost=self._cost(progress, reused, seconds()),
            model=model,
        )

    def _score_file(self, merged: MergedFile, is_cancelled: Callable[[], bool]) -> ModelScore:
        """The written file on the selection images; without attacks when cancelled before they are through."""
        attacked = bool(self.material.attacks)
        if attacked and not is_cancelled():
            score = self._finite(merged, attacked=True)
            if score.complete:
                return score
        return self._finite(merged, attacked=False)

    def _finite(self, merged: MergedFile, *, attacked: bool) -> ModelScore:
        task = self.material.selection("float32", merged.stack_key, attacked=attacked)
        score = self._score(merged, task, self._stoppable if task.attacks else self.token)
        if not score.finite:
            msg = "the merged soup gives logits that are not finite: choose bounds closer to [0, 1], or convex"
            raise NoFiniteSoup(msg, param="search")
        return score

    def _score(self, merged: MergedFile, task: Task, token: str) -> ModelScore:
        def arrays_of(key: str) -> dict[str, object]:
            return merged.arrays() if key == merged.stack_key else self.material.arrays_of(key)

        (score,) = self.pool.score(token, task, arrays_of, [[1.0]], detail=True)
        return score

    @property
    def _stoppable(self) -> str:
        """Attacks and held-out scores are stopped when the job is cancelled; the written file's score is not."""
        return f"{self.token}{ATTACKS}"

    def _held_out(self, merged: MergedFile, is_cancelled: Callable[[], bool]) -> HeldOut | None:
        if is_cancelled() or not all(each.split.held_out for each in self.material.sets):
            return None
        soup = self._score(merged, self.material.held_out(merged.stack_key), self._stoppable)
        if not soup.complete:
            return None
        task, count = self.material.held_out(), len(self.material.names)
        soups = [*np.eye(count).tolist(), [1 / count] * count]
        scores = self.pool.score(self._stoppable, task, self.material.arrays_of, soups, detail=True)
        if not all(score.complete for score in scores):
            return None
        reference = score_reference(self.material, self.pool, self._stoppable, held_out=True)
        try:
            ensembles = self._held_out_ensembles(task)
        except EvaluationStopped:
            return None
        *ingredients, uniform_soup = map(self.scoring.document, scores)
        return HeldOut(
            images=sum(len(each.split.held_out) for each in self.scoring.of_sets(self.material.sets)),
            soup=self.scoring.document(soup),
            ingredients=dict(zip(self.material.names, ingredients, strict=True)),
            uniform_soup=uniform_soup,
            reference=None if reference is None else self.scoring.document(reference),
            **ensembles,
        )

    def _held_out_ensembles(self, task: Task) -> dict[str, Score]:
        """The ensembles' scores; none where they find no memory: the soup itself needs them not."""
        try:
            scores = self.pool.ensembles(self._stoppable, task, self.material.arrays_of)
        except EvaluationMemoryError:
            return {}
        return dict(zip(("logit_ensemble", "softmax_ensemble"), map(self.scoring.document, scores), strict=True))

    def _baselines(self, scores: BaselineScores, reference: ModelScore | None) -> Baselines:
        pairs = zip(self.material.names, scores.ingredients, strict=True)
        return Baselines(
            ingredients={name: self.scoring.document(score) for name, score in pairs},
            uniform_soup=self.scoring.document(scores.uniform_soup),
            logit_ensemble=self.scoring.document(scores.logit_ensemble),
            softmax_ensemble=self.scoring.document(scores.softmax_ensemble),
            reference=None if reference is None else self.scoring.document(reference),
        )

    def _paired_test(self, score: ModelScore, preflight: Preflight) -> PairedTest | None:
        ingredients = preflight.baselines.ingredients
        values = [self.scoring.value(each) or 0.0 for each in ingredients]
        rival = int(np.argmax(values))
        test = self.scoring.compare(score, ingredients[rival])
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
            grid_forward_passes=progress.total * self.material.passes_a_soup,
            seconds=seconds,
        )

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
