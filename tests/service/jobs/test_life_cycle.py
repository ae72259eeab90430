"""The life of jobs under any order of calls, by current and by superseded attempts."""

from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from service.errors import FencedOut, JobNotFinished
from service.jobs.queue import Claim
from service.jobs.store import JobStore
from service.schemas.job import Job, JobError, JobStatus
from service.schemas.result import Result
from service.settings import Settings
from tests.service.jobs.samples import SCOPE, best, error, lose_lease, point, result, submit

INDEXES = st.lists(st.integers(0, 9), min_size=1, max_size=4)
ENDINGS: dict[JobStatus, Result | JobError] = {
    JobStatus.SUCCEEDED: result(),
    JobStatus.FAILED: error(),
    JobStatus.CANCELLED: result(partial=True),
}


class JobLife(RuleBasedStateMachine):
    """Several jobs and all attempts ever made at them; the newest of each may be current, the others never are."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        super().__init__()
        prefix = f"test-{uuid4().hex[:12]}"
        self.store = JobStore(client, settings.model_copy(update={"redis_prefix": prefix, "lease": 20.0}))
        self.accepted: set[str] = set()
        self.attempts: list[Claim] = []
        self.holders: dict[str, int] = {}
        self.points: dict[str, set[int]] = {}
        self.ended: dict[str, Job] = {}
        self.paused: set[str] = set()

    def holds(self, claim: Claim) -> bool:
        return self.holders.get(claim.job_id) == claim.attempt

    def any_attempt(self, data: st.DataObject) -> Claim:
        return data.draw(st.sampled_from(self.attempts))

    def note_end(self, job_id: str) -> None:
        self.holders.pop(job_id, None)
        job = self.store.get(job_id)
        if job.is_terminal:
            self.ended[job_id] = job

    @rule()
    def submit(self) -> None:
        job_id = submit(self.store, name=f"job-{len(self.points)}")
        self.accepted.add(job_id)
        self.points[job_id] = set()

    @rule()
    def claim(self) -> None:
        before = set(self.accepted) - set(self.holders) - set(self.ended) - self.paused
        claim = self.store.claim("worker")
        assert (claim is None) == (not before)
        if claim is not None:
            assert claim.job_id in before
            assert claim not in self.attempts
            self.attempts.append(claim)
            self.holders[claim.job_id] = claim.attempt
            self.store.start(claim.job_id, claim.attempt, 10, SCOPE)

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def lease_expires(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.holders)))
        lose_lease(self.store, job_id)
        claim = self.store.claim("another")
        for each in list(self.holders):
            if each == job_id:
                self.note_end(each)
        if claim is not None:
            self.attempts.append(claim)
            self.holders[claim.job_id] = claim.attempt
            self.store.start(claim.job_id, claim.attempt, 10, SCOPE)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), indexes=INDEXES)
    def record(self, data: st.DataObject, indexes: list[int]) -> None:
        claim = self.any_attempt(data)
        known = self.points[claim.job_id]
        try:
            new = self.store.record_points(claim.job_id, claim.attempt, [point(index) for index in indexes], best())
        except FencedOut:
            assert not self.holds(claim)
            return
        assert self.holds(claim)
        assert new == len(set(indexes) - known)
        known.update(indexes)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), status=st.sampled_from(sorted(ENDINGS)))
    def finish(self, data: st.DataObject, status: JobStatus) -> None:
        claim = self.any_attempt(data)
        held = self.holds(claim)
        try:
            self.store.finish(claim.job_id, claim.attempt, status, ENDINGS[status])
        except FencedOut:
            assert not held
            return
        assert held or self.ended[claim.job_id].status is status
        self.note_end(claim.job_id)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), lost=st.booleans())
    def fail(self, data: st.DataObject, lost: bool) -> None:
        claim = self.any_attempt(data)
        held = self.holds(claim)
        try:
            again = self.store.fail_attempt(claim.job_id, claim.attempt, "killed", lost=lost).retried
        except FencedOut:
            assert not held
            return
        if held:
            self.note_end(claim.job_id)
            assert again == (claim.job_id not in self.ended)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        claim = self.any_attempt(data)
        held = self.holds(claim)
        try:
            self.store.release(claim.job_id, claim.attempt)
        except FencedOut:
            assert not held
            return
        if held:
            self.note_end(claim.job_id)
            assert claim.job_id not in self.ended

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.accepted)))
        job = self.store.cancel(job_id)
        assert job.is_terminal or job.status is JobStatus.CANCELLING
        assert job.is_terminal or job_id not in self.paused or self.points[job_id]
        self.paused.discard(job_id)
        if job.is_terminal and job_id not in self.ended:
            assert job_id not in self.holders
            self.ended[job_id] = job

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.accepted)))
        before = self.store.get(job_id).status
        job = self.store.pause(job_id)
        if job_id in self.ended or before is JobStatus.CANCELLING:
            assert job.status is before
            return
        assert job.status is JobStatus.PAUSED
        self.holders.pop(job_id, None)
        self.paused.add(job_id)

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.accepted)))
        before = self.store.get(job_id).status
        job = self.store.resume(job_id)
        assert job.status is (JobStatus.QUEUED if job_id in self.paused else before)
        self.paused.discard(job_id)

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.accepted)))
        try:
            self.store.delete(job_id)
        except JobNotFinished:
            assert job_id not in self.ended
            return
        assert job_id in self.ended
        del self.ended[job_id]
        self.accepted.remove(job_id)
        self.attempts = [claim for claim in self.attempts if claim.job_id != job_id]

    @invariant()
    def nothing_accepted_is_lost(self) -> None:
        assert {job.id for job in self.store.list(1000).items} == self.accepted
        assert sum(self.store.counts().values()) == len(self.accepted)

    @invariant()
    def each_job_waits_or_is_held_or_is_paused_or_has_ended(self) -> None:
        store = self.store
        entries: Any = store.redis.xrange(store.keys.queue)
        waiting = [entry["job"] for _, entry in entries]
        held = store.redis.zrange(store.keys.leases, 0, -1)
        assert len(waiting) == len(set(waiting))
        assert sorted([*waiting, *held, *self.paused, *self.ended]) == sorted(self.accepted)
        assert set(held) == set(self.holders)
        assert set(store.redis.lrange(store.keys.returned, 0, -1)) <= set(waiting)

    @invariant()
    def an_end_is_for_good(self) -> None:
        for job_id, job in self.ended.items():
            assert self.store.get(job_id) == job

    @invariant()
    def each_point_is_there_once(self) -> None:
        for job_id in self.accepted:
            points = list(self.store.iter_points(job_id))
            assert points == [point(index) for index in sorted(self.points[job_id])]
            assert self.store.get(job_id).progress.done == len(points)


@pytest.mark.parametrize("examples", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_no_order_of_calls_loses_or_repeats_anything(job_store: JobStore, settings: Settings, examples: int) -> None:
    class Life(JobLife):
        def __init__(self) -> None:
            super().__init__(job_store.redis, settings)

    run_state_machine_as_test(
        Life,
        settings=hypothesis_settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
