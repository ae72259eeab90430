"""A client of the HTTP API, which the command line and the demo use."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import httpx2

from service.schemas.adaptation_set import AdaptationSet
from service.schemas.estimate import CostEstimate
from service.schemas.job import Job, JobPage, Point, PointPage
from service.schemas.pantry import Pantry, PantryList
from service.schemas.problem import Problem

CHUNK = 2**20
DOWNLOAD_TIMEOUT = 300.0
"""Seconds; a worker may have to merge the soup first."""
PointName = int | Literal["best"]
"""The index of a soup that a job has tried, or the best of them so far."""


class ApiError(Exception):
    """The API refused a call: ``problem`` says what is wrong and what to change."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.title}: {problem.detail}")
        self.problem = problem


class UnreachableError(Exception):
    """No service answers at the URL."""


class Client:
    """Calls a soupsearch service. Methods raise ApiError for a problem and UnreachableError if no service answers."""

    def __init__(self, url: str = "http://127.0.0.1:8000", timeout: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx2.Client(base_url=self.url, timeout=httpx2.Timeout(timeout, write=None))

    def __enter__(self) -> Self:
        """Use as a context manager to close the connections."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ready(self) -> bool:
        """Whether the service is up and a worker would run a job."""
        try:
            answer = self._http.get("/readyz")
        except httpx2.TransportError:
            return False
        return answer.status_code == httpx2.codes.OK and answer.json()["workers"] > 0

    def adapt(
        self, request: Mapping[str, Any], adaptation_set: Path | None = None, idempotency_key: str | None = None
    ) -> Job:
        """Start a job, either with an archive to upload or with ``adaptation_sets`` named in the request."""
        return self._begin("/adapt", request, adaptation_set, idempotency_key)

    def suggest_labels(self, request: Mapping[str, Any], adaptation_set: Path | None = None) -> Job:
        """Start a job that names the images to label next; the arguments are those of ``adapt``."""
        return self._begin("/suggest-labels", request, adaptation_set, None)

    def _begin(
        self, path: str, request: Mapping[str, Any], adaptation_set: Path | None, idempotency_key: str | None
    ) -> Job:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        if adaptation_set is None:
            return Job.model_validate(self._call("POST", path, json=dict(request), headers=headers))
        with adaptation_set.open("rb") as file:
            files = _parts(request, "adaptation_set", adaptation_set.name, file)
            return Job.model_validate(self._call("POST", path, files=files, headers=headers))

    def estimate(self, request: Mapping[str, Any], adaptation_set: Path | None = None) -> CostEstimate:
        """What the job of ``adapt`` would cost; the service keeps nothing."""
        if adaptation_set is None:
            return CostEstimate.model_validate(self._call("POST", "/adapt?dry_run=true", json=dict(request)))
        with adaptation_set.open("rb") as file:
            files = _parts(request, "adaptation_set", adaptation_set.name, file)
            return CostEstimate.model_validate(self._call("POST", "/adapt?dry_run=true", files=files))

    def add_set(self, archive: Path, label_map: Mapping[str, Any] | None = None) -> AdaptationSet:
        """Store an adaptation set for later jobs."""
        request = {"label_map": dict(label_map)} if label_map else {}
        with archive.open("rb") as file:
            files = _parts(request, "adaptation_set", archive.name, file)
            return AdaptationSet.model_validate(self._call("POST", "/adaptation-sets", files=files))

    def job(self, job_id: str) -> Job:
        """The job as it is now."""
        return Job.model_validate(self._call("GET", f"/jobs/{job_id}"))

    def jobs(self, limit: int = 50, after: str | None = None, status: str | None = None) -> JobPage:
        """A page of jobs, newest first."""
        params = {"limit": limit, "after": after, "status": status}
        known = {key: value for key, value in params.items() if value is not None}
        return JobPage.model_validate(self._call("GET", "/jobs", params=known))

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop. What it has found so far is kept."""
        return Job.model_validate(self._call("POST", f"/jobs/{job_id}/cancel"))

    def pause(self, job_id: str) -> Job:
        """Put a job aside, with what it has found, until it is resumed."""
        return Job.model_validate(self._call("POST", f"/jobs/{job_id}/pause"))

    def resume(self, job_id: str) -> Job:
        """Let a paused job wait for its turn again."""
        return Job.model_validate(self._call("POST", f"/jobs/{job_id}/resume"))

    def delete(self, job_id: str) -> None:
        """Remove a job that has ended."""
        self._call("DELETE", f"/jobs/{job_id}")

    def points(self, job_id: str) -> Iterator[Point]:
        """Every soup tried, in the order of the search."""
        after: int | None = None
        while True:
            params = {"limit": 1000} | ({} if after is None else {"after": after})
            page = PointPage.model_validate(self._call("GET", f"/jobs/{job_id}/points", params=params))
            yield from page.items
            if page.next is None:
                return
            after = page.next

    def watch(self, job_id: str, interval: float = 0.5) -> Iterator[Job]:
        """Yield the job whenever it has changed, until it has ended. Survives a restart of the service."""
        etag = ""
        failures = 0
        while True:
            try:
                answer = self._http.get(f"/jobs/{job_id}", headers={"If-None-Match": etag} if etag else {})
                failures = 0
            except httpx2.TransportError as error:
                failures += 1
                if failures * interval > 60:
                    raise UnreachableError(f"no service has answered at {self.url} for a minute") from error
                time.sleep(interval)
                continue
            if answer.status_code != httpx2.codes.NOT_MODIFIED:
                job = Job.model_validate(_checked(answer))
                etag = answer.headers.get("etag", "")
                yield job
                if job.is_terminal:
                    return
            time.sleep(interval)

    def download_model(self, job_id: str, target: Path, point: PointName | None = None) -> str:
        """Write the merged ``model.safetensors`` to ``target``, check it against its sha256 and return that.

        ``point`` names a soup other than the result's, also of a job that runs; a worker merges it first.
        """
        return self._download(f"/jobs/{job_id}/model" + ("" if point is None else f"?point={point}"), target)

    def download_timm(self, job_id: str, target: Path, point: PointName | None = None) -> None:
        """Write the zip of a folder that ``timm.create_model("local-dir:...")`` loads to ``target``."""
        self._download(f"/jobs/{job_id}/model?format=timm" + ("" if point is None else f"&point={point}"), target)

    def pantries(self) -> list[Pantry]:
        """All pantries."""
        return PantryList.model_validate(self._call("GET", "/pantries")).items

    def pantry(self, name: str) -> Pantry:
        """One pantry."""
        return Pantry.model_validate(self._call("GET", f"/pantries/{name}"))

    def add_pantry(self, request: Mapping[str, Any], archive: Path) -> Pantry:
        """Upload an archive with one timm folder for each ingredient."""
        with archive.open("rb") as file:
            files = _parts(request, "pantry", archive.name, file)
            return Pantry.model_validate(self._call("POST", "/pantries", files=files, timeout=None))

    def remove_pantry(self, name: str) -> None:
        """Remove a pantry that no unfinished job uses."""
        self._call("DELETE", f"/pantries/{name}")

    def _download(self, path: str, target: Path) -> str:
        """Write to a file beside ``target`` and rename it: an existing file stays until the download is complete."""
        digest = hashlib.sha256()
        part = target.with_name(f"{target.name}.part")
        try:
            with self._http.stream("GET", path, timeout=DOWNLOAD_TIMEOUT) as answer:
                if answer.is_error:
                    answer.read()
                    _checked(answer)
                with part.open("wb") as file:
                    for chunk in answer.iter_bytes(CHUNK):
                        digest.update(chunk)
                        file.write(chunk)
                _check_digest(answer, digest.hexdigest())
            part.replace(target)
        except httpx2.TransportError as error:
            raise UnreachableError(f"the download from {self.url} broke off: {error}; try again") from error
        finally:
            part.unlink(missing_ok=True)
        return digest.hexdigest()

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            return _checked(self._http.request(method, path, **arguments))
        except httpx2.TransportError as error:
            raise UnreachableError(
                f"no service answers at {self.url} ({error}): start one with `soupsearch serve`, or pass --url"
            ) from error


def _check_digest(answer: httpx2.Response, digest: str) -> None:
    expected = answer.headers.get("etag", "").strip('"')
    if len(expected) == hashlib.sha256().digest_size * 2 and digest != expected:
        raise UnreachableError(f"the download has sha256 {digest}, not {expected}: try again")


def _parts(request: Mapping[str, Any], field: str, name: str, file: BinaryIO) -> list[tuple[str, tuple[Any, ...]]]:
    document = json.dumps(dict(request))
    return [("request", (None, document, "application/json")), (field, (name, file, "application/octet-stream"))]


def _checked(answer: httpx2.Response) -> Any:
    if not answer.is_error:
        return answer.json() if answer.content else None
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        raise ApiError(Problem.model_validate(answer.json()))
    raise ApiError(
        Problem(
            type="about:blank",
            title=answer.reason_phrase,
            status=answer.status_code,
            code="not_soupsearch",
            detail=f"{answer.url} answered {answer.status_code}, but the answer is not from soupsearch: check the URL",
        )
    )
