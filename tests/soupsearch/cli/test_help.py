"""What the command says about itself."""

import re
from collections.abc import Iterator
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from soupsearch.cli.main import app

COMMANDS = {
    "serve", "api", "worker", "adapt", "suggest", "follow", "download", "jobs", "pause", "resume", "cancel", "evaluate",
    "reproduce", "demo",
    "study", "attack", "train", "finetune", "pantry add", "pantry list", "pantry show", "pantry remove", "pantry build",
}  # fmt: skip


def commands(group: typer.Typer = app, prefix: str = "") -> Iterator[str]:
    root = typer.main.get_command(group)
    for name, command in getattr(root, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from (f"{prefix}{name} {inner}" for inner in command.commands)
        else:
            yield f"{prefix}{name}"


def output_of(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", result.output))


def test_these_are_the_commands() -> None:
    assert set(commands()) == COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_shows_an_example(command: str) -> None:
    text = output_of(*command.split(), "--help")
    example, _, options = text.partition("Example:")[2].partition(" Options ")
    assert f"soupsearch {command}" in example
    assert all(option in options for option in re.findall(r" (--[a-z-]+)", example.partition(" Arguments ")[0]))


def test_the_commands_help_says_where_to_start() -> None:
    text = output_of("--help")
    for word in ("soupsearch serve", "soupsearch pantry add", "soupsearch adapt", "pantry", "adaptation set"):
        assert word in text
    for code in ("0 done", "1 refused", "2 wrong usage", "3 no service", "130 interrupted"):
        assert code in text


def test_version() -> None:
    assert output_of("--version").strip() == f"soupsearch {version('soupsearch')}"
