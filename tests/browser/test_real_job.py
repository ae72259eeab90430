"""A real job, from the form on the page to the downloaded model."""

import hashlib
from pathlib import Path

import httpx2
import pytest
import timm
from playwright.sync_api import Browser, expect
from safetensors.torch import load_file

from tests.browser.conftest import AGAIN_IF_SILENT, TIMEOUT_MS
from tests.live import ROOT, LiveService

pytestmark = [pytest.mark.slow, AGAIN_IF_SILENT]
ADAPTATION_SET = ROOT / "examples/sets/fashion-gaussian-noise/adaptation.zip"
JOB_TIMEOUT_MS = 300_000


def test_a_user_finds_a_soup_without_leaving_the_page(browser: Browser, service: LiveService, tmp_path: Path) -> None:
    context = browser.new_context(base_url=service.url, accept_downloads=True, viewport={"width": 1280, "height": 1500})
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.goto("/")
    page.select_option("#pantry", "fashion")
    page.set_input_files("#file", ADAPTATION_SET)
    page.click("#start")
    page.wait_for_url("**/view", wait_until="commit")
    expect(page.locator("#status")).to_have_text("succeeded", timeout=JOB_TIMEOUT_MS)
    expect(page.locator("#top-table tbody tr")).to_have_count(5)
    expect(page.locator("#against-table")).to_contain_text("nominal")

    job = httpx2.get(page.url.removesuffix("/view")).json()
    expect(page.locator("#verdict")).to_have_text(job["result"]["summary"])
    expect(page.locator("#facts")).to_contain_text(f"{100 * job['result']['metrics']['accuracy']:.1f} %")
    expect(page.locator("#against-table")).to_contain_text("adapted statistics")
    with page.expect_download() as downloading:
        page.click("#download")
    saved = tmp_path / "model.safetensors"
    downloading.value.save_as(saved)
    assert hashlib.sha256(saved.read_bytes()).hexdigest() == job["result"]["model"]["sha256"]
    folder = ROOT / "examples/pantries/fashion-resnet/linf"
    model = timm.create_model(f"local-dir:{folder}", pretrained=False)
    model.load_state_dict(load_file(saved))
    page.screenshot(path=tmp_path / "job.png", full_page=True)
    context.close()
