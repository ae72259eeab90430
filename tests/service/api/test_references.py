"""What is in use stays, and what is not goes, whatever happens between the steps of a request."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.api.admission import admit
from service.api.services import Services
from service.errors import DeletedMeanwhile, InUse, QuotaExceeded
from service.jobs.store import JobStore
from service.schemas.pantry import Pantry
from service.schemas.request import AdaptRequest
from service.settings import Settings
from tests.inputs import image_zip

PATIENCE = 60.0

BeforeSubmitting = Callable[[Services, Callable[[], object]], None]


@pytest.fixture
def use(settings: Settings, pantry: Pantry, job_store: JobStore) -> Services:
    return Services(settings)


@pytest.fixture
def other(settings: Settings, use: Services) -> Services:
    """Another API process."""
    return Services(settings.model_copy())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "set.zip"
    path.write_bytes(image_zip())
    return path


@pytest.fixture
def before_submitting(monkeypatch: pytest.MonkeyPatch) -> BeforeSubmitting:
    """Has something happen once a request of some process is checked and its set is stored."""

    def hook(use: Services, happen: Callable[[], object]) -> None:
        submit = use.jobs.submit

        def late(*arguments: Any, **options: Any) -> Any:
            happen()
            return submit(*arguments, **options)

        monkeypatch.setattr(use.jobs, "submit", late)

    return hook


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Puts the clock forward by some seconds."""
    shift, now, now_ns = [0.0], time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + shift[0])
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(shift[0] * 1e9))

    def forward(seconds: float) -> None:
        shift[0] += seconds

    return forward


def request(*sets: str) -> AdaptRequest:
    return AdaptRequest(pantry="fashion", adaptation_sets=list(sets) or None)


def end(use: Services, job_id: str) -> None:
    use.jobs.cancel(job_id)
    use.jobs.delete(job_id)


def sweep(use: Services) -> None:
    use.artifacts.sweep(use.jobs.in_use())


def images_of(use: Services, set_id: str) -> int:
    return len(list(use.sets.open(set_id).images()))


@pytest.mark.parametrize("by_id", [False, True])
def test_a_refused_upload_leaves_its_set_to_another_request_for_it(
    *,
    use: Services,
    other: Services,
    archive: Path,
    before_submitting: BeforeSubmitting,
    by_id: bool,
) -> None:
    stored, wanted, refused = threading.Event(), threading.Event(), threading.Event()
    use.settings.max_queued_jobs = 1
    more = archive.with_name("more.zip")
    more.write_bytes(image_zip(seed=5))
    admit(other, request(), more, None)

    def wait_for_the_second() -> None:
        stored.set()
        assert wanted.wait(PATIENCE)

    def wait_for_the_refusal() -> None:
        wanted.set()
        assert refused.wait(PATIENCE)

    before_submitting(use, wait_for_the_second)
    before_submitting(other, wait_for_the_refusal)

    def second() -> None:
        assert stored.wait(PATIENCE)
        newest = other.sets.list()[0].id
        jobs.append(admit(other, request(newest) if by_id else request(), None if by_id else archive, None))

    jobs: list[Any] = []
    thread = threading.Thread(target=second)
    thread.start()
    with pytest.raises(QuotaExceeded):
        admit(use, request(), archive, None)
    refused.set()
    thread.join(PATIENCE)
    (job,) = jobs
    assert images_of(other, job.request.adaptation_sets[0]) == 6


def test_a_refused_upload_leaves_nothing(use: Services, archive: Path, tmp_path: Path) -> None:
    job = admit(use, request(), archive, None)
    use.settings.max_queued_jobs = 1
    more = tmp_path / "more.zip"
    more.write_bytes(image_zip(seed=5))
    for path in (archive, more):
        with pytest.raises(QuotaExceeded):
            admit(use, request(), path, None)
    assert [entry.digest for entry in use.artifacts.entries("sets")] == job.request.adaptation_sets


