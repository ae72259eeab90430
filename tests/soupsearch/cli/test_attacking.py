"""The attack command on a shipped ingredient and real images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.inputs import png, zip_of
from tests.lab.training.recipes import fashion
from tests.soupsearch.cli.commands import exit_code
from workers.attacks.apgd import apgd
from workers.attacks.attack import Attack
from workers.attacks.model import NormalizedModel
from workers.attacks.threat import Threat
from workers.evaluation.folder import load_folder

LINF = Path("examples/pantries/fashion-resnet/linf")
COUNT = 40


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An npz of the first test images of Fashion-MNIST."""
    path = tmp_path_factory.mktemp("sets") / "clean.npz"
    data = fashion(COUNT)
    np.savez(path, images=data.images[:, 0], labels=data.labels)
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert exit_code("attack", *arguments, "--json") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_prints_each_threat_and_loss_and_the_union(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("--threat", "Linf:8/255", "--threat", "L1:12", "--loss", "ce", "--loss", "targeted-dlr", "--larger-radii")
    found = report(capsys, LINF, images, *chosen, "--steps", "5", "--seeds", "2", "--targets", "2")
    assert set(found) == {"clean", "threats", "union"}
    named = [(entry["norm"], entry["loss"], entry["steps"], entry["larger_radii"]) for entry in found["threats"]]
    expected = [("Linf", "ce", 5, False), ("Linf", "targeted-dlr", 5, False)]
    assert named == [*expected, ("L1", "ce", 5, True), ("L1", "targeted-dlr", 5, True)]
    assert found["threats"][0]["eps"] == pytest.approx(8 / 255)
    for entry in found["threats"]:
        assert len(entry["robust"]) == 2
        assert all(
            union <= robust <= found["clean"] for union, robust in zip(found["union"], entry["robust"], strict=True)
        )


def test_the_figures_are_those_of_the_attack_itself(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("--threat", "L2:1", "--steps", "6", "--seeds", "2", "--batch-size", "7", "--device", "cpu")
    found = report(capsys, LINF, images, *chosen)
    network, data = load_folder(LINF), fashion(COUNT)
    model = NormalizedModel(network, [0.286], [0.353]).eval()
    pixels, labels = torch.from_numpy(data.images).float() / 255, torch.from_numpy(data.labels)
    alone = [apgd(model, pixels, labels, Attack(Threat("L2", 1.0), steps=6), seed=seed) for seed in (0, 1)]
    assert found["clean"] == float(alone[0].clean.double().mean())
    assert found["threats"][0]["robust"] == [float(each.robust.double().mean()) for each in alone]


def test_the_check_for_masked_gradients_is_shown_beside_the_attack(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--threat", "L2:1.5", "--steps", "4", "--seeds", "1", "--check-masking")
    found = report(capsys, LINF, images, *chosen)
    (check,) = found["masking"]
    assert (check["norm"], check["eps"], check["images"]) == ("L2", 1.5, COUNT)
    assert [each["change"] for each in check["comparisons"]] == [
        "a random start", "larger steps", "more steps", "a targeted loss", "no gradients (Square attack)",
    ]  # fmt: skip
    assert exit_code("attack", LINF, images, *chosen) == 0
    shown = capsys.readouterr()
    assert "signs of masked gradients" in shown.out
    assert check["warnings"]
    assert shown.err.count("warning: gradients may be masked in L2:1.5") == len(check["warnings"])
    assert set(report(capsys, LINF, images, *chosen[:-1])) == {"clean", "threats", "union"}


def test_saves_feasible_images_that_fool_the_model(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    chosen = ("--threat", "Linf:0.1", "--threat", "L2:1.5", "--steps", "5", "--seeds", "2", "--save", kept)
    found = report(capsys, LINF, images, *chosen)
    content = np.load(kept / "adversarial.npz", allow_pickle=False)
    assert content["images"].shape == (2, 2, COUNT, 1, 28, 28)
    assert content["images"].dtype == np.float32
    assert content["images"].min() >= 0
    assert content["images"].max() <= 1
    assert np.abs(content["images"][0] - content["clean"]).max() <= 0.1 + 1e-6
    assert content["threats"].tolist() == ["Linf:0.1", "L2:1.5"]
    assert content["seeds"].tolist() == [0, 1]
    assert content["robust"].mean(2).tolist() == [entry["robust"] for entry in found["threats"]]
    model = NormalizedModel(load_folder(LINF), [0.286], [0.353]).eval()
    with torch.inference_mode():
        right = model(torch.from_numpy(content["images"][0, 1])).argmax(1).numpy() == content["labels"]
    assert (right == content["robust"][0, 1]).all()
    before = (kept / "adversarial.npz").read_bytes()
    assert exit_code("attack", LINF, images, *chosen) == 1
    assert "is there already" in capsys.readouterr().err
    assert (kept / "adversarial.npz").read_bytes() == before


@pytest.mark.parametrize("place", ["file", "file/kept.npz", "/proc/kept.npz"])
def test_where_no_file_can_be_written_nothing_is_attacked(
    images: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    chosen = ("--threat", "Linf:0.05", "--steps", "2", "--seeds", "1", "--save", tmp_path / place)
    assert exit_code("attack", LINF, images, *chosen, "--json") == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "save to a file that ends in .npz" in shown.err
    assert "Errno" not in shown.err


def test_the_figures_are_printed_where_the_images_cannot_be_saved(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up during the attack."""
    real = Path.open

    def opened(path: Path, *arguments: Any, **more: Any) -> Any:
        return real(Path("/dev/full") if "kept.npz" in path.name else path, *arguments, **more)

    monkeypatch.setattr(Path, "open", opened)
    chosen = ("--threat", "Linf:0.05", "--steps", "2", "--seeds", "1", "--save", tmp_path / "kept.npz")
    assert exit_code("attack", LINF, images, *chosen, "--json") == 1
    shown = capsys.readouterr()
    assert set(json.loads(shown.out)) == {"clean", "threats", "union"}
    assert "free some space" in shown.err
    assert not (tmp_path / "kept.npz").exists()


def test_a_table_names_the_attack(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("attack", LINF, images, "--threat", "Linf:0.05", "--steps", "2", "--seeds", "1") == 0
    shown = capsys.readouterr()
    for text in ("clean accuracy", "Linf:0.05", "ce, 2 steps", "union"):
        assert text in shown.out
    assert "attacking" in shown.err


def test_columns_of_several_classes_are_attacked_together(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With tops in one column, a top taken for another top is still right."""
    tops, label_map = {0, 2, 4, 6}, tmp_path / "map.json"
    mapped = {str(index): sorted(tops) if index in tops else index for index in range(10)}
    label_map.write_text(json.dumps(mapped))
    chosen = ("--threat", "Linf:0.03", "--steps", "5", "--seeds", "1")
    merged = report(capsys, LINF, images, *chosen, "--label-map", label_map)
    assert exit_code("evaluate", LINF, images, "--label-map", label_map, "--json") == 0
    assert merged["clean"] == json.loads(capsys.readouterr().out)["accuracy"]
    assert merged["clean"] > merged["union"][0] > report(capsys, LINF, images, *chosen)["union"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threat", "Linf"], "write NORM:EPS"),
        (["--threat", "L3:1"], "unknown norm"),
        (["--threat", "Linf:8"], "did you mean Linf:8/255?"),
        (["--threat", "Linf:8/"], "a fraction such as 8/255"),
        (["--threat", "Linf:0.1", "--loss", "hinge"], "unknown loss"),
        (["--threat", "Linf:0.1", "--steps", "0"], "steps must be at least 1"),
        (["--threat", "Linf:0.1", "--larger-radii"], "add a --threat L1:EPS"),
        (["--threat", "L1:12", "--larger-radii", "--steps", "2"], "use at least 5"),
        (["--threat", "Linf:0.1", "--device", "tpu"], "unknown device"),
        (["--threat", "Linf:0.1", "--device", "cuda:99"], "finds no device cuda:99"),
    ],
)
def test_what_cannot_be_attacked_with_is_refused(
    images: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("attack", LINF, images, *options) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_several_right_answers_for_an_image_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "set.zip"
    labels = {"1.png": ["bag", "coat"], "2.png": ["shirt"]}
    archive.write_bytes(zip_of({"1.png": png(1), "2.png": png(2), "labels.json": json.dumps(labels).encode()}))
    assert exit_code("attack", LINF, archive, "--threat", "Linf:0.1") == 1
    assert "keep one label per image" in capsys.readouterr().err


def test_a_missing_set_or_model_is_refused(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("attack", LINF, tmp_path / "none.zip", "--threat", "Linf:0.1") == 1
    assert exit_code("attack", tmp_path, images, "--threat", "Linf:0.1") == 1
    assert "config.json" in capsys.readouterr().err
    assert exit_code("attack", LINF, images) == 2
