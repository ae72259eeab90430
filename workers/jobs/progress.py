"""Writes of one attempt to the job store while it runs."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from search.evaluation import EvaluationRequest, Outcome, Weights, weights_key
from search.journal import journal_key, packed, unpacked
from search.loop import Found, Journal, Observer
from search.ranking import rank, sort_key
from search.selection import cross_validated
from search.strategy import Generation
from service.connection import connect
from service.errors import Expired, FencedOut, JobNotFound
from service.jobs.queue import Claim
from service.jobs.store import JobStore
from service.schemas.job import Best, JobWarning, Point
from service.settings import Settings
from workers.jobs.scoring import Scoring

POLL_INTERVAL = 0.25
KEPT_IMAGES = 20_000_000
"""Most outcomes of single images that are kept to judge the choice by, about 10 bytes each."""
_DROPPED = Outcome("pruned", ())
_log = logging.getLogger(__name__)


class Recorder(Observer, Journal):
    """Writes points, warnings and phases as ``claim``, keeps the points, and finds outcomes in the journal.

    All methods may raise FencedOut.
    """

    def __init__(
        self,
        store: JobStore,
        claim: Claim,
        scoring: Scoring,
        names: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._store = store
        self._claim = claim
        self._scoring = scoring
        self._names = names
        self._scope = ""
        self._soups: list[EvaluationRequest] = []
        self._baselines: dict[str | None, Outcome] = {}
        self._seen: list[tuple[Weights, Outcome]] = []
        self._images_seen = 0
        self._dropped: set[str] = set()
        self.points: dict[int, Point] = {}
        self.reused = 0
        self._passes = 0
        self._first_at: float | None = None
        self._last_at = 0.0
        self._journal_bytes = 0
        self._best: Point | None = None

    def start(self, bound: int, scope: str, seconds: float | None = None) -> float:
        """Record the search's bounds and the scope of its outcomes; returns how many seconds it was searched before."""
        self._scope = scope
        searched = self._store.start(self._claim.job_id, self._claim.attempt, bound, scope, seconds=seconds)
        self.load()
        return searched

    def load(self) -> None:
        """Take over the points that earlier attempts recorded."""
        self.points = {point.index: point for point in self._store.iter_points(self._claim.job_id)}
        self._dropped = {weights_key(point.weights) for point in self.points.values() if point.pruned}
        self._best = next(iter(self.ranked()), None)

    def offer(self, baselines: Mapping[EvaluationRequest, Outcome]) -> None:
        """Count outcomes that this attempt already found as the search's own when it asks for them."""
        for request, outcome in baselines.items():
            self._baselines[journal_key(replace(request, keep_logits=False))] = outcome.without_logits()
            if all(each.logits is not None for each in outcome.sets):
                self._baselines[journal_key(replace(request, keep_logits=True))] = outcome

    def find(self, requests: Sequence[EvaluationRequest]) -> list[Outcome | None]:
        """See ``Journal``. An outcome that cannot be read, say from another version, is evaluated again.

        One with logits serves a request without. A soup that an earlier attempt at the job dropped stays dropped.
        """
        keys = [journal_key(request) for request in requests]
        fuller = [None if each.keep_logits else journal_key(replace(each, keep_logits=True)) for each in requests]
        named = list(dict.fromkeys(key for key in (*keys, *fuller) if key is not None))
        found = dict(zip(named, self._store.journalled(self._scope, named), strict=True))
        known = [
            None if key is None else self._known(key, found[key]) or self._without_logits(found.get(more or ""))
            for key, more in zip(keys, fuller, strict=True)
        ]
        return [
            _DROPPED if outcome is None and request.visit and weights_key(request.weights) in self._dropped else outcome
            for request, outcome in zip(requests, known, strict=True)
        ]

    def _without_logits(self, text: str | None) -> Outcome | None:
        outcome = self._read(text)
        return None if outcome is None else outcome.without_logits()

    def proposed(self, soups: Generation) -> None:
        """See ``Observer``."""
        self._soups += soups

    def found(self, found: Found, *, known: bool) -> None:
        """See ``Observer``."""
        outcomes: dict[int, str | None] = {}
        names: dict[int, str] = {}
        points = []
        for place, outcome in found:
            soup = self._soups[place]
            if outcome is _DROPPED:
                self.reused += 1
                continue
            points.append(self._scoring.point(soup.weights, outcome, place, soup.refinement))
            name = journal_key(soup)
            is_new = not known or self._baselines.get(name) is outcome
            if is_new and outcome.is_whole:
                outcomes[place] = None if name is None else self._kept(packed(outcome))
                names[place] = name or ""
            self.reused += not is_new
            self._keep(soup.weights, outcome)
        if not known:
            self._pace(found)
        self._record(points, outcomes, names)

    @property
    def speed(self) -> float | None:
        """Forward passes of one image a second since the first outcomes came; None before others did."""
        seconds = 0.0 if self._first_at is None else self._last_at - self._first_at
        return self._passes / seconds if self._passes and seconds > 0 else None

    def _pace(self, found: Found) -> None:
        self._last_at = self._clock()
        if self._first_at is None:
            self._first_at = self._last_at
        else:
            self._passes += sum(outcome.passes.forward for _, outcome in found)

    def warn(self, warnings: Iterable[JobWarning]) -> None:
        """Add warnings to the job."""
        for warning in warnings:
            self._store.warn(self._claim.job_id, self._claim.attempt, warning)

    def ranked(self) -> list[Point]:
        """All points with a score, best first."""
        return rank(self.points.values())

    def cross_validated(self) -> Outcome | None:
        """See ``search.selection``; None where this attempt has not seen every outcome whole, or has seen too many."""
        if len(self.tried) < len(self.points) or any(point.pruned for point in self.points.values()):
            return None
        return cross_validated(self._scoring.objectives, self.tried)

    @property
    def tried(self) -> list[tuple[Weights, Outcome]]:
        """Soups and the outcomes that this attempt has seen, without logits; empty where they are too many to keep."""
        return self._seen if self._images_seen <= KEPT_IMAGES else []

    def _keep(self, weights: Weights, outcome: Outcome) -> None:
        self._images_seen += sum(each.seen for each in outcome.sets)
        if self._images_seen <= KEPT_IMAGES:
            self._seen.append((weights, outcome.without_logits()))

    def _kept(self, text: str) -> str | None:
        """``text`` while the search's outcomes fit into the journal; what does not is evaluated again when needed."""
        if self._journal_bytes + len(text) > self._store.settings.journal_bytes:
            return None
        self._journal_bytes += len(text)
        return text

    def _known(self, key: str, text: str | None) -> Outcome | None:
        return self._read(text) or self._baselines.get(key)

    def _read(self, text: str | None) -> Outcome | None:
        if text is None:
            return None
        try:
            outcome = unpacked(text)
        except ValueError as error:
            _log.warning("the journal holds an outcome that cannot be read: %s", error)
            return None
        self._journal_bytes += len(text)
        return outcome

    def _record(self, points: list[Point], outcomes: Mapping[int, str | None], names: Mapping[int, str]) -> None:
        self.points |= {point.index: point for point in points}
        for point in rank(points)[:1]:
            if self._best is None or sort_key(point) < sort_key(self._best):
                self._best = point
        best = None if self._best is None else self._as_best(self._best)
        job_id, attempt = self._claim.job_id, self._claim.attempt
        self._store.record_points(job_id, attempt, points, best, outcomes=outcomes, names=names)

    def _as_best(self, point: Point) -> Best:
        weights = dict(zip(self._names, point.weights, strict=True))
        return Best(weights=weights, score=point.score or 0.0, nll=point.nll, violation=point.violation)


class CancelWatch:
    """A thread that sets ``cancelled`` when the user cancels.

    It also sets ``lost`` if the job no longer belongs to this attempt.

    The thread then calls ``on_cancel`` once.
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
        """Call ``callback`` on cancellation, or at once if the job is already cancelled."""
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
            try:
                callback()
            except Exception:  # noqa: BLE001 - the other callbacks must still run
                _log.exception("job %s could not be told that it is cancelled", self._claim.job_id)

    def _should_end(self, store: JobStore) -> bool:
        try:
            return store.should_cancel(self._claim.job_id, self._claim.attempt)
        except (FencedOut, JobNotFound, Expired):
            self.lost.set()
            return True
        except Exception:  # noqa: BLE001 - the thread goes on
            _log.exception("whether job %s is cancelled could not be read", self._claim.job_id)
            return False
