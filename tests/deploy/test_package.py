"""What ``pip install`` brings, as the images run it."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.deploy.compose import ROOT

PACKAGES = ("search", "service", "workers", "lab", "soupsearch")
BUILT = shutil.ignore_patterns("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """A wheel of what the images copy, which is what ``.dockerignore`` lets through."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=BUILT)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(source)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return zipfile.Path(next(target.glob("*.whl")))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.Path) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"service/jobs/scripts/submit.lua", "service/pages/templates/index.html"} <= files
    assert {f"{name}/py.typed" for name in PACKAGES} <= files
    assert {name for name in files if not (wheel / name).exists()} == set()


@pytest.mark.slow
def test_the_wheel_brings_the_command_and_the_licence(wheel: zipfile.Path) -> None:
    [about] = [path for path in wheel.iterdir() if path.name.endswith(".dist-info")]
    assert "soupsearch = soupsearch.cli.main:main" in (about / "entry_points.txt").read_text("utf-8")
    assert "License-Expression: Apache-2.0\n" in (about / "METADATA").read_text("utf-8")
    assert (about / "licenses" / "LICENSE").read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")


def test_the_images_get_what_they_copy() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = {
        word
        for file in (ROOT / "deploy").glob("*.Dockerfile")
        for line in file.read_text("utf-8").splitlines()
        if line.startswith("COPY ")
        for word in line.split()[1:-1]
        if not word.startswith("--")
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
