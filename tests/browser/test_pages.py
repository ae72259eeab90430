"""The pages as a user sees them."""

import hashlib
import zipfile
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FilePayload, Page, expect

from service.jobs.store import JobStore
from service.schemas.objective import Constraint
from service.schemas.result import ConstraintOutcome, FrontSoup, Score
from tests.browser.conftest import AGAIN_IF_SILENT, TIMEOUT_MS
from tests.driving import Driver
from tests.inputs import image_zip

pytestmark = [pytest.mark.slow, AGAIN_IF_SILENT]
expect.set_options(timeout=TIMEOUT_MS)

FITS = """() => {
  const plots = [...document.querySelectorAll(".plot")].filter((plot) => plot.clientWidth);
  const inside = (plot) => plot.querySelector(".main-svg").clientWidth <= plot.clientWidth;
  return plots.length === 3 && plots.every(inside) && document.documentElement.scrollWidth <= innerWidth;
}"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "shifted.zip"
    path.write_bytes(image_zip())
    return path


def start_job(page: Page, archive: Path) -> None:
    """Start a job of the paper's protocol by the form; ends on the job's page."""
    page.goto("/")
    expect(page.locator("#pantry")).to_have_value("fashion")
    page.set_input_files("#file", archive)
    expect(page.locator("#chosen")).to_contain_text(archive.name)
    page.click("#adapt summary")
    page.select_option("#preset", "paper")
    page.click("#start")
    page.wait_for_url("**/view", wait_until="commit")


def test_a_job_is_followed_from_the_form_to_its_download(
    page: Page, archive: Path, driver: Driver, tmp_path: Path
) -> None:
    start_job(page, archive)
    expect(page.locator("#status")).to_have_text("queued")
    expect(page.locator("#pace")).to_contain_text("next to run")

    driver.start()
    expect(page.locator("#pace")).to_contain_text("Preparing")
    driver.warn("chance_level", "ingredient nominal scores 11 %: check its label names")
    driver.record(96)
    expect(page.locator("#status")).to_have_text("running")
    expect(page.locator("#pace")).to_contain_text("96 of 480 soups")
    expect(page.locator("#warnings li")).to_have_text("ingredient nominal scores 11 %: check its label names")
    expect(page.locator("#best")).to_contain_text(f"{100 * driver.best().score:.1f} %")
    expect(page.locator("#top-plot .barlayer .trace")).to_have_count(4)
    expect(page.locator("#result")).to_be_hidden()

    driver.record()
    result = driver.succeed()
    expect(page.locator("#status")).to_have_text("succeeded")
    expect(page.locator("#verdict")).to_have_text(result.summary)
    expect(page.locator("#top-table tbody tr")).to_have_count(5)
    expect(page.locator("#top-table tbody tr").first.locator("td").first).to_have_text(str(driver.ranked()[0].index))
    expect(page.locator("#against-table tbody tr")).to_have_count(9)
    expect(page.locator("#against-plot .scatterlayer .trace")).to_have_count(2)
    for number, (name, held_out) in enumerate([("the soup", "85.0 %"), ("softmax ensemble", "79.0 %")]):
        row = page.locator("#against-table tbody tr").nth(8 * number)
        expect(row).to_contain_text(name)
        expect(row).to_contain_text(held_out)
    expect(page.locator("#search-plot .scatterlayer .trace")).to_have_count(2)
    expect(page.locator("#cancel")).to_be_hidden()

    with page.expect_download() as downloading:
        page.click("#download")
    saved = downloading.value.path()
    assert downloading.value.suggested_filename.endswith(".safetensors")
    assert hashlib.sha256(saved.read_bytes()).hexdigest() == result.model.sha256

    with page.expect_download() as downloading:
        page.click("#download-timm")
    with zipfile.ZipFile(downloading.value.path()) as packed:
        assert sorted(packed.namelist()) == ["config.json", "model.safetensors"]


def test_plots_stay_in_their_cards(page: Page, archive: Path, driver: Driver) -> None:
    start_job(page, archive)
    driver.start()
    driver.record()
    driver.succeed()
    page.reload()
    expect(page.locator("#search-plot .scatterlayer .trace")).to_have_count(2)
    page.wait_for_function(FITS)
    for width in (700, 400, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(FITS)


def front_of(driver: Driver) -> list[FrontSoup]:
    """Three soups that trade accuracy for robustness."""
    points = driver.ranked()[:3]
    return [
        FrontSoup(
            weights=driver.named(point.weights),
            score=0.9 - place / 10,
            nll=point.nll,
            metrics={"accuracy": 0.9 - place / 10, "Linf:0.1": 0.2 + place / 5},
            objectives={"clean": 0.9 - place / 10, "robust": 0.2 + place / 5},
            point=point.index,
        )
        for place, point in enumerate(points)
    ]


def test_a_soup_is_chosen_from_the_front_by_keyboard_and_in_the_plot(page: Page, archive: Path, driver: Driver) -> None:
    start_job(page, archive)
    driver.start()
    driver.record(48)
    front = front_of(driver)
    driver.succeed(front=front, objectives=front[0].objectives, metrics=front[0].metrics)
    expect(page.locator("#front-table tbody tr")).to_have_count(3)
    expect(page.locator("#front-0")).to_be_checked()
    page.locator("#front-0").press("ArrowDown")
    expect(page.locator("#front-1")).to_be_checked()
    expect(page.locator("#front-chosen")).to_contain_text("Soup #2")
    expect(page.locator("#front-chosen")).to_contain_text("Linf:0.1 40.0 %")
    titles = page.locator("#facts dt").all_text_contents()
    assert {"Accuracy", "Linf:0.1"} <= set(titles)
    assert all(title[0].isupper() for title in titles), titles
    assert page.locator("#front-download").get_attribute("href") == f"{driver.job.urls.model}?point={front[1].point}"
    third = page.locator("#front-plot .scatterlayer .point").nth(2)
    third.scroll_into_view_if_needed()
    box = third.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    expect(page.locator("#front-plot .hoverlayer .hovertext")).to_contain_text("#3")
    page.mouse.click(*middle)
    expect(page.locator("#front-2")).to_be_checked()
    href = page.locator("#front-download-timm").get_attribute("href")
    assert href == f"{driver.job.urls.model}?point={front[2].point}&format=timm"
    expect(page.locator("#against-table thead th")).to_have_count(8)
    violations = Axe().run(page).response["violations"]
    assert [violation["id"] for violation in violations] == []
    with page.expect_download() as downloading:
        page.locator("#front-0").check()
        page.click("#front-download")
    assert downloading.value.suggested_filename.endswith(f"-{front[0].point}.safetensors")


def test_a_job_says_which_sets_objectives_and_constraints_are_of(page: Page, driver: Driver) -> None:
    sets = [
        page.request.post("/adaptation-sets", multipart={"adaptation_set": upload}).json()["id"]
        for upload in (
            FilePayload(name="a.zip", mimeType="application/zip", buffer=image_zip(seed=seed)) for seed in (1, 2)
        )
    ]
    constraint = {"at_least": 0.85, "adaptation_sets": sets[1:]}
    objective = {"adaptation_sets": sets[:1]}
    request = {"pantry": "fashion", "preset": "paper", "adaptation_sets": sets, "objective": objective}
    job = page.request.post("/adapt", data=request | {"constraints": [constraint]}).json()
    driver.start()
    driver.record(16)
    outcome = ConstraintOutcome(constraint=Constraint.model_validate(constraint), value=0.87, holds=True)
    driver.succeed(per_set={sets[0]: Score(score=0.5), sets[1]: Score(score=0.87)}, constraints=[outcome])
    page.goto(job["urls"]["view"])
    expect(page.locator("#facts")).to_contain_text(f"Objectiveaccuracy on set {sets[0][:12]}")
    expect(page.locator("#facts")).to_contain_text(f"On set {sets[0][:12]}50.0 %")
    expect(page.locator("#facts")).to_contain_text(f"accuracy on set {sets[1][:12]} 87.0 %, at least 85.0 %")


def test_the_best_soup_so_far_is_downloaded_while_the_job_runs(page: Page, archive: Path, driver: Driver) -> None:
    start_job(page, archive)
    driver.start()
    expect(page.locator("#pace")).to_contain_text("Preparing")
    expect(page.locator("#best-actions")).to_be_hidden()
    driver.record(48)
    best = driver.ranked()[0].index
    driver.keep_model(best)
    with page.expect_download() as downloading:
        page.click("#best-actions a")
    assert downloading.value.suggested_filename.endswith(f"-{best}.safetensors")
    driver.record()
    driver.succeed()
    expect(page.locator("#download")).to_be_visible()
    expect(page.locator("#best-actions")).to_be_hidden()


def test_the_form_estimates_what_a_job_would_cost(page: Page, archive: Path, job_store: JobStore) -> None:
    page.goto("/")
    page.set_input_files("#file", archive)
    page.click("#adapt summary")
    page.select_option("#preset", "paper")
    page.click("#estimate")
    expect(page.locator("#cost")).to_contain_text("At most 480 soups and")
    expect(page.locator("#cost")).to_contain_text("images select the soup: the score is uncertain")
    expect(page.locator("#start")).to_be_enabled()
    assert job_store.list().items == []
    page.fill("#step", "0.7")
    page.click("#estimate")
    expect(page.locator("#refusal")).to_contain_text("The search has no points")
    expect(page.locator("#cost")).to_be_hidden()


def test_a_job_is_cancelled_and_keeps_its_best(page: Page, archive: Path, driver: Driver) -> None:
    start_job(page, archive)
    driver.start()
    driver.record(48)
    page.click("#cancel")
    expect(page.locator("#status")).to_have_text("cancelling")
    driver.cancel()
    expect(page.locator("#status")).to_have_text("cancelled")
    expect(page.locator("#verdict")).to_contain_text("cancelled before it had tried every soup")
    expect(page.locator("#download")).to_be_visible()


def test_a_job_is_paused_and_resumed(page: Page, archive: Path, driver: Driver) -> None:
    start_job(page, archive)
    driver.start()
    driver.record(48)
    expect(page.locator("#resume")).to_be_hidden()
    page.click("#pause")
    expect(page.locator("#status")).to_have_text("paused")
    expect(page.locator("#pace")).to_contain_text("Paused after 48 soups")
    expect(page.locator("#pause")).to_be_hidden()
    page.reload()
    expect(page.locator("#pace")).to_contain_text("Paused after 48 soups")
    page.click("#resume")
    expect(page.locator("#status")).to_have_text("queued")
    driver.start()
    driver.record()
    driver.succeed()
    expect(page.locator("#status")).to_have_text("succeeded")
    expect(page.locator("#pause")).to_be_hidden()


def test_a_failure_is_told(page: Page, archive: Path, driver: Driver) -> None:
    start_job(page, archive)
    driver.start()
    driver.record(16)
    driver.fail(message="the images do not fit into memory: use smaller ones")
    expect(page.locator("#error")).to_contain_text("the images do not fit into memory")
    expect(page.locator("#status")).to_have_text("failed")
    expect(page.locator("#download")).to_be_hidden()
    expect(page.locator("#top-table tbody tr")).to_have_count(5)


def test_a_refusal_is_told_beside_the_form(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "notes.zip"
    bad.write_bytes(b"no archive")
    page.goto("/")
    expect(page.locator("#pantry")).to_have_value("fashion")
    page.set_input_files("#file", bad)
    page.click("#start")
    expect(page.locator("#refusal")).to_contain_text("none of zip, tar, tar.gz and npz")
    expect(page.locator("#start")).to_be_enabled()


def test_the_list_follows_the_jobs(page: Page, archive: Path, driver: Driver, browser: Browser, site: str) -> None:
    page.goto("/")
    expect(page.locator("#jobs tbody")).to_contain_text("No jobs yet")
    with browser.new_context(base_url=site) as other:
        other.set_default_timeout(TIMEOUT_MS)
        start_job(other.new_page(), archive)
    row = page.locator("#jobs tbody tr")
    expect(row.locator(".badge")).to_have_text("queued")
    driver.start()
    driver.record(32)
    expect(row).to_contain_text("32 of 480")
    driver.succeed()
    expect(row.locator(".badge")).to_have_text("succeeded")
    row.locator("a").click()
    expect(page.locator("#verdict")).to_contain_text("The soup is right on")


def test_the_list_tells_of_jobs_whose_search_has_not_begun(page: Page, archive: Path, driver: Driver) -> None:
    start_job(page, archive)
    page.goto("/")
    progress = page.locator("#jobs tbody tr td").nth(3)
    expect(progress).to_have_text("place 1 in the queue")
    driver.take()
    expect(progress).to_have_text("preparing")
    driver.fail()
    expect(progress).to_have_text("ended before its search")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible(page: Page, archive: Path, driver: Driver, job_store: JobStore, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    start_job(page, archive)
    driver.start()
    driver.warn("few_images", "fewer images than classes")
    driver.record(64)
    driver.succeed()
    expect(page.locator("#against-table tbody tr")).to_have_count(9)
    reports = {"job": Axe().run(page)}
    page.goto("/")
    expect(page.locator("#jobs .badge")).to_have_text("succeeded")
    reports["index"] = Axe().run(page)
    assert {name: report.generate_report() for name, report in reports.items() if report.violations_count} == {}


def test_the_pages_fit_a_phone(page: Page, archive: Path, driver: Driver) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    start_job(page, archive)
    driver.start()
    driver.record(64)
    driver.succeed()
    expect(page.locator("#against-table tbody tr")).to_have_count(9)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.goto("/")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_calls_are_documented_offline(page: Page) -> None:
    described = page.request.get("/openapi.json").json()["paths"]
    page.goto("/docs")
    expect(page.locator(".opblock")).to_have_count(sum(len(calls) for calls in described.values()))
    expect(page.locator("#swagger")).to_contain_text("Find the best soup for an adaptation set")
