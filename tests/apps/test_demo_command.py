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
from muybridge.apps.demo_page import Bar, Exhibit, Film, Timeline, write_demo_page
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter


class Links(HTMLParser):
    """What a page points to, and the commands that it shows."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.commands: list[str] = []
        self.unnamed = 0  # pictures that say nothing to those who do not see them
        self._in_commands = False
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = [value for name, value in attrs if name in ("src", "href", "poster")]
        self.targets += [value for value in values if not value.startswith(("#", "data:"))]
        self.unnamed += tag == "img" and not dict(attrs).get("alt")
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
    monkeypatch.setattr(demo, "_PAINTED_SECONDS", 0.2)
    monkeypatch.setattr(demo, "_STAGE_SECONDS", 1.0)


def leave_out(monkeypatch, *exhibits: str) -> None:
    for name in exhibits:
        monkeypatch.setattr(demo, name, lambda: Exhibit("left out", "", []))


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


@pytest.mark.slow
def test_a_page_without_a_film(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call() == 0
    page = Links(tmp_path / "demo" / "index.html")
    assert page.targets and page.unnamed == 0
    missing = [t for t in page.targets if not (tmp_path / "demo" / t).is_file()]
    assert not missing and not any("//" in target for target in page.targets)
    # The commands are the true ones: run again, one writes the same picture.
    command = next(c for c in page.commands if "chelsea.jpg" in c and "--strength" in c)
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
    leave_out(monkeypatch, "_stage", "_camera", "_painted_stage")
    assert call() == 0  # a page of a demo is replaced
    assert not (tmp_path / "demo" / "old").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_a_film_of_ones_own(film, tmp_path, monkeypatch):
    leave_out(monkeypatch, "_stage", "_camera", "_gallery")
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
    first, third, second = timeline.placed()  # a row after the other
    (left, right) = (timeline.ticks()[0][0], timeline.ticks()[-1][0])
    assert first.x == left and second.x == pytest.approx((left + right) / 2)
    assert first.y == third.y != second.y and [name for name, _ in timeline.rows()] == ["one", "two"]
    assert (first.shown, third.shown) == ("walk 0.50", "")
    assert first.width == pytest.approx((right - left) / 2 - 1)


def test_bars_that_overlap_stand_under_one_another():
    bars = [Bar("one", 0, 5, "walk"), Bar("one", 2, 4, "wave"), Bar("one", 5, 9, "sit"), Bar("two", 0, 9, "lie")]
    walk, sit, wave, lie = Timeline("", bars, 10.0).placed()
    assert walk.text.startswith("walk") and wave.text.startswith("wave") and sit.text.startswith("sit")
    assert walk.y == sit.y < wave.y < lie.y


@pytest.mark.parametrize(
    ("size", "shown"), [((320, 240), 320), ((1600, 900), 800), ((800, 600), 800), ((300, 1200), 150), ((64, 64), 64)]
)
def test_films_are_never_shown_larger_than_they_are(tmp_path, size, shown):
    film = Film("film.mp4", "a film", "film.jpg", "data:,", *size)
    assert film.shown_width == shown
    write_demo_page(tmp_path / "index.html", "demo", "", [Exhibit("one", "", [film])])
    page = (tmp_path / "index.html").read_text()
    assert f'max-width: {shown}px"' in page and f'width="{size[0]}" height="{size[1]}"' in page


def test_what_goes_on_is_one_bar():
    bars = [Bar("one", 0, 2, "walk"), Bar("two", 0, 9, "walk"), Bar("one", 2, 5, "walk"), Bar("one", 6, 7, "walk")]
    assert demo._joined(bars) == [Bar("one", 0, 5, "walk"), Bar("two", 0, 9, "walk"), Bar("one", 6, 7, "walk")]


def test_bars_without_words_are_the_ground_of_others():
    ground, walk = Timeline("", [Bar("one", 0, 9, "", "#00000066"), Bar("one", 2, 4, "walk")], 10.0).placed()
    assert ground.y == walk.y


@pytest.mark.parametrize(("rate", "frames", "kept"), [(120, 60, 15), (60, 30, 15), (30, 15, 15), (1, 4, 4)])
def test_frames_that_come_too_fast_are_left_out(tmp_path, rate, frames, kept):
    source = tmp_path / "fast.mp4"
    with VideoWriter(source, width=200, height=32, rate=Fraction(rate)) as writer:
        for step in range(frames):
            writer.write(np.full((32, 200, 3), 2 * step, np.uint8))
    shown, end = demo._shorten(source, tmp_path / "film.mp4", 15.0, 64)
    assert shown == "fast.mp4, at 128 x 20"
    with VideoReader(tmp_path / "film.mp4") as reader:
        times = [float(frame.pts_seconds) for frame in reader]
    assert len(times) == kept and end == pytest.approx(times[-1] + 1 / min(rate, 30), abs=0.02)


def test_a_slow_film_has_an_excerpt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with VideoWriter("slow.mp4", width=64, height=64, rate=Fraction(1, 5)) as writer:
        for step in range(3):
            writer.write(np.full((64, 64, 3), 80 * step, np.uint8))
    demo._painted_film("", "", Path("slow.mp4"), 15.0)
    # Until 10 s nothing new comes: the frame of 5 s is on display.
    assert abs(int(np.asarray(Image.open("still.png")).mean()) - 80) <= 2
    with VideoReader("painted.mp4") as reader:
        assert len(list(reader)) == 1
