"""What every command says of itself, and that it says so without loading a model's libraries."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App
from rich.console import Console

from muybridge.apps.cli import app

HELP = Path(__file__).parent / "help"


def _commands(of: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name in of:
        if not name.startswith("-"):
            yield from _commands(of[name], (*path, name))


COMMANDS = list(_commands(app))


def _help(command: tuple[str, ...]) -> str:
    text, fancy = io.StringIO(), app.help_formatter
    app.help_formatter = "plain"  # a line an option, without boxes
    try:
        app.help_print(list(command), console=Console(file=text, width=2000, color_system=None))
    finally:
        app.help_formatter = fancy
    return text.getvalue()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: "-".join(command) or "muybridge")
def test_the_help_of_a_command_is_as_it_was(command: tuple[str, ...]) -> None:
    """A changed line is right if it was meant. `python -m tests.apps.test_help` writes the files anew."""
    kept = HELP / f"{'-'.join(command) or 'muybridge'}.txt"
    assert _help(command) == kept.read_text(encoding="utf-8")


def test_no_file_of_help_is_left_over() -> None:
    assert {path.stem for path in HELP.iterdir()} == {"-".join(command) or "muybridge" for command in COMMANDS}


def test_help_loads_neither_torch_nor_timm() -> None:
    """Of all commands; in one process of its own, since others have loaded them here."""
    code = (
        "import json, sys; from tests.apps.test_help import COMMANDS, _help\n"
        "for command in COMMANDS: _help(command)\n"
        "print(json.dumps(sorted({'torch', 'timm', 'torchvision', 'lightning_fabric'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


if __name__ == "__main__":
    for each in COMMANDS:
        (HELP / f"{'-'.join(each) or 'muybridge'}.txt").write_text(_help(each), encoding="utf-8")
