from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from lab.data.idx import load_idx_folder
from lab.data.labelled_images import LabelledImages
from lab.training.ingredient_build import RECORD, build_ingredient, masking_warnings
from lab.training.progress import LOG, MetricsLog, TrainingProgress
from lab.training.recipe import EvaluationRecipe, IngredientRecipe
from lab.training.recipe_file import RECIPE, read_recipe
from tests.lab.training.cifar import write_cifar10
from tests.lab.training.folders import colour_model, write_image_folder
from tests.lab.training.recipes import ADVERSARIAL, TINY_MODEL
from workers.attacks.masking import check_masking
from workers.attacks.model import NormalizedModel

EVALUATION = {"threats": ["Linf:0.1"], "steps": 2, "images": 20}


class Interruption(Exception):
    """Stops a build where a kill would."""


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def accuracy(folder: Path, data: LabelledImages) -> float:
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    model = NormalizedModel.from_data_config(network, network.pretrained_cfg).eval()
    with torch.inference_mode():
        right = model(torch.from_numpy(data.images).float() / 255).argmax(1) == torch.from_numpy(data.labels)
    return float(right.double().mean())


def recipe(folder: Path, **training: Any) -> IngredientRecipe:
    content = {
        "data": {"folder": str(folder), "max_images": 320},
        "model": TINY_MODEL,
        "training": ADVERSARIAL | training,
        "evaluation": EVALUATION,
    }
    return IngredientRecipe.model_validate(content)


def files_recipe(folder: Path, **training: Any) -> IngredientRecipe:
    content = {
        "data": {"format": "folder", "folder": str(folder), "image_size": 32, "crop_pct": 0.875, "workers": 0},
        "model": colour_model(),
        "training": {
            "epochs": 2,
            "batch_size": 8,
            "augmentation": {"crop_scale": [0.25, 1.0], "flip": True},
            "adversary": {"threats": ["Linf:0.03", "L2:1"], "mode": "eat", "attack": "apgd", "steps": 2},
        }
        | training,
        "evaluation": EVALUATION,
    }
    return IngredientRecipe.model_validate(content)


def test_the_folder_says_how_to_make_it_again(tmp_path: Path, small_fashion: Path) -> None:
    folder = build_ingredient(recipe(small_fashion, epochs=0.5), tmp_path / "linf")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", LOG, "model.safetensors", RECIPE, RECORD,
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["linf"]
    again = read_recipe(folder / RECIPE)
    assert isinstance(again, IngredientRecipe)
    assert weights(build_ingredient(again, tmp_path / "again")) == weights(folder)
    record = json.loads((folder / RECORD).read_text())
    assert record["ingredient"] == "linf"
    assert record["fine_tuned_from"] is None
    assert json.loads((folder / LOG).read_text().splitlines()[-1])["step"] == 5


def test_a_finished_ingredient_is_measured_anew_when_the_evaluation_changes(
    tmp_path: Path, small_fashion: Path
) -> None:
    given = recipe(small_fashion, epochs=0.5)
    folder = build_ingredient(given, tmp_path / "linf")
    before, record = weights(folder), json.loads((folder / RECORD).read_text())
    evaluation = EvaluationRecipe.model_validate({"threats": ["Linf:0.2", "L2:1"], "steps": 3, "images": 50})
    other = given.model_copy(update={"evaluation": evaluation})
    told: list[str] = []

    def note(name: str) -> None:
        told.append(name)
        with pytest.raises(ValueError, match="or measuring its result"):
            build_ingredient(other, folder)

    trained: list[TrainingProgress] = []
    assert build_ingredient(other, folder, on_progress=trained.append, on_measure=note) == folder
    assert trained == []
    assert told == ["linf"]
    again = json.loads((folder / RECORD).read_text())
    assert weights(folder) == before
    assert [(each["norm"], each["eps"], each["steps"]) for each in again["test"]["threats"]] == [
        ("Linf", 0.2, 3), ("L2", 1.0, 3),
    ]  # fmt: skip
    assert again["test"]["images"] == 50
    assert [(each["norm"], each["images"]) for each in again["masking"]] == [("Linf", 50), ("L2", 50)]
    measured = {"test": None, "masking": None}
    assert {**again, **measured} == {**record, **measured}
    assert read_recipe(folder / RECIPE) == other
    assert [path.name for path in tmp_path.iterdir()] == ["linf"]
    stamp = (folder / RECORD).stat().st_mtime_ns
    larger = other.model_copy(update={"evaluation": evaluation.model_copy(update={"batch_size": 7})})
    build_ingredient(larger, folder)
    assert (folder / RECORD).stat().st_mtime_ns == stamp


