"""What one attempt writes to the job store while it runs."""

import threading
from collections.abc import Callable, Iterable, Sequence

import redis

from search.evaluation import Evaluation
from search.ranking import rank, sort_key
from service.connection import connect
from service.errors import Expired, FencedOut, JobNotFound
from service.jobs.queue import Claim
from service.jobs.store import JobStore
from service.schemas.job import Best, JobWarning, Point
from service.settings import Settings
from workers.evaluation.scores import SoupScore
from workers.jobs.plan import Plan
from workers.jobs.scoring import Scoring

POLL_INTERVAL = 0.25


class Recorder:
    """Writes points, warnings and phases as ``claim``, and keeps the points. All methods may raise FencedOut."""

    def __init__(self, store: JobStore, claim: Claim, plan: Plan, scoring: Scoring, names: Sequence[str]) -> None:
        self._store = store
        self._claim = claim
        self._plan = plan
        self._scoring = scoring
        self._names = names
        self.points: dict[int, Point] = {}
        self._best: Point | None = None

    def start(self, scope: str) -> int:
        """State the search's size and take over what the journal of ``scope`` has of it; returns how many points."""
        self._store.start(self._claim.job_id, self._claim.attempt, self._plan.strategy.total, scope)
        journalled = self._store.journalled(scope)
        places = {key: index for key, index in self._plan.places.items() if key in journalled}
        known = [journalled[key].model_copy(update={"index": index}) for key, index in places.items()]
        self._record(known)
        return len(known)

    def take(self, scores: Iterable[SoupScore]) -> None:
        """Record finished points."""
        self._record([self._scoring.point(score, self._plan.index(score.weights)) for score in scores])

    def warn(self, warnings: Iterable[JobWarning]) -> None:
        """Add warnings to the job."""
        for warning in warnings:
            self._store.warn(self._claim.job_id, self._claim.attempt, warning)

    def evaluations(self) -> list[Evaluation]:
        """All points as strategies learn them, in the search's order."""
        points = [self.points[index] for index in sorted(self.points)]
        return [
            Evaluation(tuple(point.weights), point.score, point.nll, point.violation, point.objectives)
            for point in points
        ]

    def ranked(self) -> list[Point]:
        """All points with a score, best first."""
        return rank(self.points.values())

    def _record(self, points: list[Point]) -> None:
        if not points:
            return
        self.points |= {point.index: point for point in points}
        for point in rank(points)[:1]:
            if self._best is None or sort_key(point) < sort_key(self._best):
                self._best = point
        best = None if self._best is None else self._as_best(self._best)
        self._store.record_points(self._claim.job_id, self._claim.attempt, points, best)

    def _as_best(self, point: Point) -> Best:
        weights = dict(zip(self._names, point.weights, strict=True))
        return Best(weights=weights, score=point.score or 0.0, nll=point.nll, violation=point.violation)


class CancelWatch:
    """A thread that sets ``cancelled`` when the user asks, or ``lost`` too when the job is not this attempt's any more.

    ``on_cancel`` is then called once, from the thread.
    """

    def __init__(self, claim: Claim, settings: Settings) -> None:
        self.cancelled = threading.Event()
        self.lost = threading.Event()
        self._claim = claim
        self._settings = settings
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, name="cancel-watch", daemon=True).start()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called at cancellation; at once when that was before."""
        with self._lock:
            if not self.cancelled.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def _watch(self) -> None:
        with connect(self._settings) as client:
            store = JobStore(client, self._settings)
            while not self._should_end(store):
                self.cancelled.wait(POLL_INTERVAL)
        with self._lock:
            self.cancelled.set()
        for callback in self._callbacks:
            callback()

    def _should_end(self, store: JobStore) -> bool:
        try:
            return store.should_cancel(self._claim.job_id, self._claim.attempt)
        except (FencedOut, JobNotFound, Expired):
            self.lost.set()
            return True
        except redis.RedisError:
            return False
