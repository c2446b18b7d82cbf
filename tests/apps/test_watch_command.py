"""`muybridge watch` from the command line, with the models that ship."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from muybridge.apps.cli import main
from muybridge.apps.watch import _style_size
from muybridge.errors import ModelError
from muybridge.media.video_reader import VideoReader
from muybridge.people.built_in import BuiltInDetector
from tests.apps.test_recognize_command import write_noise
from tests.localize.localized_videos import small_localizer


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder; gives code, output and what was said beside it."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["watch", *arguments, "--device", "cpu"])
        printed = capsys.readouterr()
        return stopped.value.code, printed.out, printed.err

    return call


def test_a_film_is_watched_to_a_file(run):
    write_noise(Path("clip.mp4"), 2.5, size=(128, 96))
    code, out, err = run("clip.mp4", "-o", "seen/out.mp4", "--every-frame", "--window", "1s", "--size", "64")
    assert (code, out) == (0, "seen/out.mp4\n")
    assert "muybridge: 25 shown, 0 dropped (0%); shown " in err
    assert "people " in err and "labels " in err
    with VideoReader("seen/out.mp4") as reader:
        assert len(list(reader)) == 25
        assert (reader.info.width, reader.info.height, reader.info.has_audio) == (86, 64, False)


def test_live_a_line_tells_of_drops_delay_and_rates(run):
    write_noise(Path("clip.mp4"), 1.0)
    code, _, err = run("clip.mp4", "-o", "out.mp4", "--no-labels", "--seconds", "500ms")
    assert code == 0
    (told,) = [line for line in err.splitlines() if line.startswith("muybridge: ") and " shown, " in line]
    assert " dropped (" in told
    assert "; delay " in told and " ms, at most " in told and "people " in told


def test_a_localizer_of_ones_own_and_a_style(run):
    small_localizer().save(Path("mine.safetensors"))
    write_noise(Path("clip.mp4"), 1.0, size=(96, 64))
    code, _, err = run(
        "clip.mp4", "-o", "out.mp4", "--every-frame", "--localizer", "mine.safetensors", "--every", "500ms",
        "--style", "ember", "--no-temporal", "--paint-size", "48", "--no-labels", "--seconds", "300ms",
    )  # fmt: skip
    assert code == 0
    assert "actions " in err and "painting " in err and "labels" not in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.mp4", "-o", "out.mp4"], "nowhere.mp4"),
        (["clips", "-o", "out.mp4"], "names 2 videos"),
        (["still.png", "-o", "out.mp4"], "is a picture"),
        (["clip.mp4", "-o", "out.txt"], "out.txt"),
        (["clip.mp4", "-o", "clip.mp4"], "would replace"),
        (["clip.mp4", "--no-show"], "nobody to watch"),
        (["clip.mp4", "-o", "out.mp4", "--speed", "0"], "speed=0"),
        (["clip.mp4", "-o", "out.mp4", "--speed", "2", "--every-frame"], "Leave --speed out"),
        (["clip.mp4", "-o", "out.mp4", "--seconds", "soon"], "--seconds: 'soon' is no length of time"),
        (["clip.mp4", "-o", "out.mp4", "--size", "-5"], "size=-5"),
        (["clip.mp4", "-o", "out.mp4", "--strength", "3"], "strength=3"),
        (["clip.mp4", "-o", "out.mp4", "--top", "-1"], "top=-1"),
        (["clip.mp4", "-o", "out.mp4", "--detector", "nobody"], "no detector 'nobody'"),
        (["clip.mp4", "-o", "out.mp4", "--localizer", "x.safetensors", "--no-people"], "--no-people"),
        (["async:file://clip.mp4", "-o", "out.mp4", "--every-frame"], "Leave --every-frame out"),
        (["/dev/video97", "-o", "out.mp4"], "/dev/video97 cannot be opened"),
        (["clip.mp4"], "no screen"),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(run, monkeypatch, arguments, says):
    monkeypatch.setenv("DISPLAY", ":9876")
    write_noise(Path("clip.mp4"), 0.3)
    Path("clips").mkdir()
    for name in "ab":
        shutil.copy("clip.mp4", f"clips/{name}.mp4")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save("still.png")
    before = sorted(Path().rglob("*"))
    code, out, err = run(*arguments)
    assert code == 2
    assert says in err
    assert err.startswith("muybridge: ") and err.count("\n") == 1
    assert out == ""
    assert sorted(Path().rglob("*")) == before


def test_without_a_screen_no_model_is_loaded(run, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":9876")
    monkeypatch.setattr("muybridge.recognize.recognizer.Recognizer.from_pretrained", lambda *_, **__: pytest.fail())
    write_noise(Path("clip.mp4"), 0.3)
    code, _, err = run("clip.mp4")
    assert code == 2 and "-o" in err and "--serve PORT" in err


def test_a_detector_that_breaks_ends_it_in_one_line_and_leaves_no_file(run, monkeypatch):
    def broken(*_: object) -> None:
        raise ModelError("the weights are torn")

    monkeypatch.setattr(BuiltInDetector, "__call__", broken)
    write_noise(Path("clip.mp4"), 0.5)
    code, out, err = run("clip.mp4", "-o", "out.mp4")
    assert (code, out, err) == (2, "", "muybridge: the weights are torn\n")
    assert [path.name for path in Path().iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("paint_size", "size", "expected"), [(240, 480, 256), (0, 480, 512), (600, 480, 512), (240, 0, 512), (1, 480, 32)]
)
def test_strokes_keep_their_size_in_the_picture(paint_size, size, expected):
    assert _style_size(paint_size, size) == expected
