"""What a supervisor does beside its job, in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import InvalidPantry, NotFound
from service.jobs.merging import request_merge
from service.jobs.store import JobStore
from service.jobs.supervisors import SupervisorRegistry
from service.pantries.verification import request_verification
from service.settings import Settings
from tests.waiting import wait_until
from workers.supervisor.background import Background

ENTRIES: list[str | bytes] = ["not JSON", "5", "{}", '{"id": "unheard"}', "[" * 100_000, b"\xff"]
"""What no client of ours puts into a list of questions."""


@pytest.fixture
def background(settings: Settings, job_store: JobStore) -> Iterator[Background]:
    for entry in ENTRIES:
        job_store.redis.lpush(job_store.keys.checks, entry)
        job_store.redis.lpush(job_store.keys.merges, entry)
    background = Background("tested", settings)
    background.start()
    yield background
    background.stop()
    assert SupervisorRegistry(job_store.redis, job_store.keys).live() == 0


def test_malformed_questions_end_no_thread(
    background: Background, settings: Settings, job_store: JobStore, tmp_path: Path
) -> None:
    folder = tmp_path / "wrong"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(8))
    with pytest.raises(InvalidPantry):
        request_verification(job_store.redis, settings, folder)
    with pytest.raises(NotFound) as merged:
        request_merge(job_store.redis, settings, "unknown", 0)
    assert merged.value.code == "job_not_found"
    registry = SupervisorRegistry(job_store.redis, job_store.keys)
    assert wait_until(registry.live) == 1
