"""Small, valid documents for jobs."""

from service.jobs.store import JobStore, NewJob, new_job_id
from service.schemas.job import Best, JobError, Point, RequestEcho
from service.schemas.request import AdaptRequest
from service.schemas.result import Cost, MergedModel, Result
from tests.waiting import wait_until

PANTRY = "fashion"
PANTRY_DIGEST = "d" * 64
SET = "5" * 64
MODEL = "a" * 64
SCOPE = "scope"


def request_echo(pantry: str = PANTRY, set_id: str = SET) -> RequestEcho:
    return RequestEcho(
        request=AdaptRequest(pantry=pantry, adaptation_sets=[set_id]),
        pantry_digest=PANTRY_DIGEST,
        adaptation_sets=[set_id],
        ingredients=["linf", "l2"],
    )


def submit(store: JobStore, key: str | None = None, digest: str = "body", name: str = "", **echo: str) -> str:
    job = NewJob(request_echo(**echo), id=name or new_job_id())
    return store.submit(job, idempotency_key=key, body_digest=digest).job_id


def point(index: int, *, score: float = 0.5, pruned: bool = False) -> Point:
    weight = index / 10
    return Point(
        index=index, weights=[weight, 1 - weight], score=None if pruned else score, nll=1.0, pruned=pruned, images=100
    )


def best(score: float = 0.5) -> Best:
    return Best(weights={"linf": 0.4, "l2": 0.6}, score=score, nll=1.0)


def result(*, model: str = MODEL, partial: bool = False) -> Result:
    return Result(
        weights={"linf": 0.4, "l2": 0.6},
        metric="accuracy",
        score=0.5,
        partial=partial,
        top=[],
        cost=Cost(evaluations=1, images=100, forward_passes=100, grid_forward_passes=100, seconds=1.0),
        model=MergedModel(sha256=model, bytes=10, url="/model"),
    )


def error(code: str = "invalid_pantry") -> JobError:
    return JobError(code=code, message="the pantry is gone: add it again")


def lose_lease(store: JobStore, job_id: str) -> None:
    """Let the lease run out, on a server that has run for longer than a lease."""
    wait_until(lambda: store.redis.info("server")["uptime_in_seconds"] > store.settings.lease + 1, 60)
    store.redis.zadd(store.keys.leases, {job_id: 1})
