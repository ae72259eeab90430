"""Drives a job through the real stores as a worker would, without searching."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from safetensors.numpy import save_file

from search.lattice import Lattice
from service.artifacts import open_store
from service.jobs.queue import Claim
from service.jobs.store import JobStore
from service.schemas.job import Best, Job, JobError, JobStatus, JobWarning, Point
from service.schemas.result import (
    Baselines,
    Cost,
    HeldOut,
    MergedModel,
    PairedTest,
    RefinedIngredient,
    Result,
    Score,
    ScoredSoup,
)
from service.settings import Settings

IMAGES = 100
SUPERVISOR = "driver"


def make_points(size: int) -> list[Point]:
    """A point for each of the paper's affine weights; scores fall with the distance from an off-centre soup."""
    target = np.array([0.2, -0.2, 0.2, 0.8, *np.zeros(16)])[:size]
    points = []
    for index, weights in enumerate(Lattice(size).weights().tolist()):
        distance = float(np.linalg.norm(np.array(weights) - target))
        correct = round(IMAGES * 0.88 * math.exp(-0.35 * distance**2))
        points.append(
            Point(
                index=index,
                weights=weights,
                score=correct / IMAGES,
                nll=round(0.35 + distance, 4),
                images=IMAGES,
                floored_channels=2 if min(weights) < -0.3 else 0,
                seconds=0.04,
            )
        )
    return points


def batches(points: Sequence[Point], size: int = 16) -> Iterator[list[Point]]:
    """``points`` by groups, as trials carry them."""
    iterator = iter(points)
    while batch := list(islice(iterator, size)):
        yield batch


