"""What ``make demo`` left: run after it, by name, as CI does."""

import json
from pathlib import Path

import psutil
import timm

OUTPUT = Path("out/demo")


def test_the_soup_beats_every_ingredient_on_held_out_images() -> None:
    scores = json.loads((OUTPUT / "result.json").read_text())["held_out"]
    ingredients = [scores[name]["accuracy"] for name in ("linf", "l2", "l1", "nominal")]
    assert scores["soup"]["accuracy"] > max(ingredients)
    assert {"the best soup of the paper's grid", "soup"} < scores.keys()
    assert sum(name.endswith(", refined") for name in scores) == 1


def test_timm_loads_the_model() -> None:
    model = timm.create_model(f"local-dir:{OUTPUT / 'model'}", pretrained=True)
    assert model.num_classes == 10


def test_nothing_is_left_running() -> None:
    mark = str(OUTPUT.resolve() / "data")
    left = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in left if line and any(mark in part for part in line)]
