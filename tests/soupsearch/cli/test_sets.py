"""Adaptation sets named on the command line."""

import os
import zipfile
from pathlib import Path

import pytest

from soupsearch.cli.exits import CommandError
from soupsearch.cli.sets import read_label_map, set_archives, set_sources

SET_ID = "0f" * 32


def class_folders(root: Path) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        (root / name / "1.png").write_bytes(name.encode())
    return root


def test_files_folders_and_ids_are_told_apart(tmp_path: Path) -> None:
    archive = tmp_path / "set.npz"
    archive.write_bytes(b"npz")
    folder = class_folders(tmp_path / "shifted")
    with set_archives([str(archive), SET_ID, str(folder)]) as (archives, ids):
        assert ids == [SET_ID]
        assert archives[0] == archive
        with zipfile.ZipFile(archives[1]) as content:
            assert {name: content.read(name) for name in content.namelist()} == {
                "cat/1.png": b"cat",
                "dog/1.png": b"dog",
            }
    with set_sources([SET_ID, str(folder), str(archive)]) as sources:
        assert sources == [SET_ID, sources[1], archive]
        assert Path(sources[1]).name == "1-shifted.zip"
    assert archive.exists()
    assert not archives[1].exists()


def test_two_folders_of_one_name_do_not_collide(tmp_path: Path) -> None:
    folders = [class_folders(tmp_path / parent / "set") for parent in ("a", "b")]
    with set_archives([str(folder) for folder in folders]) as (archives, _):
        assert len({path for path in archives if path.is_file()}) == 2


def test_images_older_than_zip_are_packed(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "set")
    os.utime(folder / "cat" / "1.png", (0, 0))
    with set_archives([str(folder)]) as (archives, _):
        assert zipfile.ZipFile(archives[0]).testzip() is None


@pytest.mark.parametrize("argument", ["absent.zip", "0f", SET_ID.upper()])
def test_what_is_no_set_is_refused(argument: str) -> None:
    with pytest.raises(CommandError, match="not a file, a folder or the id"), set_archives([argument]):
        pass


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="one folder per class"), set_archives([str(tmp_path)]):
        pass


def test_label_maps_are_read(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"cat": [1, 2], "dog": "hound"}')
    assert read_label_map(path) == {"cat": [1, 2], "dog": "hound"}
    assert read_label_map(None) is None


@pytest.mark.parametrize(("text", "message"), [("{", "not a readable JSON"), ("[1]", "must hold a JSON object")])
def test_what_is_no_label_map_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(CommandError, match=message):
        read_label_map(path)


def test_a_label_map_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="not a readable JSON"):
        read_label_map(tmp_path / "map.json")
