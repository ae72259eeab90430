"""Health, readiness and measurements."""

from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.settings import Settings
from tests.service.api.checks import problem
from tests.service.api.conftest import Post
from tests.serving import running_api


@pytest.fixture
def lonely(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings without a Redis, whose connections give up soon."""
    monkeypatch.setattr("service.connection.RETRIES", 1)
    return settings.model_copy(update={"redis_url": f"unix://{tmp_path}/none.sock"})


def samples(api: httpx2.Client) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(api.get("/metrics").text)
    return {(s.name, tuple(sorted(s.labels.values()))): s.value for family in families for s in family.samples}


def test_a_live_service_says_so(api: httpx2.Client) -> None:
    checks = {"job_store": "ok", "artifact_store": "ok"}
    assert api.get("/healthz").json() == {"status": "ok"}
    assert api.get("/readyz").json() == {"status": "ready", "checks": checks, "workers": 0}


def test_without_redis_it_lives_but_is_not_ready(lonely: Settings) -> None:
    with running_api(lonely) as url, httpx2.Client(base_url=url) as client:
        assert client.get("/healthz").status_code == 200
        answer = client.get("/readyz")
        assert "job_store" in problem(answer, 503, "not_ready")["detail"]
        assert "none.sock" not in answer.text
        answer = client.get("/jobs")
        problem(answer, 503, "job_store_unavailable")
        assert answer.headers["retry-after"]
        problem(client.get("/jobs/x/events"), 503, "job_store_unavailable")
        assert client.get("/").status_code == 200
        assert samples(client)[("soupsearch_job_store_up", ())] == 0


def test_with_a_full_disk_it_is_not_ready(settings: Settings, api: httpx2.Client) -> None:
    settings.min_free_bytes = 2**60
    answer = api.get("/readyz")
    assert "artifact_store" in problem(answer, 503, "not_ready")["detail"]
    assert str(settings.data_dir) not in answer.text


def test_requests_and_jobs_are_counted(api: httpx2.Client, adapt: Post) -> None:
    job_id = adapt().json()["id"]
    api.get(f"/jobs/{job_id}")
    api.get("/jobs/none")
    api.get("/nowhere")
    counted = samples(api)
    assert counted[("soupsearch_jobs", ("queued",))] == 1
    assert counted[("soupsearch_job_store_up", ())] == 1
    assert counted[("soupsearch_jobs_accepted_total", ())] == 1
    assert counted[("soupsearch_http_requests_total", ("/jobs/{job_id}", "200", "GET"))] == 1
    assert counted[("soupsearch_http_requests_total", ("/jobs/{job_id}", "404", "GET"))] == 1
    assert counted[("soupsearch_http_requests_total", ("404", "GET", "unknown"))] == 1
    assert counted[("soupsearch_uploaded_bytes_total", ())] > 100
    assert counted[("soupsearch_artifact_free_bytes", ())] > 0


def test_methods_that_nobody_knows_share_one_label(api: httpx2.Client) -> None:
    for method in ("BREW", "WHEN", "GETS", "A" * 1000):
        assert api.request(method, "/jobs").status_code == 405
    assert api.put("/jobs").status_code == 405
    counted = {labels: count for (name, labels), count in samples(api).items() if name.endswith("requests_total")}
    assert counted == {("/jobs", "405", "other"): 4, ("/jobs", "405", "PUT"): 1}
