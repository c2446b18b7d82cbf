"""The contact sheet of a painted film: its moments, its layout, and what the command makes of it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from muybridge.errors import OptionError
from muybridge.media.video_reader import VideoReader
from muybridge.stylize.preview import contact_sheet, moments_of
from muybridge.stylize.stylizer import Stylizer
from tests.apps.test_stylize_command import folder, run, write_clip  # noqa: F401 - a fixture
from tests.stylize.conftest import model_file  # noqa: F401 - a fixture


def test_moments_are_the_start_and_every_so_many_seconds_before_the_end():
    assert moments_of(Fraction(10), 4, "a.mp4") == [0, 4, 8]
    assert moments_of(Fraction(8), 4, "a.mp4") == [0, 4]
    assert moments_of(Fraction(1, 25), 4, "a.mp4") == [0]
    assert moments_of(Fraction(1), 0.4, "a.mp4") == [0, Fraction(2, 5), Fraction(4, 5)]


def test_too_many_moments_are_refused_with_a_step_that_is_not():
    with pytest.raises(OptionError, match="choose 72 or more"):
        moments_of(Fraction(7200), 1, "a.mp4")
    assert len(moments_of(Fraction(7200), 72, "a.mp4")) == 100


def test_a_film_without_an_end_is_refused():
    with pytest.raises(OptionError, match="does not say when it does"):
        moments_of(None, 1, "a.mp4")


def test_a_sheet_shows_every_picture_whole_in_its_place():
    cells = [np.full((20, 30, 3), value, np.uint8) for value in (10, 60, 110, 160, 210)]
    sheet = contact_sheet(cells, [f"0:0{i}" for i in range(5)])
    for value in (10, 60, 110, 160, 210):
        rows, columns = np.nonzero((sheet == value).all(2))
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 30) or len(rows) >= 600
    # Below each picture stands something dark.
    rows, columns = np.nonzero((sheet == 10).all(2))
    assert sheet[rows.max() + 1 : rows.max() + 18, columns.min() : columns.max()].min() < 100


def test_the_command_paints_the_frames_alone_and_nothing_else(folder, model_file):  # noqa: F811
    write_clip(Path("clip.mp4"), frames=50, size=(40, 56))
    command = ("clip.mp4", "-s", "painting.png", "--preview", "0.5", "--model", str(model_file))
    assert run(*command, "-o", "sheet.png") == 0
    sheet = np.asarray(Image.open("sheet.png"))
    stylizer = Stylizer.from_pretrained(model_file, device="cpu")
    with VideoReader("clip.mp4") as reader:
        frames = reader.frames_at_seconds([0, 0.5, 1, 1.5])
    # Three in the first row, one below.
    for number, frame in enumerate(frames):
        top, left = 4 + number // 3 * 62, 4 + number % 3 * 60
        painted = stylizer(frame.image, "painting.png")
        assert np.array_equal(sheet[top : top + 40, left : left + 56], painted)
    assert run(*command) == 0
    assert sorted(p.name for p in folder.glob("clip*")) == ["clip.mp4", "clip.preview.jpg"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["photo.jpg", "--preview", "1"], "--preview is of films"),
        (["clip.mp4", "--preview", "1", "--resume"], "leave out --resume"),
        (["clip.mp4", "--preview", "0.001"], "choose 1 or more"),
    ],
)
def test_mistakes_end_in_one_line(folder, model_file, capsys, arguments, says):  # noqa: F811
    code = run(*arguments, "-s", "painting.png", "--model", str(model_file))
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1) and says in error
    assert not list(folder.glob("*preview*"))
