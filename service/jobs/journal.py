"""Points: of one job, and in the journal that jobs and attempts of the same scope share."""

from collections.abc import Iterator, Sequence

from service.errors import NotFound
from service.jobs.keys import weights_key
from service.jobs.records import Records
from service.schemas.job import Best, JobWarning, Point, PointPage
from service.schemas.result import MergedModel

PAGE = 1000


class JobJournal(Records):
    """What a job's child process writes while it searches, and how its points are read.

    The journal outlives jobs (``settings.journal_ttl``): its scope is a digest over all that a score depends on
    besides the weights, so that the same soup is never evaluated twice. Pruned points are not in it.
    """

    def start(self, job_id: str, attempt: int, total_points: int, scope: str) -> None:
        """State the size of the search and the journal's scope before the first point. Raises FencedOut."""
        self._write("start", job_id, attempt, total_points, scope)

    def record_points(self, job_id: str, attempt: int, points: Sequence[Point], best: Best | None = None) -> int:
        """Add points to the job and the journal, with counters, events and the best so far, in one step.

        Returns how many the job did not have yet (0 when the call was made again after a lost answer); a point
        recorded before, by any attempt, changes nothing. Points that the journal already held count as done, but
        in no count of passes nor in the rate; pruned ones count as done and as pruned. Raises FencedOut, and
        ValueError before ``start``.
        """
        arguments: list[str | int] = []
        for point in points:
            arguments += [weights_key(point.weights), point.index, point.images, point.backward, int(point.pruned)]
            arguments.append(point.model_dump_json())
        document = "" if best is None else best.model_dump_json()
        return int(self._write("record", job_id, attempt, self.settings.journal_ttl, document, *arguments)[0])

    def warn(self, job_id: str, attempt: int, warning: JobWarning) -> None:
        """Add a warning to the job; one that it has already is not added again. Raises FencedOut."""
        self._write("warn", job_id, attempt, warning.model_dump_json())

    def journalled(self, scope: str) -> dict[str, Point]:
        """All points of a scope by weights key; their ``index`` is that of the search which evaluated them."""
        documents = self.redis.hgetall(self.keys.journal(scope))
        return {str(key): Point.model_validate_json(document) for key, document in documents.items()}

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

    def merged_model(self, job_id: str, point: int) -> MergedModel | None:
        """The model that was merged of a point on demand, if it was."""
        document = self.redis.hget(self.keys.job_models(job_id), str(point))
        return None if document is None else MergedModel.model_validate_json(document)

    def count_kept_models(self, job_id: str) -> int:
        """How many models the job has beside its result's."""
        return int(self.redis.hlen(self.keys.job_models(job_id)))

    def keep_model(self, job_id: str, point: int, model: MergedModel) -> None:
        """Name the model of a point, which is in the artifact store, in the job: it stays as long as the job.

        Raises JobNotFound, Expired.
        """
        outcome, _ = self._scripts.run("keep", job_id, point, model.sha256, model.model_dump_json())
        if outcome == "missing":
            self._raise_missing(job_id)

    def iter_points(self, job_id: str) -> Iterator[Point]:
        """All points by index, read page by page. Raises JobNotFound, Expired."""
        page = self.points(job_id, limit=PAGE)
        yield from page.items
        while page.next is not None:
            page = self.points(job_id, after=page.next, limit=PAGE)
            yield from page.items