def test_validation_images_are_scored_and_not_trained_on(tmp_path: Path, small_fashion: Path) -> None:
    given = recipe(small_fashion, epochs=0.5)
    content = given.model_dump(mode="json")
    kept_out = {"folder": str(small_fashion), "validation_images": 60}
    content |= {"data": kept_out, "evaluation": EVALUATION | {"split": "validation", "images": 50}}
    folder = build_ingredient(IngredientRecipe.model_validate(content), tmp_path / "linf")
    record = json.loads((folder / RECORD).read_text())
    whole = load_idx_folder(small_fashion, "train")
    assert record["data"] == {"images": 260, "sha256": whole.first(260).digest()}
    assert "test" not in record
    assert record["validation"]["images"] == 50
    assert record["validation"]["clean"] == accuracy(folder, whole.after(260).first(50))
    content["evaluation"] |= {"split": "test"}
    build_ingredient(IngredientRecipe.model_validate(content), folder)
    both = json.loads((folder / RECORD).read_text())
    assert both["validation"] == record["validation"]
    assert list(both) == [*record, "test"]
    assert both["test"]["clean"] == accuracy(folder, load_idx_folder(small_fashion, "test").first(50))
    with pytest.raises(ValueError, match=r"validation_images is 320, of 320 training images: lower it"):
        build_ingredient(
            IngredientRecipe.model_validate(content | {"data": kept_out | {"validation_images": 320}}), folder
        )


def test_adversarial_training_ends_with_the_check_for_masked_gradients(tmp_path: Path, small_fashion: Path) -> None:
    given = recipe(small_fashion, epochs=0.2)
    evaluation = EvaluationRecipe.model_validate({"threats": ["Linf:0.1", "L2:1"], "steps": 2, "images": 30})
    folder = build_ingredient(given.model_copy(update={"evaluation": evaluation}), tmp_path / "linf")
    record = json.loads((folder / RECORD).read_text())
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    model = NormalizedModel.from_data_config(network, network.pretrained_cfg)
    data = load_idx_folder(small_fashion, "test").first(30)
    pixels, labels = torch.from_numpy(data.images).float() / 255, torch.from_numpy(data.labels)
    checks = check_masking(model, pixels, labels, evaluation.threats, steps=2)
    assert record["masking"] == [check.as_json() for check in checks]
    assert masking_warnings(folder) == [warning for check in checks for warning in check.warnings]
    nominal = build_ingredient(recipe(small_fashion, epochs=0.2, adversary=None), tmp_path / "nominal")
    assert "masking" not in json.loads((nominal / RECORD).read_text())
    assert masking_warnings(nominal) == []


def test_fine_tuning_starts_from_the_base_and_says_so(tmp_path: Path, small_fashion: Path) -> None:
    base = build_ingredient(recipe(small_fashion), tmp_path / "linf")
    still = {"adversary": None, "epochs": 0.1, "optimizer": {"learning_rate": 1e-12, "weight_decay": 0}}
    folder = build_ingredient(recipe(small_fashion, **still), tmp_path / "nominal", base=base)
    states = [timm.create_model(f"local-dir:{each}", pretrained=True).state_dict() for each in (base, folder)]
    assert torch.allclose(states[0]["fc.weight"], states[1]["fc.weight"], atol=1e-6)
    record = json.loads((folder / RECORD).read_text())
    assert record["fine_tuned_from"] == "linf"
    assert len(record["base_sha256"]) == 64
    other = build_ingredient(recipe(small_fashion, seed=9), tmp_path / "other")
    with pytest.raises(ValueError, match="another recipe or other data"):
        build_ingredient(recipe(small_fashion, **still), tmp_path / "nominal", base=other)


