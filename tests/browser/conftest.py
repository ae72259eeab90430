"""A headless Chromium before the API, with a driver in place of a worker."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright

from service.artifacts import open_store
from service.jobs.store import JobStore
from service.pantries.registry import PantryRegistry
from service.settings import Settings
from tests.driving import Driver
from tests.inputs import write_ingredient
from tests.serving import running_api

NAMES = ("linf", "l2", "l1", "nominal")
TIMEOUT_MS = 120_000
SILENCE_SECONDS = 400.0
"""How long a test may keep its browser: opening a page has no timeout, and now and then Chromium never answers."""
AGAIN_IF_SILENT = pytest.mark.flaky(reruns=1, only_rerun=["TargetClosedError", "(?i)connection closed"])
"""A page that hangs the browser hangs the second one too."""
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
BLOCKED_ON_PURPOSE = "Applying inline style violates"
"""Plotly's bundle would style maps, which no page has; the policy forbids it."""


def kill_with_children(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for each in [*process.children(recursive=True), process]:
                each.kill()


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser of the test's own, killed with its driver once it is silent: what waits for it then raises."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    before = set(psutil.Process().children())
    with sync_playwright() as playwright:
        drivers = list(set(psutil.Process().children()) - before)
        watchdog = threading.Timer(SILENCE_SECONDS, kill_with_children, [drivers])
        watchdog.start()
        try:
            browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
            yield browser
            with suppress(Error):
                browser.close()
        finally:
            watchdog.cancel()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"port": 0, "lease": 600.0})


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Iterator[str]:
    """Address of an API with one pantry."""
    registry = PantryRegistry(open_store(settings), settings)
    folders = {name: write_ingredient(tmp_path / name, seed) for seed, name in enumerate(NAMES)}
    registry.add("fashion", folders, verify=lambda _: None)
    with running_api(settings) as url:
        yield url


@pytest.fixture
def driver(job_store: JobStore, settings: Settings) -> Driver:
    return Driver(job_store, settings)


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """A page of the site; nothing may be loaded from elsewhere, and nothing may go wrong in a script."""
    context = browser.new_context(base_url=site, accept_downloads=True, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    faults: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error" and BLOCKED_ON_PURPOSE not in message.text:
            faults.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith((site, "data:", "blob:")):
            faults.append(f"foreign request: {request.url}")

    page.on("console", on_console)
    page.on("request", on_request)
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    context.close()
    assert [fault for fault in faults if "422" not in fault] == []
