"""Ingredients named on the command line."""

import json
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from soupsearch.cli.exits import CommandError
from soupsearch.cli.ingredients import gathered, packed


def timm_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    (path / "model.safetensors").write_bytes(path.name.encode())
    return path


def test_folders_are_named_by_their_last_part_in_the_order_given(tmp_path: Path) -> None:
    folders = [timm_folder(tmp_path / name) for name in ("linf", "l2", "clean")]
    with gathered(folders, None) as ingredients:
        assert list(ingredients.items()) == [("linf", folders[0]), ("l2", folders[1]), ("clean", folders[2])]


def test_a_name_may_be_given(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "epoch-90")
    with gathered([Path(f"clean={folder}"), folder], None) as ingredients:
        assert ingredients == {"clean": folder, "epoch-90": folder}


def test_a_folder_whose_name_has_an_equals_sign_is_a_folder(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "eps=8")
    with gathered([folder], None) as ingredients:
        assert ingredients == {"eps=8": folder}


def test_one_folder_of_timm_folders_stands_for_them(tmp_path: Path) -> None:
    folders = [timm_folder(tmp_path / "pantry" / name) for name in ("b", "a")]
    (tmp_path / "pantry" / "notes").mkdir()
    with gathered([tmp_path / "pantry"], None) as ingredients:
        assert ingredients == {"a": folders[1], "b": folders[0]}
        assert list(ingredients) == ["a", "b"]


def test_a_state_dict_becomes_a_folder_that_does_not_stay(tmp_path: Path) -> None:
    config = timm_folder(tmp_path / "other") / "config.json"
    torch.save({"weight": torch.ones(2, 3)}, tmp_path / "linf.epoch9.pt")
    with gathered([tmp_path / "linf.epoch9.pt"], config) as ingredients:
        folder = ingredients["linf.epoch9"]
        assert load_file(folder / "model.safetensors")["weight"].shape == (2, 3)
        assert (folder / "config.json").read_text() == config.read_text()
    assert not folder.exists()


def test_dots_belong_to_a_name(tmp_path: Path) -> None:
    config = timm_folder(tmp_path / "vit_lr0.001") / "config.json"
    timm_folder(tmp_path / "vit_lr0.01")
    for name in ("vit_lr0.003.pt", "vit_lr0.03.pth.tar"):
        torch.save({"weight": torch.ones(2)}, tmp_path / name)
    paths = [tmp_path / name for name in ("vit_lr0.001", "vit_lr0.01", "vit_lr0.003.pt", "vit_lr0.03.pth.tar")]
    with gathered(paths, config) as ingredients:
        assert list(ingredients) == ["vit_lr0.001", "vit_lr0.01", "vit_lr0.003", "vit_lr0.03"]


@pytest.mark.parametrize(
    ("use_ema", "value", "said"),
    [
        (True, 1, "took state_dict_ema (the moving average, EMA) from {}; --no-ema takes state_dict"),
        (False, 0, "took state_dict from {}; --ema takes state_dict_ema"),
    ],
)
def test_it_is_said_which_weights_of_a_file_were_taken(
    use_ema: bool, value: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = timm_folder(tmp_path / "other") / "config.json"
    source = tmp_path / "best.pt"
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "state_dict_ema": {"weight": torch.ones(2)}}, source)
    with gathered([source], config, use_ema=use_ema) as ingredients:
        assert load_file(ingredients["best"] / "model.safetensors")["weight"].tolist() == [value, value]
    assert capsys.readouterr().out == f"best: {said.format(source)}\n"


def test_weights_without_an_average_are_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = timm_folder(tmp_path / "other") / "config.json"
    torch.save({"weight": torch.ones(2)}, tmp_path / "linf.pt")
    with gathered([tmp_path / "linf.pt"], config):
        assert capsys.readouterr().out == f"linf: took the plain state_dict from {tmp_path / 'linf.pt'}\n"


def test_what_cannot_be_an_ingredient_is_refused(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "linf")
    (tmp_path / "linf.zip").write_bytes(b"PK")
    (tmp_path / "linf.pt").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    refused = {
        "does not exist": [tmp_path / "l2"],
        "two ingredients are called 'linf'": [folder, tmp_path / "empty" / ".." / "linf"],
        "cannot name an ingredient": [Path(f"../linf={folder}")],
        "neither a timm folder nor a state_dict": [tmp_path / "linf.zip"],
        "pass --config": [tmp_path / "linf.pt"],
        "holds no timm folders": [tmp_path / "empty"],
    }
    for message, arguments in refused.items():
        with pytest.raises(CommandError, match=message), gathered(arguments, None):
            pass


def test_a_state_dict_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "linf.pt").write_bytes(b"not a checkpoint")
    config = timm_folder(tmp_path / "other") / "config.json"
    with pytest.raises(CommandError, match="cannot be read"), gathered([tmp_path / "linf.pt"], config):
        pass


def test_the_upload_holds_a_folder_for_each_ingredient(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "epoch-90")
    (folder / "optimizer.pt").write_bytes(b"of no use in a pantry")
    (folder / "config.json").rename(tmp_path / "blob")
    (folder / "config.json").symlink_to(tmp_path / "blob")
    with packed({"clean": folder}) as archive, tarfile.open(archive) as content:
        members = {member.name: member for member in content}
        assert set(members) == {"clean/config.json", "clean/model.safetensors"}
        assert all(member.isreg() for member in members.values())
        weights = content.extractfile("clean/model.safetensors")
        assert weights is not None
        assert weights.read() == b"epoch-90"
    assert not archive.exists()