def test_an_accepted_job_keeps_its_set_though_the_answer_was_lost(
    use: Services, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = use.jobs.submit

    def lose_the_answer(*arguments: Any, **options: Any) -> None:
        submit(*arguments, **options)
        raise ConnectionError

    monkeypatch.setattr(use.jobs, "submit", lose_the_answer)
    with pytest.raises(ConnectionError):
        admit(use, request(), archive, None)
    (job,) = use.jobs.list().items
    assert images_of(use, job.request.adaptation_sets[0]) == 6


def test_what_is_deleted_before_the_job_is_made_refuses_it(
    use: Services, other: Services, archive: Path, before_submitting: BeforeSubmitting
) -> None:
    set_id = use.sets.add(archive).id
    before_submitting(use, lambda: other.sets.delete(set_id, other.jobs.deletion))
    with pytest.raises(DeletedMeanwhile, match="adaptation set"):
        admit(use, request(set_id), None, None)
    assert use.jobs.list().items == []


def test_a_pantry_deleted_before_the_job_is_made_refuses_it(
    use: Services, other: Services, archive: Path, before_submitting: BeforeSubmitting
) -> None:
    before_submitting(use, lambda: other.pantries.delete("fashion", other.jobs.deletion))
    with pytest.raises(DeletedMeanwhile, match="pantry"):
        admit(use, request(), archive, None)
    assert use.jobs.list().items == []
    assert use.artifacts.entries("sets") == []


def test_what_a_waiting_job_needs_is_not_deleted(use: Services, other: Services, archive: Path) -> None:
    set_id = use.sets.add(archive).id
    admit(use, request(set_id), None, None)
    for delete, name in ((other.sets.delete, set_id), (other.pantries.delete, "fashion")):
        with pytest.raises(InUse):
            delete(name, other.jobs.deletion)
    assert images_of(use, set_id) == 6
    assert len(use.pantries.open("fashion").folders) == 4


def test_a_set_may_be_stored_again_after_a_deletion(use: Services, archive: Path) -> None:
    for _ in range(3):
        set_id = use.sets.add(archive).id
        use.sets.delete(set_id, use.jobs.deletion)
    job = admit(use, request(use.sets.add(archive).id), None, None)
    assert images_of(use, job.request.adaptation_sets[0]) == 6


@pytest.mark.parametrize("by_id", [False, True])
def test_a_sweep_between_check_and_job_takes_nothing(
    *,
    use: Services,
    other: Services,
    archive: Path,
    before_submitting: BeforeSubmitting,
    later: Callable[[float], None],
    by_id: bool,
) -> None:
    earlier = admit(use, request(), archive, None)
    (set_id,) = earlier.request.adaptation_sets
    end(use, earlier.id)
    later(use.settings.staging_ttl + 1)

    before_submitting(use, lambda: sweep(other))
    admit(use, request(set_id) if by_id else request(), None if by_id else archive, None)
    assert images_of(use, set_id) == 6


def test_a_set_that_came_with_a_job_goes_with_it_and_a_stored_one_stays(
    use: Services, archive: Path, tmp_path: Path, later: Callable[[float], None]
) -> None:
    more = tmp_path / "more.zip"
    more.write_bytes(image_zip(seed=5))
    stored = use.sets.add(more).id
    job = admit(use, request(), archive, None)
    (with_job,) = job.request.adaptation_sets
    use.jobs.cancel(job.id)
    later(use.settings.staging_ttl + 1)
    sweep(use)
    assert {entry.digest for entry in use.artifacts.entries("sets")} == {stored, with_job}

    use.jobs.delete(job.id)
    sweep(use)
    assert [entry.digest for entry in use.artifacts.entries("sets")] == [stored]
    assert [pantry.name for pantry in use.pantries.list()] == ["fashion"]
    assert len(use.pantries.open("fashion").folders) == 4


def test_a_set_that_came_with_a_job_and_was_then_stored_stays(
    use: Services, archive: Path, later: Callable[[float], None]
) -> None:
    job = admit(use, request(), archive, None)
    assert [use.sets.add(archive).id] == job.request.adaptation_sets
    end(use, job.id)
    later(use.settings.staging_ttl + 1)
    sweep(use)
    assert [entry.digest for entry in use.artifacts.entries("sets")] == job.request.adaptation_sets
