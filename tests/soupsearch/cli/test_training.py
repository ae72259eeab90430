"""The commands that train, on a few real images."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from tests.lab.training.recipes import ADVERSARIAL, FASHION_MNIST, TINY_MODEL
from tests.soupsearch.cli.commands import exit_code
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = ["--device", "cpu", "--threads", "1"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A pantry's recipe that takes a moment."""
    content = {
        "name": "tiny",
        "data": {"folder": str(FASHION_MNIST), "max_images": 320},
        "model": TINY_MODEL,
        "base": {"linf": ADVERSARIAL},
        "fine_tunes": {"l2": ADVERSARIAL | {"seed": 2}, "nominal": ADVERSARIAL | {"adversary": None}},
        "evaluation": {"threats": ["Linf:0.1"], "steps": 2, "images": 20},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOUPSEARCH_DATA_DIR", str(tmp_path / "service"))
    from service.settings import get_settings

    get_settings.cache_clear()
    return tmp_path / "service"


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def steps(folder: Path) -> int:
    last: int = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    return last


def test_train_then_fine_tune_make_what_the_pantry_build_makes(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linf, l2 = tmp_path / "a" / "linf", tmp_path / "a" / "l2"
    assert exit_code("train", recipe, linf, *SHORT) == 0
    assert exit_code("finetune", recipe, linf, l2, "--name", "l2", *SHORT) == 0
    shown = capsys.readouterr()
    assert f"trained {l2}" in " ".join(shown.out.split("\n"))
    assert "images/s" in shown.err
    assert exit_code("pantry", "build", recipe, tmp_path, *SHORT) == 0
    assert weights(tmp_path / "tiny" / "linf") == weights(linf)
    assert weights(tmp_path / "tiny" / "l2") == weights(l2)


def test_an_ingredients_own_recipe_makes_it_again_and_can_be_changed(recipe: Path, tmp_path: Path) -> None:
    assert exit_code("train", recipe, tmp_path / "a", "--set", "base.linf.max_steps=3", *SHORT) == 0
    kept = tmp_path / "a" / "recipe.yaml"
    assert exit_code("train", kept, tmp_path / "b", *SHORT) == 0
    assert exit_code("train", kept, tmp_path / "c", "--set", "training.max_steps=2", "--tensorboard", *SHORT) == 0
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert [steps(tmp_path / name) for name in "abc"] == [3, 3, 2]
    assert list((tmp_path / "c" / "tensorboard").iterdir())


def test_a_build_registers_once(
    recipe: Path, tmp_path: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = ["pantry", "build", recipe, tmp_path, "--register", "--set", "base.linf.max_steps=1", *SHORT]
    for message in ("registered pantry tiny", "pantry tiny is already registered"):
        assert exit_code(*build) == 0
        assert message in capsys.readouterr().out
    assert exit_code("pantry", "show", "tiny") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in shown["ingredients"]] == ["linf", "l2", "nominal"]
    assert shown["ingredients"][1]["training"]["fine_tuned_from"] == "linf"
    assert exit_code(*build[:3], tmp_path / "b", *build[4:], "--set", "base.linf.seed=9") == 1
    assert "another pantry is called 'tiny'" in capsys.readouterr().err


def test_a_build_without_a_folder_goes_into_pantries_and_says_how_to_add_it(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("pantry", "build", recipe, "--set", "base.linf.max_steps=1", *SHORT) == 0
    assert sorted(path.name for path in (tmp_path / "pantries" / "tiny").iterdir()) == ["l2", "linf", "nominal"]
    added = "soupsearch pantry add tiny pantries/tiny/linf pantries/tiny/l2 pantries/tiny/nominal"
    assert added in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "RECIPE", "OUT", "--set", "base.linf.epochs=-1"],
            "base.linf.epochs must be greater than 0, not -1",
        ),
        (["train", "RECIPE", "OUT", "--data", "/nowhere"], "/nowhere has neither"),
        (["train", "RECIPE", "OUT", "--device", "gpu"], "unknown device 'gpu'"),
        (["train", "nothing.yaml", "OUT"], "nothing.yaml"),
        (["train", "RECIPE", "OUT", "--workers", "2", "--device", "cuda:1"], "--device auto, cpu or cuda instead of"),
        (["train", "RECIPE", "OUT", "--workers", "2", "--device", "gpu"], "--device auto, cpu or cuda instead of"),
        (["finetune", "RECIPE", "BASE", "OUT"], "--name l2 or nominal"),
        (["finetune", "RECIPE", "BASE", "OUT", "--name", "linf"], "--name l2 or nominal"),
        (["finetune", "RECIPE", "BASE", "OUT", "--name", "l2"], "is not a timm folder"),
        (["pantry", "build", "RECIPE", "OUT", "--only", "l3"], "no ingredient l3: it has linf, l2, nominal"),
        (["pantry", "build", "RECIPE", "OUT", "--only", "l2", "--register"], "leave out --only"),
        (["pantry", "build", "RECIPE", "OUT", "--only", "l2", "--url", "http://127.0.0.1:9"], "leave out --only"),
    ],
)
def test_mistakes_are_named(
    recipe: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"RECIPE": recipe, "OUT": tmp_path / "out", "BASE": tmp_path / "base"}
    assert exit_code(*(places.get(each, each) for each in arguments)) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_one_ingredients_recipe_builds_no_pantry(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("train", recipe, tmp_path / "a", "--set", "base.linf.max_steps=1", *SHORT) == 0
    kept = tmp_path / "a" / "recipe.yaml"
    assert exit_code("pantry", "build", kept, tmp_path / "b") == 1
    assert exit_code("finetune", kept, tmp_path / "a", tmp_path / "c", "--name", "l2") == 1
    assert exit_code("train", recipe, tmp_path / "a", *SHORT) == 1
    assert "holds an ingredient from another recipe" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_build_goes_on_where_it_was(recipe: Path, tmp_path: Path) -> None:
    """Two fine-tunes at once; SIGKILL of the command ends both, and the same command ends as if nothing happened."""
    longer = ["--set", "fine_tunes.l2.epochs=8", "--set", "fine_tunes.nominal.epochs=16"]
    options = [*longer, "--checkpoint-seconds", "0", *SHORT]
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    process = subprocess.Popen(_command(recipe, killed, "--jobs", "2", *options), env=_environment())
    checkpoints = [killed / "tiny" / f".{name}.training" / "checkpoint" for name in ("l2", "nominal")]
    wait_until(lambda: all(path.is_file() for path in checkpoints), timeout=180)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert psutil.wait_procs(family, timeout=30)[1] == []
    assert all(path.is_file() for path in checkpoints)
    for target, jobs in ((killed, "2"), (undisturbed, "1")):
        subprocess.run(_command(recipe, target, "--jobs", jobs, *options), env=_environment(), check=True, timeout=500)
    for name in ("linf", "l2", "nominal"):
        assert weights(killed / "tiny" / name) == weights(undisturbed / "tiny" / name)


def _command(recipe: Path, target: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "soupsearch.cli.main", "pantry", "build", str(recipe), str(target), *options]


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}
