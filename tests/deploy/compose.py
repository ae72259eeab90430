"""The deployment's files, as data."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "docker-compose.yml", ROOT / "deploy" / "docker-compose.gpu.yml")
Service = dict[str, Any]


def services() -> dict[str, Service]:
    """Services of ``docker-compose.yml``, with anchors and merges resolved."""
    return dict(yaml.safe_load(FILES[0].read_text("utf-8"))["services"])


def tool(name: str) -> str:
    """Path of a program beside the interpreter or on PATH; the test is skipped without it."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def compose(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose, in the root and with no variables but these; the test is skipped without Compose 2 or newer.

    Only commands that need no engine.
    """
    candidates = [["docker", "compose"]] if shutil.which("docker") else []
    for command in [*candidates, [tool("docker-compose")]]:
        version = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
        if version.returncode == 0 and int(version.stdout.strip().lstrip("v").partition(".")[0]) >= 2:
            return subprocess.run(
                [*command, *arguments],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
                capture_output=True,
                text=True,
                check=False,
            )
    pytest.skip("Docker Compose 2 or newer is not installed")


def resolved(*files: Path, **environment: str) -> dict[str, Any]:
    """What Docker Compose makes of the files."""
    named = [argument for file in files for argument in ("-f", str(file))]
    run = compose(*named, "config", "--format", "json", **environment)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return dict(json.loads(run.stdout))
