"""Points of a job, and the journal of outcomes, shared by jobs and attempts with the same scope."""

import json
from collections.abc import Iterator, Mapping, Sequence

from search.evaluation import Weights, weights_key
from service.errors import NotFound
from service.jobs.records import Records
from service.schemas.job import Best, JobWarning, Point, PointPage
from service.schemas.result import MergedModel

PAGE = 1000
POINTS_AT_ONCE = 500
"""Most points that one script records, or outcomes that one command reads; other clients wait meanwhile."""


class JobJournal(Records):
    """Writes by a job's child process while it searches, and reads of its points.

    The journal keeps outcomes, packed as text, and outlives jobs (``settings.journal_ttl``). Its scope is a digest over
    everything besides the request that can change an outcome, so that no soup is evaluated twice. It holds only
    complete outcomes.
    """

    def start(self, job_id: str, attempt: int, total_points: int, scope: str, *, seconds: float | None = None) -> float:
        """Record the size of the search and the journal's scope before the first point. Raises FencedOut.

        Drops points that an earlier attempt recorded in another scope (say, on other hardware), because a job must
        rank only soups that were evaluated in the same way. ``seconds`` limits the search over all attempts, for the
        estimate of its end. Returns the seconds that earlier attempts searched in this
        scope.
        """
        limit = "" if seconds is None else round(1000 * seconds)
        return float(self._write("start", job_id, attempt, total_points, scope, limit)[0]) / 1000

    def record_points(
        self,
        job_id: str,
        attempt: int,
        points: Sequence[Point],
        best: Best | None = None,
        *,
        outcomes: Mapping[int, str | None] | None = None,
        names: Mapping[int, str] | None = None,
    ) -> int:
        """Add points to the job with counters, events and the best so far, and ``outcomes`` by index to the journal.

        ``names`` of outcomes, by index, are those of ``journal_key``; by default those of plain soups.
        A point in ``outcomes`` was just evaluated, even if its outcome is None and not kept. A point that is not there
        came from the journal; it counts as done, but not in the passes or the rate. Pruned points count as done, as
        pruned and in the passes. One step records at most ``POINTS_AT_ONCE`` points. Returns the number of points that
        are new to the job (0 if the call is repeated after a lost answer); a point recorded before, by any attempt,
        changes nothing.
        Raises FencedOut, and ValueError before ``start``.
        """
        document = "" if best is None else best.model_dump_json()
        outcomes, names = outcomes or {}, names or {}
        recorded = 0
        for first in range(0, len(points), POINTS_AT_ONCE):
            arguments: list[str | int] = []
            for point in points[first : first + POINTS_AT_ONCE]:
                kind = "pruned" if point.pruned else "evaluated" if point.index in outcomes else "known"
                soup = weights_key(point.weights)
                arguments += [soup, names.get(point.index, soup), point.index, point.images, point.backward, kind]
                arguments += [point.model_dump_json(), outcomes.get(point.index) or ""]
            ttl = self.settings.journal_ttl
            recorded += int(self._write("record", job_id, attempt, ttl, document, *arguments)[0])
        return recorded

    def warn(self, job_id: str, attempt: int, warning: JobWarning) -> None:
        """Add a warning to the job unless it already has it. Raises FencedOut."""
        self._write("warn", job_id, attempt, warning.model_dump_json())

    def journalled(self, scope: str, keys: Sequence[str]) -> list[str | None]:
        """The packed outcome of each ``journal_key`` in a scope, or None if there is none."""
        journal = self.keys.journal(scope)
        chunks = (keys[first : first + POINTS_AT_ONCE] for first in range(0, len(keys), POINTS_AT_ONCE))
        texts = [text for chunk in chunks for text in self.redis.hmget(journal, list(chunk))]
        return [None if text is None else str(text) for text in texts]

    def note_speed(self, kind_of_work: str, passes_per_second: float) -> None:
        """Remember how fast a search went, for ``settings.journal_ttl``."""
        self.redis.set(self.keys.speed(kind_of_work), passes_per_second, ex=self.settings.journal_ttl)

    def speed(self, kind_of_work: str) -> float | None:
        """Forward passes of one image a second in the last search of a kind, if it is remembered."""
        speed = self.redis.get(self.keys.speed(kind_of_work))
        return None if speed is None else float(speed)

    def points(self, job_id: str, *, after: int | None = None, limit: int = 100) -> PointPage:
        """At most ``limit`` points with an index greater than ``after``, by index. Raises JobNotFound, Expired."""
        if not self.redis.exists(self.keys.job(job_id)):
            self._raise_missing(job_id)
        least = "-inf" if after is None else f"({after}"
        order = self.redis.zrange(
            self.keys.order(job_id),
            least,
            "+inf",
            byscore=True,
            offset=0,
            num=limit + 1,
        )
        names = [str(name) for name in order]
        if not names:
            return PointPage(items=[])
        documents = self.redis.hmget(self.keys.points(job_id), names[:limit])
        items = [Point.model_validate_json(document) for document in documents if document is not None]
        more = len(names) > limit and bool(items)
        return PointPage(items=items, next=items[-1].index if more else None)

    def point(self, job_id: str, index: int) -> Point:
        """The point of this index. Raises NotFound (``point_not_found``), JobNotFound, Expired."""
        page = self.points(job_id, after=index - 1, limit=1)
        if not page.items or page.items[0].index != index:
            msg = f"job {job_id} has no point {index}: GET /jobs/{job_id}/points lists them"
            raise NotFound(msg, param="point", code="point_not_found")
        return page.items[0]

    def earlier(self, job_id: str) -> list[Weights]:
        """The soups of an earlier job from which this one goes on, in the order of that search."""
        text = self.redis.get(self.keys.earlier(job_id))
        return [] if text is None else [tuple(soup) for soup in json.loads(text)]

    def best_point(self, job_id: str) -> Point | None:
        """The point of the best soup so far, if there is one."""
        best = self.redis.hget(self.keys.job(job_id), "best")
        if best is None:
            return None
        soup = weights_key(list(Best.model_validate_json(best).weights.values()))
        document = self.redis.hget(self.keys.points(job_id), soup)
        return None if document is None else Point.model_validate_json(document)

    def merged_model(self, job_id: str, point: int) -> MergedModel | None:
        """The model that was merged from a point on demand, if any."""
        document = self.redis.hget(self.keys.job_models(job_id), str(point))
        return None if document is None else MergedModel.model_validate_json(document)

    def count_kept_models(self, job_id: str) -> int:
        """Number of models that the job has besides its result's."""
        return int(self.redis.hlen(self.keys.job_models(job_id)))

    def keep_model(self, job_id: str, point: Point, model: MergedModel) -> None:
        """Add the model of a point, which is in the artifact store, to the job, so that it stays as long as the point.

        Raises JobNotFound, Expired, and NotFound (``point_not_found``) for a point that the job has dropped meanwhile.
        """
        soup = weights_key(point.weights)
        outcome, _ = self._scripts.run("keep", job_id, point.index, soup, model.sha256, model.model_dump_json())
        if outcome == "missing":
            self._raise_missing(job_id)
        if outcome == "dropped":
            msg = f"job {job_id} has dropped point {point.index}, and begins its search again"
            raise NotFound(msg, param="point", code="point_not_found")

    def iter_points(self, job_id: str) -> Iterator[Point]:
        """All points by index, read page by page. Raises JobNotFound, Expired."""
        page = self.points(job_id, limit=PAGE)
        yield from page.items
        while page.next is not None:
            page = self.points(job_id, after=page.next, limit=PAGE)
            yield from page.items
