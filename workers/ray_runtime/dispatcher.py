"""Assigns requests to evaluators."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from search.evaluation import Bar, EvaluationRequest, Outcome, joined
from search.loop import CurrentBar, Interrupted, OnFound, no_bar
from service.errors import Unavailable
from workers.evaluation.errors import EvaluationMemoryError
from workers.ray_runtime.task import OUT_OF_MEMORY, REFUSED, STOPPED, UNPREPARED, Failure, Report

SHARES = 4
"""Batches that each evaluator gets of what is left: one that is slow then holds up little."""
LEAST_SECONDS = 0.2
"""What a batch should take at least, a few times what it costs to hand it out."""
MOST_LEAST = 4.0
"""Requests of a small batch, however short they are."""
MAX_TRIES = 3
_POLL = 0.25


@dataclass(frozen=True)
class Part:
    """A request, or some of its blocks: ``place`` is the index of the request, ``piece`` that of the part within it.

    ``share`` is that of the request's images.
    """

    place: int
    piece: int
    request: EvaluationRequest
    share: float


@dataclass(frozen=True)
class EvaluatorBatch:
    """Parts for one evaluator, whose soups must clear ``bar``; ``tries`` counts earlier attempts at them."""

    evaluator: str
    parts: tuple[Part, ...]
    tries: int = 0
    bar: Bar | None = None

    @property
    def requests(self) -> tuple[EvaluationRequest, ...]:
        """What the evaluator is asked."""
        return tuple(part.request for part in self.parts)


class Dispatcher:
    """Cuts requests into batches, gives each to the evaluator with the least to do, and puts outcomes together.

    Where requests are few, as they are at the end, their blocks of images are shared among the evaluators. Batches
    become smaller towards the end, so that evaluators finish together. The unfinished parts of a failed batch are
    retried, up to ``MAX_TRIES`` times in all. A batch carries the bar of its time; ``raise_bar`` is called with any bar
    that is raised while batches are under way.
    Thread-safe: one thread calls ``run``, others take batches and report.
    """

    def __init__(
        self, evaluators: Sequence[str], blocks: int, batch_size: int, raise_bar: Callable[[Bar], None] | None = None
    ) -> None:
        self._blocks = blocks
        self._batch_size = batch_size
        self._load: Counter[str] = Counter(dict.fromkeys(evaluators, 0))
        self._queue: deque[Part] = deque()
        self._again: deque[tuple[tuple[Part, ...], int]] = deque()
        self._batches: dict[str, EvaluatorBatch] = {}
        self._left: dict[str, set[int]] = {}
        self._parts: dict[int, list[Outcome | None]] = {}
        self._on_found: OnFound = lambda _: None
        self._current: CurrentBar = no_bar
        self._bar: Bar | None = None
        self._raise_bar = raise_bar or (lambda _: None)
        self._error: Exception | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._telling = threading.Lock()
        self._queued = self._answered = self._seconds = 0.0

    def run(
        self,
        requests: Sequence[EvaluationRequest],
        on_found: OnFound,
        check: Callable[[], None],
        bar: CurrentBar = no_bar,
    ) -> None:
        """Evaluate all requests by the callers that take batches; returns once all outcomes are reported.

        ``check`` is called while waiting and may raise. Raises Interrupted if the work was stopped, any error of
        ``on_found``, Unavailable if evaluators were lost repeatedly, EvaluationMemoryError, ValueError.
        """
        with self._changed:
            self._on_found = on_found
            self._current, self._bar = bar, bar()
            for place, request in enumerate(requests):
                pieces = self._cut(request, len(requests) - place)
                self._parts[place] = [None] * len(pieces)
                share = 1 / len(pieces)
                self._queue.extend(Part(place, index, piece, share) for index, piece in enumerate(pieces))
                self._queued += 1.0
            self._changed.notify_all()
            while self._parts and self._error is None:
                self._changed.wait(_POLL)
                check()
            if self._error is not None:
                raise self._error

    def close(self) -> None:
        """Hand out no more batches and report no more outcomes; waits for a report in progress."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with self._telling:
            self._on_found = lambda _: None

    @property
    def is_closed(self) -> bool:
        """Whether no more batches will be handed out."""
        return self._closed or self._error is not None

    def next_batch(self, batch_id: str, *, wait: bool = False) -> EvaluatorBatch | None:
        """The next batch, which becomes known as ``batch_id``; None if there is none now.

        With ``wait`` and no batch in progress, waits until there is one or the dispatcher is closed.
        """
        with self._changed:
            while True:
                if self.is_closed:
                    return None
                if self._again or self._queue:
                    return self._give(batch_id)
                if not wait or self._batches:
                    return None
                self._changed.wait(_POLL)

    def take(self, batch_id: str, report: Report) -> None:
        """Record the outcomes of a batch and report those of requests that are now complete."""
        with self._telling:
            found = []
            with self._changed:
                batch, left = self._batches.get(batch_id), self._left.get(batch_id, set())
                for index, outcome in enumerate(report.outcomes, start=report.first):
                    if batch is None or index not in left:
                        continue
                    left.remove(index)
                    self._load[batch.evaluator] -= 1
                    part = batch.parts[index]
                    pieces = self._parts[part.place]
                    pieces[part.piece] = outcome
                    self._seconds += outcome.seconds
                    self._answered += part.share
                    if all(piece is not None for piece in pieces):
                        found.append((part.place, joined([piece for piece in pieces if piece is not None])))
            if found and not self._closed:
                self._tell(found)

    def end(self, batch_id: str, failure: Failure | None = None) -> None:
        """End a batch. Its unfinished parts, if any, are handed out again unless the failure is final."""
        with self._changed:
            batch, left = self._batches.pop(batch_id, None), self._left.pop(batch_id, set())
            if batch is not None and left:
                self._load[batch.evaluator] -= len(left)
                failure = failure or Failure("points_unfinished", "an evaluator left points unfinished", retryable=True)
                # An evaluator that made room for another job is sound: its data come again, and no try is used up.
                tries = batch.tries + (failure.code != UNPREPARED)
                if not failure.retryable or tries >= MAX_TRIES:
                    self._error = self._error or _raised(failure)
                else:
                    self._again.append((tuple(batch.parts[index] for index in sorted(left)), tries))
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """Make ``run`` raise ``error``."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _tell(self, found: list[tuple[int, Outcome]]) -> None:
        try:
            self._on_found(found)
            bar = self._current()
            if bar is not None and bar != self._bar:
                self._bar = bar
                self._raise_bar(bar)
        except Exception as error:  # noqa: BLE001 - raised again by run
            self.fail(error)
            return
        with self._changed:
            for place, _ in found:
                del self._parts[place]
            self._changed.notify_all()

    def _give(self, batch_id: str) -> EvaluatorBatch:
        parts, tries = self._again.popleft() if self._again else (self._next_parts(), 0)
        evaluator = min(self._load, key=self._load.__getitem__)
        self._load[evaluator] += len(parts)
        self._batches[batch_id] = EvaluatorBatch(evaluator, parts, tries, self._bar)
        self._left[batch_id] = set(range(len(parts)))
        return self._batches[batch_id]

    def _next_parts(self) -> tuple[Part, ...]:
        count = len(self._load)
        wanted = max(min(self._least, self._queued / count), self._queued / (SHARES * count))
        parts: list[Part] = []
        while self._queue and len(parts) < self._batch_size and sum(part.share for part in parts) < wanted - 1e-9:
            parts.append(self._queue.popleft())
            self._queued -= parts[-1].share
        return tuple(parts)

    @property
    def _least(self) -> float:
        """How many requests a batch should answer at least; one until it is known how long they take."""
        if not self._answered:
            return 1.0
        return min(MOST_LEAST, LEAST_SECONDS * self._answered / max(self._seconds, 1e-9))

    def _cut(self, request: EvaluationRequest, left: int) -> list[EvaluationRequest]:
        """``request``, or pieces of it where only so many requests are ``left``."""
        first, last = request.blocks or (0, self._blocks)
        wanted = SHARES * len(self._load)
        pieces = min(last - first, -(-wanted // left)) if len(self._load) > 1 and left < wanted else 1
        if pieces <= 1 or request.refinement.changes_anything or request.visit is not None:
            return [request]
        bounds = [first + (last - first) * piece // pieces for piece in range(pieces + 1)]
        return [replace(request, blocks=each) for each in pairwise(bounds)]


def _raised(failure: Failure) -> Exception:
    if failure.code == STOPPED:
        return Interrupted()
    if failure.code == OUT_OF_MEMORY:
        return EvaluationMemoryError(failure.message)
    if failure.code == REFUSED:
        return ValueError(failure.message)
    return Unavailable(failure.message, code=failure.code) if failure.retryable else RuntimeError(failure.message)
