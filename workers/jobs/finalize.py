"""From the best point to a stored model and the job's result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.statistics import bootstrap_interval, compare
from service.artifacts.store import ArtifactStore
from service.errors import SoupsearchError
from service.schemas.job import Point, Progress
from service.schemas.result import Baselines, Cost, HeldOut, PairedTest, Result, Score, ScoredSoup
from workers.evaluation.scores import ModelScore
from workers.jobs.material import Material
from workers.jobs.preflight import Preflight
from workers.jobs.scoring import Scoring
from workers.jobs.winner import MergedFile, write_winner
from workers.ray_runtime.evaluators import EvaluatorPool
from workers.ray_runtime.task import Task


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
            merged = write_winner(self.material, best, folder)
            score = self._score_file(merged)
            held_out = self._held_out(merged, is_cancelled)
            model = merged.commit(self.store, url)
        return Result(
            weights=self._named(best),
            metric=self.material.request.objective.metric,
            score=self.scoring.value(score) or 0.0,
            nll=self.scoring.nll(score),
            interval=self._interval(score),
            per_set=self._per_set(score),
            partial=progress.done < progress.total,
            floored_channels=best.floored_channels,
            held_out=held_out,
            top=[self._scored(point) for point in ranked[: self.material.request.top_k]],
            baselines=None if preflight is None else self._baselines(preflight),
            paired_test=None if preflight is None else self._paired_test(score, preflight),
            cost=self._cost(progress, reused, seconds()),
            model=model,
        )

    def _score_file(self, merged: MergedFile) -> ModelScore:
        task = self.material.selection("float32", merged.stack_key)
        (score,) = self._score(merged, task)
        if not score.finite:
            msg = "the merged soup gives logits that are not finite: choose bounds closer to [0, 1], or convex"
            raise NoFiniteSoup(msg, param="search")
        return score

    def _score(self, merged: MergedFile, task: Task) -> Sequence[ModelScore]:
        def arrays_of(key: str) -> dict[str, object]:
            return merged.arrays() if key == merged.stack_key else self.material.arrays_of(key)

        return self.pool.score(self.token, task, arrays_of, [[1.0]], detail=True)

    def _held_out(self, merged: MergedFile, is_cancelled: Callable[[], bool]) -> HeldOut | None:
        images = sum(len(each.split.held_out) for each in self.material.sets)
        if is_cancelled() or not all(each.split.held_out for each in self.material.sets):
            return None
        (soup,) = self._score(merged, self.material.held_out(merged.stack_key))
        ones = self._held_out_ingredients(is_cancelled)
        if ones is None:
            return None
        ingredients = {name: self._document(one) for name, one in zip(self.material.names, ones, strict=True)}
        return HeldOut(images=images, soup=self._document(soup), ingredients=ingredients)

    def _held_out_ingredients(self, is_cancelled: Callable[[], bool]) -> list[ModelScore] | None:
        """Scores of all ingredients, one an evaluator at a time; None when cancelled in between."""
        rows = np.eye(len(self.material.names)).tolist()
        task, width = self.material.held_out(), len(self.pool.names)
        scores: list[ModelScore] = []
        for first in range(0, len(rows), width):
            if is_cancelled():
                return None
            batch = rows[first : first + width]
            scores += self.pool.score(self.token, task, self.material.arrays_of, batch, detail=True)
        return scores

    def _baselines(self, preflight: Preflight) -> Baselines:
        scores = preflight.baselines
        pairs = zip(self.material.names, scores.ingredients, strict=True)
        return Baselines(
            ingredients={name: self._document(score) for name, score in pairs},
            uniform_soup=self._document(scores.uniform_soup),
            logit_ensemble=self._document(scores.logit_ensemble),
            softmax_ensemble=self._document(scores.softmax_ensemble),
        )

    def _paired_test(self, score: ModelScore, preflight: Preflight) -> PairedTest:
        ingredients = preflight.baselines.ingredients
        values = [self.scoring.value(each) or 0.0 for each in ingredients]
        rival = int(np.argmax(values))
        ours, theirs = outcomes(score), outcomes(ingredients[rival])
        test = compare(ours, theirs, self.scoring.over_sets, self.material.request.seed)
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
            grid_forward_passes=progress.total * images,
            seconds=seconds,
        )

    def _per_set(self, score: ModelScore) -> dict[str, Score]:
        scores = self.scoring.per_set(score)
        intervals = [bootstrap_interval([each], seed=self.material.request.seed) for each in outcomes(score)]
        return {
            digest: each.model_copy(update={"interval": interval})
            for (digest, each), interval in zip(scores.items(), intervals, strict=True)
        }

    def _document(self, score: ModelScore) -> Score:
        return self.scoring.document(score, self._interval(score))

    def _interval(self, score: ModelScore) -> tuple[float, float]:
        return bootstrap_interval(outcomes(score), self.scoring.over_sets, self.material.request.seed)

    def _scored(self, point: Point) -> ScoredSoup:
        return ScoredSoup(
            score=point.score or 0.0,
            nll=point.nll,
            weights=self._named(point),
            floored_channels=point.floored_channels,
        )

    def _named(self, point: Point) -> dict[str, float]:
        return dict(zip(self.material.names, point.weights, strict=True))


def outcomes(score: ModelScore) -> list[NDArray[np.float64]]:
    """Of each set, 1 for each image that is right and 0 for each that is wrong."""
    return [each.detail.correct.astype(np.float64) for each in score.sets if each.detail is not None]
