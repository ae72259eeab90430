"""What the demo does to the folder that it is given."""

from pathlib import Path

from soupsearch.cli.demo import _make_room


def test_only_what_an_earlier_demo_left_is_removed(tmp_path: Path) -> None:
    kept = tmp_path / "thesis.tex"
    kept.write_text("years of work")
    for name in ("data", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "result.json").touch()

    _make_room(tmp_path)

    assert list(tmp_path.iterdir()) == [kept]


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    _make_room(tmp_path / "out" / "demo")

    assert (tmp_path / "out" / "demo").is_dir()
