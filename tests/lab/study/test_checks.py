"""What a study refuses before it computes anything."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from lab.study.checks import check_models
from tests.lab.study.conftest import RESNET, TINY, MakeStudy, run_of
from tests.live import ROOT
from workers.soups.files import load_tensors, save_model

VIT = ROOT / "examples/pantries/fashion-vit"


def refused(make_study: MakeStudy, tmp_path: Path, error: type[Exception], message: str, **pantry: Any) -> None:
    run, _ = run_of(make_study(pantries=[TINY["pantries"][0] | pantry]), tmp_path / "out")
    with pytest.raises(error, match=message):
        run.compute()
    assert not run.store.root.exists()


def test_a_missing_model_is_told_before_images_are_prepared(make_study: MakeStudy, tmp_path: Path) -> None:
    refused(make_study, tmp_path, FileNotFoundError, r"none has no model.safetensors: train 'MAX", max="none")


def test_a_missing_ingredient_is_told_before_images_are_prepared(make_study: MakeStudy, tmp_path: Path) -> None:
    shutil.copytree(RESNET, tmp_path / "pantry")
    shutil.rmtree(tmp_path / "pantry/l1")
    refused(make_study, tmp_path, FileNotFoundError, "train 'ingredient l1' first", folder=str(tmp_path / "pantry"))


def test_a_model_of_another_architecture_is_told_with_what_differs(make_study: MakeStudy, tmp_path: Path) -> None:
    message = r"'resnet': SAT training \(.*fashion-vit/l1\) does not fit ingredient linf: it lacks conv1.weight"
    refused(make_study, tmp_path, ValueError, message, sat=str(VIT / "l1"))


def test_a_model_of_other_shapes_is_told_with_what_differs(make_study: MakeStudy, tmp_path: Path) -> None:
    config = json.loads((RESNET / "l1/config.json").read_text("utf-8"))
    for section in (config, config["pretrained_cfg"], config["model_args"]):
        section["num_classes"] = 7
    del config["label_names"]
    tensors = load_tensors(RESNET / "l1")
    tensors |= {name: tensors[name][:7].contiguous() for name in ("fc.weight", "fc.bias")}
    save_model(tmp_path / "max", tensors, config, {})
    refused(make_study, tmp_path, ValueError, r"it has fc\.weight of shape \(7, \d+\), where there is \(10,", max="max")


def test_a_damaged_model_is_told(make_study: MakeStudy, tmp_path: Path) -> None:
    shutil.copytree(RESNET / "l1", tmp_path / "max")
    (tmp_path / "max/model.safetensors").write_bytes(b"half")
    refused(make_study, tmp_path, ValueError, "cannot be read as safetensors", max="max")


def other_labels(config: dict[str, Any]) -> None:
    config["label_names"] = config["label_names"][::-1]


def other_mean(config: dict[str, Any]) -> None:
    config["pretrained_cfg"]["mean"] = [0.5]


@pytest.mark.parametrize(("change", "message"), [(other_labels, "other classes"), (other_mean, r"mean=\(0\.5,\)")])
def test_a_model_of_other_labels_or_preprocessing_is_told(
    make_study: MakeStudy, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    shutil.copytree(RESNET / "l1", tmp_path / "max")
    config = json.loads((tmp_path / "max/config.json").read_text("utf-8"))
    change(config)
    (tmp_path / "max/config.json").write_text(json.dumps(config), "utf-8")
    refused(make_study, tmp_path, ValueError, message, max="max")


@pytest.mark.parametrize("field", ["mean", "std"])
def test_a_model_whose_normalisation_is_rounded_otherwise_fits(
    field: str, make_study: MakeStudy, tmp_path: Path
) -> None:
    """As training takes it for the base of a fine-tune; what is farther off is refused."""
    shutil.copytree(RESNET / "l1", tmp_path / "max")
    path = tmp_path / "max/config.json"
    text = path.read_text("utf-8")
    study = make_study(pantries=[TINY["pantries"][0] | {"max": "max"}])
    for off, refusal in ((5e-5, nullcontext()), (5e-4, pytest.raises(ValueError, match=f"{field}="))):
        config = json.loads(text)
        config["pretrained_cfg"][field] = [each + off for each in config["pretrained_cfg"][field]]
        path.write_text(json.dumps(config), "utf-8")
        with refusal:
            check_models(study)


def test_an_output_that_is_a_file_is_told_at_once(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", "utf-8")
    run, _ = run_of(make_study(), tmp_path / "out")
    with pytest.raises(OSError, match=r"no file can be written in .*out/cache .*: give another folder"):
        run.compute()
    assert (tmp_path / "out").read_text("utf-8") == "mine"
