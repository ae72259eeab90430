"""The shape of the sources."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
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
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
