"""Best accuracy on one set with accuracy on another no lower than a bound, by curl and by the command line."""

import json
import subprocess
from typing import Any

import pytest

from tests.live import ROOT, LiveService
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SHIFTED, OTHER = (ROOT / f"examples/sets/fashion-{shift}/adaptation.zip" for shift in ("gaussian-noise", "rotation"))
SEARCH = {"lower": -0.5, "upper": 1.0, "step": 0.5}
GRID = ["--preset", "paper", "--lower", "-0.5", "--upper", "1", "--step", "0.5"]


def curl(*arguments: str) -> Any:
    run = subprocess.run(["curl", "-sS", "--fail-with-body", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def sets(service: LiveService) -> list[str]:
    """Ids of the two sets."""
    stored = [curl("-F", f"adaptation_set=@{path}", f"{service.url}/adaptation-sets") for path in (SHIFTED, OTHER)]
    return [each["id"] for each in stored]


def adapt(service: LiveService, sets: list[str], **fields: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result of a job and its points."""
    request = {"pantry": "fashion", "preset": "paper", "adaptation_sets": sets, "search": SEARCH} | fields
    accepted = curl("-H", "Content-Type: application/json", "-d", json.dumps(request), f"{service.url}/adapt")
    url = f"{service.url}/jobs/{accepted['id']}"
    job = wait_until(lambda: (found := curl(url))["is_terminal"] and found, timeout=400)
    assert job["status"] == "succeeded", job["error"]
    return job["result"], curl(f"{url}/points")["items"]


def right(point: dict[str, Any]) -> tuple[float, float]:
    """Accuracies on the two sets."""
    first, second = (each["correct"] / each["images"] for each in point["sets"])
    return first, second


def test_a_bound_on_one_set_changes_the_soup_for_the_other(service: LiveService, sets: list[str]) -> None:
    shifted, other = sets
    free, points = adapt(service, sets, objective={"adaptation_sets": [shifted]})
    points = [point for point in points if point["finite"]]
    assert free["score"] == max(right(point)[0] for point in points)
    bound = round(free["per_set"][other]["score"] + 0.05, 2)
    expected = max(right(point)[0] for point in points if right(point)[1] >= bound)

    constraint = {"metric": "accuracy", "at_least": bound, "adaptation_sets": [other]}
    bounded, _ = adapt(service, sets, objective={"adaptation_sets": [shifted]}, constraints=[constraint])
    assert bounded["weights"] != free["weights"]
    assert bounded["score"] == bounded["per_set"][shifted]["score"] == expected
    assert bounded["per_set"][other]["score"] == bounded["constraints"][0]["value"] >= bound
    assert bounded["constraints_met"]

    run = service.cli("adapt", SHIFTED, "--pantry", "fashion", f"--min-accuracy={OTHER}={bound}", *GRID, "--json")
    assert run.returncode == 0, run.stderr
    same = json.loads(run.stdout)
    assert same["request"]["adaptation_sets"] == sets
    assert same["result"]["weights"] == bounded["weights"]


def test_the_front_of_one_set_against_the_other(service: LiveService, sets: list[str]) -> None:
    run = service.cli("adapt", SHIFTED, OTHER, "--pantry", "fashion", "--pareto", *GRID, "--held-out", "0.2", "--json")
    assert run.returncode == 0, run.stderr
    job = json.loads(run.stdout)
    result, values = job["result"], []
    for point in curl(f"{service.url}/jobs/{job['id']}/points")["items"]:
        if point["finite"]:
            values.append(right(point))
    best = {one for one in values if not any(each != one and each >= one and each[1] >= one[1] for each in values)}
    names = ["fashion-gaussian-noise-adaptation", "fashion-rotation-adaptation"]
    assert [list(soup["objectives"]) for soup in result["front"]] == [names] * len(best)
    assert {tuple(soup["objectives"].values()) for soup in result["front"]} == best
    assert result["held_out"]["images"] == 20
    assert result["held_out"]["softmax_ensemble"]["interval"]


def test_the_tables_say_which_constraint_holds_on_which_set(service: LiveService, sets: list[str]) -> None:
    options = ["--min-accuracy", f"{sets[1]}=0.05", "--preset", "paper", "--strategy", "uniform"]
    options += ["--held-out", "0.2"]
    run = service.cli("adapt", sets[0], "--pantry", "fashion", *options)
    assert run.returncode == 0, run.stderr
    constraint = next(line for line in run.stdout.splitlines() if "without attack" in line)
    assert sets[1][:12] in constraint
    assert "yes" in constraint
    assert "20 held out" in run.stdout
    assert "pantry fashion, 80 images" in run.stdout
    ensemble = next(line for line in run.stdout.splitlines() if "softmax ensemble" in line)
    assert ensemble.count("%") == 6
