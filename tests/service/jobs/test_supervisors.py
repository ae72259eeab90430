"""Which supervisors count as living."""

import pytest

from service.jobs.store import JobStore
from service.jobs.supervisors import SILENCE, SupervisorRegistry


@pytest.fixture
def registry(job_store: JobStore) -> SupervisorRegistry:
    return SupervisorRegistry(job_store.redis, job_store.keys)


def test_a_supervisor_lives_from_its_first_sign_until_it_leaves(registry: SupervisorRegistry) -> None:
    assert (registry.live(), registry.lives_on("host")) == (0, False)
    registry.beat("host-1-ab")
    assert (registry.live(), registry.lives_on("host"), registry.lives_on("other")) == (1, True, False)
    registry.leave("host-1-ab")
    assert registry.live() == 0


def test_a_machine_with_a_wrong_clock_lives_too(registry: SupervisorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    registry.beat("late-1-ab")
    monkeypatch.undo()
    assert registry.live() == 1


def test_a_silent_supervisor_is_gone(registry: SupervisorRegistry, job_store: JobStore) -> None:
    registry.beat("host-1-ab")
    job_store.redis.zincrby(job_store.keys.supervisors, -SILENCE - 1, "host-1-ab")
    assert (registry.live(), registry.lives_on("host")) == (0, False)
