"""The window on a screen that nobody sees: what it shows, and what ends it."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import ImageGrab

from muybridge.errors import OptionError
from muybridge.media.window import Window

tkinter = pytest.importorskip("tkinter")


@pytest.fixture(scope="module")
def screen():
    """The name of a display of 300 x 200 without a window manager."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb, a screen that nobody sees, is not installed")
    process = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "300x200x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f":{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@pytest.fixture
def window(screen, monkeypatch):
    monkeypatch.setenv("DISPLAY", screen)
    with Window("a film") as window:
        yield window


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def on_screen(screen: str, height: int, width: int) -> np.ndarray:
    with ImageGrab.grab(xdisplay=screen) as grabbed:
        return np.asarray(grabbed.convert("RGB"))[:height, :width]


def test_pictures_appear_pixel_by_pixel_one_after_another(window, screen):
    for seed in range(3):
        window.show(picture(seed))
        assert window.pump()
        np.testing.assert_array_equal(on_screen(screen, 60, 80), picture(seed))


def test_a_picture_of_another_size_and_one_that_is_a_view(window, screen):
    window.show(picture(0))
    window.show(picture(1, 90, 100)[:, ::-1], title="another")
    assert window.pump()
    np.testing.assert_array_equal(on_screen(screen, 90, 100), picture(1, 90, 100)[:, ::-1])
    assert window._root.title() == "another"


@pytest.mark.parametrize("key", ["<q>", "<Q>", "<Escape>"])
def test_keys_end_it(window, key):
    window.show(picture(0))
    assert window.pump()
    window._root.focus_force()
    window._root.event_generate(key)
    assert not window.pump()
    assert not window.pump()


def test_other_keys_do_not_and_closing_does(window):
    window.show(picture(0))
    window._root.focus_force()
    window._root.event_generate("<x>")
    assert window.pump()
    window._root.tk.eval(window._root.protocol("WM_DELETE_WINDOW"))
    assert not window.pump()


def test_it_is_gone_at_the_end_and_showing_then_does_nothing(screen, monkeypatch):
    monkeypatch.setenv("DISPLAY", screen)
    with Window("a film") as window:
        window.show(picture(0))
    assert not window.pump()
    window.show(picture(1))


def test_without_a_screen_it_says_what_to_do(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":9876")
    with pytest.raises(OptionError, match=r"no screen.*-o"), Window("a film"):
        pass


def test_without_tkinter_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tkinter", None)
    with pytest.raises(OptionError, match="python3-tk"), Window("a film"):
        pass
