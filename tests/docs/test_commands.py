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


README = DOCS.parent / "README.md"
# README's commands by how they begin: why one is not run here, and what lets others take seconds.
NOT_RUN = {
    "muybridge stylize film.mp4 --style wave.jpg --who": "needs a film with people",
    "muybridge train stylizer": "downloads VGG-19 and trains for hours",
    "muybridge serve": "does not end by itself",
    "muybridge watch /dev/video0": "needs a camera and a screen",
}
QUICKLY = {
    "muybridge train recognizer": "--size 32 --frames 2 --steps 1 --batch-size 2 --workers 0 --validations 1",
    "muybridge train localizer": "--short-side 48 --held-out 0.5 --steps 1 --batch-size 2 --workers 0",
    "muybridge recognize clips --results": "--workers 1",
    "muybridge stage": "--scenes 1 --width 72 --height 48 --rate 6 --seconds 1",
}
# What a reader has afterwards.
MADE = [
    "photo.stylized.jpg", "painted.mp4", "painted/a.jpg", "painted/b.jpg", "mine.safetensors", "mine.html",
    "labelled.mp4", "report.html", "film.localized.mp4", "film.localized.json", "film.localized.xml",
    "who.safetensors", "who.html", "found/results.parquet", "scenes/ava.csv",
]  # fmt: skip


def commands_of_readme() -> list[str]:
    lines = README.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("muybridge ")]


def test_readme_names_real_commands():
    lines = commands_of_readme()
    for line in lines:
        app.parse_args(shlex.split(line, comments=True)[1:], exit_on_error=False, print_error=False)
    for beginning in (*NOT_RUN, *QUICKLY):
        assert sum(line.startswith(beginning) for line in lines) == 1, f"README has no such line: {beginning}"


@pytest.fixture
def own_data(inputs):
    """Beside them what README's reader trains on and measures: clips by class, annotated videos, rows of AVA."""
    for name in ("wave.jpg", "a.jpg", "b.jpg"):
        shutil.copy("painting.jpg", name)
    run(
        "muybridge stage -o clips --layout classes --scenario reversal --only 'sit down' --only 'stand up' "
        "--actors 1 --scenes 4 --width 48 --height 36 --rate 8 --seconds 1"
    )
    run("muybridge stage -o made --scenes 1 --width 64 --height 48 --rate 6 --seconds 2 --every 0.5")
    shutil.copy(next(Path("clips").rglob("*.mp4")), "clip.mp4")
    shutil.move("made/videos", "videos")
    shutil.copy(next(Path("made/cvat").iterdir()), "annotations.xml")
    shutil.copy("made/labels.pbtxt", "actions.pbtxt")
    names = re.findall(r'name: "(.*)"', Path("actions.pbtxt").read_text())
    Path("labels.txt").write_text("\n".join(names))
    rows = Path("made/ava.csv").read_text().splitlines()
    Path("truth.csv").write_text("\n".join(rows))
    Path("found.csv").write_text("\n".join(",".join([*row.split(",")[:7], "0.9"]) for row in rows))
    shutil.rmtree("made")
    return inputs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the model was trained on clips")  # as a note, its reader sees it too
def test_readme_runs(own_data, capsys):
    """From its first line to its last, with what its earlier lines made; then its Python."""
    said = {}
    for line in commands_of_readme():
        if not line.startswith(tuple(NOT_RUN)):
            run(line, next((options for beginning, options in QUICKLY.items() if line.startswith(beginning)), ""))
            said[line] = capsys.readouterr().out
    assert [name for name in MADE if not Path(name).exists()] == []
    assert not list(own_data.rglob("*.partial*"))
    assert any("frame-mAP 1.000000" in text for text in said.values())  # what was found is the truth itself
    block = next(block for block in re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL))
    exec(compile(block, "README.md", "exec"), {})