def test_a_base_that_does_not_fit_is_refused(tmp_path: Path, small_fashion: Path) -> None:
    base = build_ingredient(recipe(small_fashion, epochs=0.1), tmp_path / "linf")
    given = recipe(small_fashion)
    changes: dict[str, dict[str, Any]] = {
        "differ from the recipe's": {"label_names": tuple(reversed(given.model.label_names))},
        "normalises by mean": {"mean": (0.5,)},
        r"16 tensors of another shape \(layer4\.0\.conv1\.weight, layer4\.\S*, layer4\.\S*, \.\.\.\)$": {
            "arguments": {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 16], "in_chans": 1}
        },
    }
    for message, change in changes.items():
        other = given.model_copy(update={"model": given.model.model_copy(update=change)})
        with pytest.raises(ValueError, match=message):
            build_ingredient(other, tmp_path / "l2", base=base)
    assert [path.name for path in tmp_path.iterdir()] == ["linf"]
    with pytest.raises(FileNotFoundError, match="not a timm folder"):
        build_ingredient(given, tmp_path / "l2", base=tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "vit_tiny_patch16_224"}, r"model\.arguments: vit_tiny_patch16_224 .*unexpected keyword"),
        ({"arguments": {"layers": [1, 1, 1, 1], "bogus": 1}}, r"model\.arguments: resnet18 .*'bogus'"),
        ({"arguments": {"num_classes": 5}}, r"output of shape \(1, 5\)"),
        (
            {"architecture": "vit_tiny_patch16_224", "arguments": {"img_size": 32, "patch_size": 7}},
            r"does not take images of 1 x 28 x 28 \(AssertionError",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_told_before_anything_is_left(
    tmp_path: Path, small_fashion: Path, change: dict[str, Any], message: str
) -> None:
    given = recipe(small_fashion)
    other = given.model_copy(update={"model": given.model.model_copy(update=change)})
    with pytest.raises(ValueError, match=message):
        build_ingredient(other, tmp_path / "linf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"augmentation": {"crop_padding": 400000}}, "crop_padding is 400000 and the images have 28 pixels"),
        ({"batch_size": 400}, "fewer than one batch"),
        ({"optimizer": {"learning_rate": 1e30, "warmup": 0}, "adversary": None}, "the training diverged"),
        ({"precision": "float16"}, "float16 needs a GPU"),
    ],
)
def test_a_refusal_before_the_first_checkpoint_leaves_nothing(
    tmp_path: Path, small_fashion: Path, training: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_ingredient(recipe(small_fashion, **training), tmp_path / "linf")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_answers_with_no_numbers_is_not_written(tmp_path: Path, small_fashion: Path) -> None:
    huge = recipe(small_fashion, max_steps=1, optimizer={"learning_rate": 1e30, "warmup": 0}, adversary=None)
    with pytest.raises(ValueError, match="diverged, the network's logits for held-out images are not finite"):
        build_ingredient(huge, tmp_path / "linf")
    assert [path.name for path in tmp_path.iterdir()] == [".linf.training"]


def test_the_log_of_a_training_that_failed_before_its_first_checkpoint_stays(
    tmp_path: Path, small_fashion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = recipe(small_fashion, epochs=2, adversary=None)

    def fail(progress: TrainingProgress) -> None:
        if progress.step == 11:
            raise ValueError("the training diverged")

    closed: list[MetricsLog] = []

    def close(log: MetricsLog) -> None:
        closed.append(log)

    monkeypatch.setattr(MetricsLog, "close", close)
    with pytest.raises(ValueError, match="diverged"):
        build_ingredient(given, tmp_path / "linf", on_progress=fail)
    assert len(closed) == 1
    log = (tmp_path / ".linf.training" / LOG).read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [10]


def test_a_base_that_diverged_is_refused(tmp_path: Path, small_fashion: Path) -> None:
    base = build_ingredient(recipe(small_fashion, epochs=0.1), tmp_path / "linf")
    state = load_file(base / "model.safetensors")
    state["fc.bias"][0] = torch.nan
    save_file(state, base / "model.safetensors")
    with pytest.raises(ValueError, match=r"holds a fc\.bias that is not finite"):
        build_ingredient(recipe(small_fashion), tmp_path / "l2", base=base)


def test_image_files_resume_as_if_never_interrupted(tmp_path: Path) -> None:
    given = files_recipe(write_image_folder(tmp_path / "images"))

    def stop(progress: TrainingProgress) -> None:
        if progress.step == 4:
            raise Interruption

    with pytest.raises(Interruption):
        build_ingredient(given, tmp_path / "a", checkpoint_seconds=0, on_progress=stop)
    seen: list[int] = []
    resumed = build_ingredient(given, tmp_path / "a", on_progress=lambda progress: seen.append(progress.step))
    assert seen == [4, 5, 6]
    assert weights(resumed) == weights(build_ingredient(given, tmp_path / "b"))
    config = json.loads((resumed / "config.json").read_text())
    assert config["pretrained_cfg"]["crop_pct"] == 0.875
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]


def test_cifar10_trains(tmp_path: Path) -> None:
    (tmp_path / "cifar").mkdir()
    write_cifar10(tmp_path / "cifar", each=20)
    content = {
        "data": {"format": "cifar10", "folder": str(tmp_path / "cifar")},
        "model": {**TINY_MODEL, "arguments": {"layers": [1] * 4, "channels": [4] * 4}, "mean": [0.5] * 3,
                  "std": [0.25] * 3, "label_names": "cifar10"},
        "training": ADVERSARIAL | {"precision": "bfloat16", "max_steps": 2},
        "evaluation": EVALUATION,
    }  # fmt: skip
    folder = build_ingredient(IngredientRecipe.model_validate(content), tmp_path / "linf")
    assert json.loads((folder / "config.json").read_text())["label_names"][0] == "airplane"
    assert json.loads((folder / LOG).read_text().splitlines()[-1])["steps"] == 2


def test_two_processes_do_not_train_one_ingredient(tmp_path: Path, small_fashion: Path) -> None:
    (tmp_path / ".linf.training").mkdir()
    with (tmp_path / ".linf.training" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is training"):
            build_ingredient(recipe(small_fashion), tmp_path / "linf")


def test_images_of_other_channels_or_labels_are_refused(tmp_path: Path, small_fashion: Path) -> None:
    given = recipe(small_fashion)
    for change, message in (
        ({"mean": (0.5,) * 3, "std": (0.5,) * 3}, r"model\.mean has 3"),
        ({"label_names": ("a", "b")}, r"model\.label_names has 2"),
    ):
        other = given.model_copy(update={"model": given.model.model_copy(update=change)})
        with pytest.raises(ValueError, match=message):
            build_ingredient(other, tmp_path / "linf")
