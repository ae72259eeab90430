"""From the best point to a stored model and the job's result."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from search.evaluation import EvaluationRequest, Outcome, Refinement, Weights
from search.lattice import LatticeError
from search.loop import Interrupted
from search.objectives import violation
from search.pareto import pareto_front
from search.strategies.grid import Grid
from search.strategy import LatticeRequest
from service.artifacts.store import ArtifactStore
from service.errors import InvalidRequest, SoupsearchError
from service.schemas.job import Point, Progress
from service.schemas.objective import Constraint
from service.schemas.result import (
    Baselines,
    ConstraintOutcome,
    Cost,
    FrontSoup,
    HeldOut,
    PairedTest,
    RefinedIngredient,
    Result,
    ResultEnd,
    ScoredSoup,
)
from workers.evaluation.errors import EvaluationMemoryError
from workers.jobs.label_free import label_free_choice, label_next
from workers.jobs.layering import LayeredSoup, layered
from workers.jobs.material import Material
from workers.jobs.preflight import Compared, Preflight, compare_with
from workers.jobs.refining import ADAPTED, REFITTED, best_place, refined_soup
from workers.jobs.scoring import Scoring
from workers.jobs.soup_file import MergedFile, write_model, write_soup
from workers.jobs.summary import summarise
from workers.ray_runtime.evaluators import EvaluatorPool
from workers.ray_runtime.task import Task
from workers.refinement.checkpoint import NotFiniteLogits

_log = logging.getLogger(__name__)
_REFINED = {"adapted_statistics": ADAPTED, "refitted_head": REFITTED}
"""The refined ingredients that results show, by the field that shows them."""
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
        crossed: Outcome | None,
        tried: Sequence[tuple[Weights, Outcome]],
        progress: Progress,
        ended_by: ResultEnd,
        reused: int,
        seconds: Callable[[], float],
        is_cancelled: Callable[[], bool],
        url: str,
    ) -> Result:
        """Merge, write, score the written file and store it; without held-out scores if the job is cancelled meanwhile.

        ``crossed`` is the outcome of the choice, cross-validated, ``tried`` the outcomes of the soups tried, as far as
        they are known.

        Raises NoFiniteSoup when no point has a score, or the winner's logits are not finite; InvalidRequest
        (``not_refinable``), StorageFull.
        """
        if not ranked:
            msg = "every soup gave logits that are not finite: choose bounds closer to [0, 1], or convex"
            raise NoFiniteSoup(msg, param="search")
        best = ranked[0]
        layers = self._layers(best, is_cancelled)
        with self.store.staging() as folder:
            merged = self._written(best, layers, folder)
            score = self._score(best, layers, merged, is_cancelled)
            held_out = self._held_out(merged, preflight, folder, is_cancelled)
            model = merged.commit(self.store, url)
        value = self.scoring.objectives.value(score)
        result = Result(
            weights=self._named(best),
            refinement=merged.refinement,
            layers=None if layers is None else layers.document,
            metric=self.material.request.ranked_by[0].metric,
            score=(best.score or 0.0) if value is None else value,
            images=sum(len(each.split.selection) for each in self.scoring.of_sets(self.material.sets)),
            nll=self.scoring.objectives.nll(score),
            interval=self.scoring.objectives.interval(score),
            cross_validated=None if crossed is None else self.scoring.document(crossed),
            metrics=self.scoring.metrics(score) or best.metrics,
            objectives=best.objectives,
            constraints=self._constraints(best),
            constraints_met=best.violation == 0 if best.constraints else None,
            front=[self._front_soup(point) for point in pareto_front(ranked) if point.objectives],
            per_set=self.scoring.per_set(score),
            ended_by=ended_by,
            partial=ended_by == "cancelled",
            floored_channels=(best if layers is None else layers.outcome or best).floored_channels,
            held_out=held_out,
            top=[self._scored(point) for point in ranked[: self.material.request.top_k]],
            baselines=None if preflight is None else self._baselines(preflight),
            paired_test=None
            if preflight is None
            else self._paired_test(score, preflight.compared, self._rival(preflight.compared)),
            label_free=label_free_choice(self.material, self.scoring, ranked, score),
            label_next=label_next(self.material, ranked, tried),
            cost=self._cost(progress, reused, seconds()),
            model=model,
        )
        return result.model_copy(update={"summary": summarise(result, self.material.request)})

    def _layers(self, best: Point, is_cancelled: Callable[[], bool]) -> LayeredSoup | None:
        """The best soup with weights for each layer, as far as they are asked for.

        None if the job is cancelled, and if they cannot be fitted: the search's own soup is then delivered.
        """
        if self.material.request.refine.layers == "one" or is_cancelled():
            return None
        try:
            return layered(self.material, self.scoring, self.pool, self._stoppable, tuple(best.weights))
        except (ValueError, EvaluationMemoryError) as error:
            _log.warning("layers are left as they are: %s", error)
            return None
        except Interrupted:
            if not is_cancelled():
                raise
            return None

    def _written(self, best: Point, layers: LayeredSoup | None, folder: Path) -> MergedFile:
        sets = self.material.encoded_sets if best.refinement.changes_anything else []
        try:
            return write_soup(self.material, best, sets, folder, None if layers is None else layers.weights)
        except NotFiniteLogits as error:
            raise NoFiniteSoup(str(error), param="search") from error
        except ValueError as error:
            raise InvalidRequest(str(error), param="refine", code="not_refinable") from error

    def _score(
        self, best: Point, layers: LayeredSoup | None, merged: MergedFile, is_cancelled: Callable[[], bool]
    ) -> Outcome:
        """The winner on the selection images: as its file is, or cross-validated where the file learnt from them.

        Whichever it is, the file's own logits are checked.
        """
        outcome = self._score_file(merged, is_cancelled)
        if layers is not None and layers.outcome is not None:
            return layers.outcome
        if not best.refinement.changes_anything:
            return outcome
        executor = self.pool.executor(self.material.selection("float32"), self.material.arrays_of, self.token)
        return executor.outcomes([replace(best.evaluation, keep_logits=self.scoring.objectives.reads_logits)])[0]

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

        request = EvaluationRequest((1.0,), keep_logits=self.scoring.objectives.reads_logits)
        (outcome,) = self.pool.executor(task, arrays_of, token).outcomes([request])
        return outcome

    @property
    def _stoppable(self) -> str:
        """Cancelling the job stops attacks and held-out scores, but not the scoring of the written file."""
        return f"{self.token}{ATTACKS}"

    def _held_out(
        self, merged: MergedFile, preflight: Preflight | None, folder: Path, is_cancelled: Callable[[], bool]
    ) -> HeldOut | None:
        if preflight is None or is_cancelled() or not all(each.split.held_out for each in self.material.sets):
            return None
        try:
            soup = self._evaluate(merged, self.material.held_out(merged.stack_key), self._stoppable)
            compared = compare_with(self.material, self.pool, self._stoppable, held_out=True)
            refined = self._refined_on_held_out(preflight, folder, is_cancelled)
        except Interrupted:
            if not is_cancelled():
                raise
            return None
        return HeldOut(
            images=sum(len(each.split.held_out) for each in self.scoring.of_sets(self.material.sets)),
            soup=self.scoring.document(soup),
            paired_test=self._paired_test(soup, compared, self._rival(preflight.compared)),
            **self._compared(compared),
            **refined,
        )

    def _refined_on_held_out(
        self, preflight: Preflight, folder: Path, is_cancelled: Callable[[], bool]
    ) -> dict[str, Any]:
        """The checkpoints of the refined ingredients of the baselines, on the images held out.

        Once the job is cancelled no more is refined. Raises Interrupted.
        """
        documents = {}
        for name, refinement in _REFINED.items():
            if is_cancelled():
                break
            if (place := self._best_refined(preflight, refinement)) is None:
                continue
            try:
                tensors, _ = refined_soup(
                    self.material.stack, preflight.soups[place], self.material.encoded_sets, refinement
                )
            except ValueError as error:
                _log.warning("%s is left out of the held-out scores: %s", name, error)
                continue
            written = write_model(self.material, tensors, {}, folder / name)
            outcome = self._evaluate(written, self.material.held_out(written.stack_key), self._stoppable)
            documents[name] = self._refined_document(place, outcome)
        return documents

    def _best_refined(self, preflight: Preflight, refinement: Refinement) -> int | None:
        """The place of the ingredient that is best after ``refinement``; None where none can be so refined."""
        outcomes = preflight.refined.outcomes.get(refinement)
        if outcomes is None:
            return None
        return best_place(outcomes[: len(self.material.names)], self.scoring.objectives.loss)

    def _refined_document(self, place: int, outcome: Outcome) -> RefinedIngredient:
        score = self.scoring.document(outcome)
        return RefinedIngredient(ingredient=self.material.names[place], **score.model_dump())

    def _baselines(self, preflight: Preflight) -> Baselines:
        places = {name: self._best_refined(preflight, refinement) for name, refinement in _REFINED.items()}
        refined: dict[str, Any] = {
            name: self._refined_document(place, preflight.refined.outcomes[_REFINED[name]][place])
            for name, place in places.items()
            if place is not None
        }
        return Baselines(**self._compared(preflight.compared), **refined)

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

    def _rival(self, compared: Compared) -> int:
        """The place of the best ingredient."""
        return int(np.argmax([self.scoring.score(each) for each in compared.baselines.ingredients]))

    def _paired_test(self, score: Outcome, compared: Compared, rival: int) -> PairedTest | None:
        return self.scoring.paired_test(score, compared.baselines.ingredients[rival], self.material.names[rival])

    def _cost(self, progress: Progress, reused: int, seconds: float) -> Cost:
        images = self.material.image_count
        return Cost(
            evaluations=progress.done,
            pruned_points=progress.pruned,
            reused_points=reused,
            images=images,
            forward_passes=progress.images,
            backward_passes=progress.backward,
            grid_forward_passes=self._grid_points(progress.total) * self.material.passes_a_soup(),
            seconds=seconds,
        )

    def _grid_points(self, total: int) -> int:
        """Points of the lattice that the search chose from; for strategies without one those of the default grid."""
        search = self.material.request.search
        lattice = search if isinstance(search, LatticeRequest) else Grid()
        try:
            return lattice.lattice(search.space(self.material.names)).count()
        except LatticeError:
            return total

    def _constraints(self, point: Point) -> list[ConstraintOutcome]:
        pairs = zip(self.material.request.constraints, point.constraints, strict=True)
        return [_outcome(constraint, value) for constraint, value in pairs]

    def _front_soup(self, point: Point) -> FrontSoup:
        return FrontSoup.model_validate(self._scored(point).model_dump())

    def _scored(self, point: Point) -> ScoredSoup:
        return ScoredSoup(
            score=point.score or 0.0,
            nll=point.nll,
            weights=self._named(point),
            floored_channels=point.floored_channels,
            metrics=point.metrics,
            objectives=point.objectives,
            violation=point.violation,
            point=point.index,
        )

    def _named(self, point: Point) -> dict[str, float]:
        return dict(zip(self.material.names, point.weights, strict=True))


def _outcome(constraint: Constraint, value: float) -> ConstraintOutcome:
    holds = violation([value], [constraint.at_least]) == 0
    return ConstraintOutcome(constraint=constraint, value=value, holds=holds)
