"""Questions that a worker answers, and what is none."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service.exchange import Exchange
from service.jobs import merging
from service.jobs.store import JobStore
from service.pantries import verification
from service.settings import Settings

MALFORMED = ["not JSON", "5", "[]", '"id"', "{}", "[" * 100_000]


@pytest.mark.parametrize("entry", MALFORMED, ids=lambda entry: entry[:8])
def test_what_is_no_question_is_dropped_with_a_line_in_the_log(
    job_store: JobStore, entry: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, questions = job_store.redis, job_store.keys.checks
    exchange = Exchange(client, questions, job_store.keys.check)
    client.lpush(questions, entry)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(exchange.ask, {"what": "is this"}, 30)
        assert exchange.answer_next(lambda question: {"never": "asked"}, 30)
        assert exchange.answer_next(lambda question: {"answer": question["what"]}, 30)
        assert asked.result(30) == {"answer": "is this"}
    (record,) = caplog.records
    assert questions in record.getMessage()
    assert len(record.getMessage()) < 1000


@pytest.mark.parametrize("question", [{}, {"folder": 5}], ids=str)
def test_a_check_of_no_folder_is_answered(job_store: JobStore, settings: Settings, question: dict[str, object]) -> None:
    exchange = Exchange(job_store.redis, job_store.keys.checks, job_store.keys.check)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(exchange.ask, question, 30)
        assert verification.answer_next(job_store.redis, settings, lambda folder: None, 30)
        answer = asked.result(30)
    assert answer is not None
    assert answer["code"] == "check_failed"


def test_a_merge_of_no_job_is_answered(job_store: JobStore, settings: Settings) -> None:
    exchange = Exchange(job_store.redis, job_store.keys.merges, job_store.keys.merge)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(exchange.ask, {}, 30)
        assert merging.answer_next(job_store.redis, settings, lambda job_id, point: None, 30)
        answer = asked.result(30)
    assert answer is not None
    assert answer["code"] == "merge_failed"
