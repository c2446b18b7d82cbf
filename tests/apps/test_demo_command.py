import json
import shlex
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from muybridge.apps import demo
from muybridge.apps.cli import main
from muybridge.apps.demo_page import Bar, Timeline
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter


class Links(HTMLParser):
    """What a page points to, and the commands that it shows."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.commands: list[str] = []
        self._in_commands = False
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.targets += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]
        self._in_commands = tag == "pre"

    def handle_endtag(self, tag):
        self._in_commands = False

    def handle_data(self, data):
        if self._in_commands:
            self.commands += [line for line in data.splitlines() if line.strip()]


@pytest.fixture(autouse=True)
def few_styles(monkeypatch):
    monkeypatch.setattr(demo, "_STYLES", ("woodcut", "glass"))
    monkeypatch.setattr(demo, "_STRENGTHS", (0.5, 1.0))


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["demo", *arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """2.4 s of 10 frames a second, 96x64, a gradient that moves; nobody in it."""
    path = tmp_path_factory.mktemp("film") / "my film.mp4"
    across = np.add.outer(np.arange(64), np.arange(200)).astype(np.uint8)
    with VideoWriter(path, width=96, height=64, rate=Fraction(10)) as writer:
        for step in range(24):
            writer.write(np.repeat(across[:, 2 * step : 2 * step + 96, None], 3, axis=2))
    return path


def test_a_page_without_a_film(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call() == 0
    page = Links(tmp_path / "demo" / "index.html")
    assert page.targets
    missing = [t for t in page.targets if not (tmp_path / "demo" / t).is_file()]
    assert not missing and not any("//" in target for target in page.targets)
    # The commands are the true ones: run again, one writes the same picture.
    (command,) = [c for c in page.commands if "--strength" in c]
    first = np.asarray(Image.open(tmp_path / "demo" / shlex.split(command)[-1]))
    again = tmp_path / "again.png"
    monkeypatch.chdir(tmp_path / "demo")
    with pytest.raises(SystemExit):
        main([*shlex.split(command)[1:-1], str(again)])
    np.testing.assert_array_equal(np.asarray(Image.open(again)), first)
    printed = capsys.readouterr().out
    assert all(f"$ {command}" in printed for command in page.commands)
    # The shipped recognizer reads the moves that the shipped photographs were filmed with.
    (answer,) = json.loads((tmp_path / "demo" / "camera.json").read_text())
    assert [span["label"] for span in answer["spans"]] == [move for _, move in demo._MOVES]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo" / "old").touch()
    monkeypatch.setattr(demo, "_stage", list)
    monkeypatch.setattr(demo, "_camera", list)
    assert call() == 0  # a page of a demo is replaced
    assert not (tmp_path / "demo" / "old").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_film_of_ones_own(film, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "_stage", list)
    monkeypatch.setattr(demo, "_gallery", list)
    assert call(str(film), "-o", str(tmp_path / "page"), "--seconds", "2", "--size", "64") == 0
    page = Links(tmp_path / "page" / "index.html")
    assert not [t for t in page.targets if not (tmp_path / "page" / t).is_file()]
    text = (tmp_path / "page" / "index.html").read_text()
    assert "The first 2 seconds of my film.mp4" in text and "Nobody was found in it" in text
    with VideoReader(tmp_path / "page" / "film.mp4") as reader:
        assert (reader.info.height, len(list(reader))) == (64, 20)
    assert {shlex.split(c)[1] for c in page.commands} == {"recognize", "localize", "stylize"}


def test_what_is_no_film_is_refused_and_leaves_nothing(tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    picture = tmp_path / "picture.png"
    Image.new("RGB", (64, 64)).save(picture)
    for source, word in ((broken, "broken.mp4"), (picture, "is no film"), (tmp_path / "none.mp4", "none.mp4")):
        assert call(str(source), "-o", str(tmp_path / "page")) == 2
        error = capsys.readouterr().err
        assert word in error and len(error.strip().splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.mp4", "picture.png"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path, capsys):
    (tmp_path / "thesis.txt").touch()
    assert call("-o", str(tmp_path)) == 2
    assert "no page of a demo" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").exists()


def test_a_timeline_places_bars_by_time():
    bars = [Bar("one", 0, 5, "walk 0.50"), Bar("two", 5, 10, "sit"), Bar("one", 9.9, 10, "walk 0.50")]
    timeline = Timeline("", bars, 10.0)
    first, second, third = timeline.placed()
    (left, right) = (timeline.ticks()[0][0], timeline.ticks()[-1][0])
    assert first.x == left and second.x == pytest.approx((left + right) / 2)
    assert first.y == third.y != second.y and timeline.rows == ["one", "two"]
    assert (first.shown, third.shown) == ("walk 0.50", "")
    assert first.width == pytest.approx((right - left) / 2 - 1)
