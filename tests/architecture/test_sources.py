"""The shape of the sources."""

import ast
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LARGEST = 1_000_000
"""Bytes of a file that is no checkpoint of a shipped pantry: what git keeps, it keeps for good."""
MAY_SLEEP = {"tests/waiting.py"}
PACKAGES = ("search", "service", "workers", "lab", "soupsearch")


def sources(*folders: str) -> Iterator[tuple[str, str]]:
    """Paths below the root and texts."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def test_tests_wait_for_conditions_and_never_for_time() -> None:
    sleeping = [
        f"{name}:{node.lineno}"
        for name, text in sources("tests")
        if name not in MAY_SLEEP
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")) == "sleep"
    ]
    assert sleeping == []


def test_a_class_name_stands_for_one_class() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for name, text in sources(*PACKAGES):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_file_but_the_shipped_weights_is_large() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    large = [path for path in files if path.is_file() and path.stat().st_size > LARGEST]
    weights = {path for path in large if path.match("examples/pantries/*/*/model.safetensors")}
    assert weights
    assert [path for path in large if path not in weights] == []
