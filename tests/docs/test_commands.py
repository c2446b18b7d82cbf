"""The documentation's commands and Python lines are run, page by page, in a folder of small inputs.

A block is marked in the line before it:

    <!-- run -->                          it is run as it stands
    <!-- run with: --steps 1 -->          it is run with these options set besides, so that a test takes seconds
    <!-- not run: needs a webcam -->      its commands are parsed only

Blocks run in their order, in one folder a page. Commands of other programs than muybridge go to the shell.
"""

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from muybridge.apps.cli import app, main
from muybridge.data.textures import TEXTURE_KINDS, draw_texture

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = Path(__file__).parents[2] / "src" / "muybridge" / "pictures"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "reference" not in page.relative_to(DOCS).parts)
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>run|not run)(?: with)?(?:: (?P<detail>[^\n]*?))? -->\n+)?"
    r"^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    mark: str | None
    detail: str
    language: str
    body: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(DOCS)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start("body")), match["mark"], match["detail"] or "",
              match["language"], match["body"])
        for match in BLOCK.finditer(text)
    ]  # fmt: skip


BLOCKS = [block for page in PAGES for block in blocks_of(page) if block.language in ("bash", "python")]


def commands_of(block: Block) -> list[str]:
    lines = block.body.replace("\\\n", " ").splitlines()
    return [line for line in lines if shlex.split(line, comments=True)]


def with_options(command: list[str], options: str) -> list[str]:
    """The command with options set: in place of a value that it gives, else at its end."""
    command, extra = list(command), shlex.split(options)
    while extra:
        name = extra.pop(0)
        value = [extra.pop(0)] if extra and not re.match(r"--?[a-z]", extra[0]) else []
        if name in command and value:
            command[command.index(name) + 1] = value[0]
        elif name not in command:
            command += [name, *value]
    return command


def run(line: str, options: str = "") -> None:
    command = shlex.split(line, comments=True)
    if command[0] == "muybridge":
        with pytest.raises(SystemExit) as stopped:
            main(with_options(command, options)[1:])
        assert stopped.value.code == 0, line
    else:
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """What the pages call their reader's own files, small."""
    monkeypatch.chdir(tmp_path)
    Path("holiday").mkdir()
    for name, source in (
        ("photo.jpg", "chelsea.jpg"),
        ("holiday/a.jpg", "coffee.jpg"),
        ("holiday/b.jpg", "rocket.jpg"),
    ):
        with Image.open(PICTURES / source) as picture:
            picture.convert("RGB").resize((72, 48)).save(name)
    for seed, name in enumerate(("painting.jpg", "mosaic.jpg")):
        Image.fromarray(draw_texture(TEXTURE_KINDS[seed], seed=seed, size=64)).save(name)
    mask = np.zeros((48, 72), np.uint8)
    mask[:, :36] = 255
    Image.fromarray(mask).save("left.png")
    Image.fromarray(255 - mask).save("right.png")
    run("muybridge stage -o made -n 1 --width 72 --height 48 --rate 6 --seconds 1.5 --actors 3")
    shutil.copy(next(Path("made/videos").iterdir()), "film.mp4")
    shutil.copy("film.mp4", "shop.mp4")
    shutil.rmtree("made")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_block_is_marked(page):
    for block in blocks_of(page):
        if block.language in ("bash", "python"):
            assert block.mark, f"{block.name}: say <!-- run --> or <!-- not run: why --> in the line before"
            assert block.mark == "run" or block.detail, f"{block.name}: say why it is not run"
        else:
            assert block.language in ("text", "json", "csv"), f"{block.name}: {block.language!r} is no language here"


@pytest.mark.parametrize(
    "page",
    sorted({block.page for block in BLOCKS if block.mark == "run"}),
    ids=lambda page: str(page.relative_to(DOCS)),
)
def test_page_runs(page, inputs):
    names: dict[str, object] = {}
    for block in BLOCKS:
        if block.page != page or block.mark != "run":
            continue
        if block.language == "python":
            exec(compile(block.body, block.name, "exec"), names)
        else:
            for line in commands_of(block):
                run(line, block.detail)


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.mark == "not run"], ids=lambda block: f"{block.name} {block.detail}"
)
def test_blocks_that_are_not_run_are_sound(block):
    if block.language == "python":
        compile(block.body, block.name, "exec")
        return
    for line in commands_of(block):
        command = shlex.split(line, comments=True)
        if command[0] == "muybridge":
            app.parse_args(command[1:], exit_on_error=False, print_error=False)


def test_readme_names_real_commands():
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("muybridge ")]
    assert lines
    for line in lines:
        app.parse_args(shlex.split(line, comments=True)[1:], exit_on_error=False, print_error=False)
