import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from workers.soups.files import load_tensors, model_file_bytes, save_model, soup_config

TENSORS = {
    "b": torch.arange(6.0).view(2, 3).t(),
    "a": torch.tensor(7),
    "c": torch.ones(2, 0, dtype=torch.bfloat16),
    "d": torch.tensor([True, False]),
}
METADATA = {"seed": "0", "weights": '{"é": 1.4}', **{f"key{index}": "x" for index in range(8)}}


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    path = save_model(tmp_path / "model", TENSORS, {"architecture": "resnet18"}, METADATA)
    tensors = load_tensors(tmp_path / "model")
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt", **METADATA}
    assert path.read_bytes() == model_file_bytes(TENSORS, METADATA)


def test_a_full_disk_keeps_the_former_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes go to the system's full device, where the kernel refuses each."""
    folder = tmp_path / "model"
    former = save_model(folder, TENSORS, {"architecture": "resnet18"}, METADATA).read_bytes()
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: real(Path("/dev/full") if "w" in mode else path, mode))
    with pytest.raises(OSError, match="free some space"):
        save_model(folder, {"other": torch.ones(9000)}, {"architecture": "resnet34"}, {})
    monkeypatch.undo()
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == former


def test_bytes_do_not_depend_on_the_order_of_arguments() -> None:
    shuffled = dict(reversed(METADATA.items()))
    data = model_file_bytes(TENSORS, METADATA)
    assert data == model_file_bytes(dict(reversed(TENSORS.items())), shuffled)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == ["format", *sorted(METADATA)]


def test_a_soup_does_not_claim_its_ingredients_origin() -> None:
    config = {
        "architecture": "resnet18",
        "num_classes": 10,
        "label_names": ["a"],
        "training": {"epochs": 3},
        "pretrained_cfg": {"mean": [0.5], "url": "https://example.org/w", "hf_hub_id": "x/y", "tag": "robust"},
    }
    assert soup_config(config) == {
        "architecture": "resnet18",
        "num_classes": 10,
        "label_names": ["a"],
        "pretrained_cfg": {"mean": [0.5]},
    }