class Driver:
    """One worker's hands on one job."""

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self.store = store
        self.artifacts = open_store(settings)
        self.claim: Claim | None = None
        self.points: list[Point] = []
        self.recorded: list[Point] = []

    def take(self) -> Job:
        """Claim the next job, without beginning its search."""
        self.claim = self.store.claim(SUPERVISOR)
        return self.job

    def start(self) -> Job:
        """Claim the next job and begin its search."""
        job = self.take()
        assert self.claim is not None
        self.points = make_points(len(job.request.ingredients))
        self.store.start(job.id, self.claim.attempt, len(self.points), f"scope-{job.id}")
        return job

    @property
    def job(self) -> Job:
        """The job as the store has it."""
        assert self.claim is not None
        return self.store.get(self.claim.job_id)

    def record(self, count: int | None = None) -> None:
        """Record the next ``count`` points, or all that are left."""
        assert self.claim is not None
        begin = len(self.recorded)
        end = len(self.points) if count is None else begin + count
        for batch in batches(self.points[begin:end]):
            self.recorded += batch
            outcomes = {point.index: "packed" for point in batch}
            self.store.record_points(self.claim.job_id, self.claim.attempt, batch, self.best(), outcomes=outcomes)
            self.store.renew(self.claim.job_id, self.claim.attempt)

    def ranked(self) -> list[Point]:
        """Recorded points, best first."""
        return sorted(self.recorded, key=lambda point: (-(point.score or 0), point.nll or 0, point.index))

    def best(self) -> Best:
        """The best recorded point."""
        point = self.ranked()[0]
        return Best(weights=self.named(point.weights), score=point.score or 0.0, nll=point.nll)

    def named(self, weights: Sequence[float]) -> dict[str, float]:
        """Weights by ingredient."""
        return dict(zip(self.job.request.ingredients, weights, strict=True))

    def warn(self, code: str, message: str) -> None:
        """Add a warning."""
        assert self.claim is not None
        self.store.warn(self.claim.job_id, self.claim.attempt, JobWarning(code=code, message=message))

    def succeed(self, **changes: object) -> Result:
        """Store a model and end the job, with ``changes`` in its result."""
        assert self.claim is not None
        self.store.set_phase(self.claim.job_id, self.claim.attempt, "finalizing")
        result = self._result(partial=False).model_copy(update=changes)
        self.store.finish(self.claim.job_id, self.claim.attempt, JobStatus.SUCCEEDED, result)
        return result

    def cancel(self) -> Result:
        """End a job that is being cancelled, with the best so far."""
        assert self.claim is not None
        result = self._result(partial=True)
        self.store.finish(self.claim.job_id, self.claim.attempt, JobStatus.CANCELLED, result)
        return result

    def fail(self, code: str = "evaluation_failed", message: str = "out of memory: use smaller images") -> None:
        """End the job with an error."""
        assert self.claim is not None
        error = JobError(code=code, message=message, retryable=True)
        self.store.finish(self.claim.job_id, self.claim.attempt, JobStatus.FAILED, error)

    def _result(self, *, partial: bool) -> Result:
        names = self.job.request.ingredients
        scores = dict(zip(names, np.linspace(0.78, 0.70, len(names)).round(2).tolist(), strict=True))
        top = [
            ScoredSoup(weights=self.named(p.weights), score=p.score or 0.0, nll=p.nll, point=p.index)
            for p in self.ranked()[:5]
        ]
        best = top[0].score
        return Result(
            summary=f"The soup is right on {100 * best:.1f} % of the images, 10.0 points more than {names[0]}."
            + (" The search was cancelled before it had tried every soup." if partial else ""),
            weights=top[0].weights,
            metric="accuracy",
            score=top[0].score,
            nll=top[0].nll,
            interval=_interval(top[0].score),
            ended_by="cancelled" if partial else "strategy",
            partial=partial,
            held_out=HeldOut(
                images=500,
                soup=_score(0.85),
                ingredients={n: _score(s - 0.02) for n, s in scores.items()},
                uniform_soup=_score(0.79),
                logit_ensemble=_score(0.80),
                softmax_ensemble=_score(0.79),
                refitted_head=RefinedIngredient(ingredient=names[0], score=0.83),
            ),
            top=top,
            baselines=Baselines(
                ingredients={name: _score(score) for name, score in scores.items()},
                uniform_soup=_score(0.80),
                logit_ensemble=_score(0.81),
                softmax_ensemble=_score(0.80),
                refitted_head=RefinedIngredient(ingredient=names[0], score=0.84),
            ),
            paired_test=PairedTest(against=names[0], difference=0.1, interval=(0.03, 0.17), p_value=0.0063),
            cost=Cost(
                evaluations=len(self.recorded),
                images=IMAGES,
                forward_passes=IMAGES * len(self.recorded),
                grid_forward_passes=IMAGES * len(self.points),
                seconds=19.5,
            ),
            model=self.store_model(),
        )

    def keep_model(self, index: int) -> None:
        """Store a model for a recorded point, as a worker does that merges it."""
        self.store.keep_model(self.job.id, self.store.point(self.job.id, index), self.store_model(seed=index + 1))

    def store_model(self, seed: int = 0) -> MergedModel:
        """Put a small model into the artifact store."""
        with self.artifacts.staging() as folder:
            model = folder / "model" / "model.safetensors"
            model.parent.mkdir()
            save_file({"head.weight": np.arange(2000, dtype=np.float32) + seed}, model, {"job": self.job.id})
            digest = hashlib.sha256(model.read_bytes()).hexdigest()
            model.with_name("config.json").write_text(
                json.dumps({"architecture": "test_vit", "num_classes": 10}), "utf-8"
            )
            size = model.stat().st_size
            self.artifacts.put("models", digest, folder / "model")
        return MergedModel(sha256=digest, bytes=size, url=self.job.urls.model)


def _interval(score: float) -> tuple[float, float]:
    return (max(score - 0.07, 0.0), min(score + 0.06, 1.0))


def _score(score: float) -> Score:
    return Score(score=round(score, 3), nll=round(1.3 - score, 3), interval=_interval(score))
