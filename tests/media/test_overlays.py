"""Labels on frames: readable on any background, bars as long as the scores, the rest of the frame untouched."""

import numpy as np
import pytest

from muybridge.media import overlays
from muybridge.media.overlays import draw_scores

SCORES = [("pan left", 0.5), ("zoom in", 0.3), ("static", 0.0)]
BACKGROUNDS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "yellow": (255, 255, 0),
    "the bar's own colour": (86, 180, 233),
}


def plain(height: int, width: int, color: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.array(color, np.uint8), (height, width, 3)).copy()


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Relative luminance by WCAG 2.2, from (..., 3) uint8 sRGB."""
    channels = rgb / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def changed_box(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Lower and right end of what was drawn."""
    rows, columns = np.nonzero((before != after).any(axis=2))
    return int(rows.max()) + 1, int(columns.max()) + 1


@pytest.mark.parametrize("color", BACKGROUNDS.values(), ids=BACKGROUNDS)
def test_letters_stand_out_from_what_is_behind_them(color):
    frame = plain(360, 640, color)
    drawn = draw_scores(frame, SCORES)
    light = luminance(drawn[:20, :90])  # the first label, without its bar
    letters, shade = np.percentile(light, 99.5), np.median(light)
    assert (letters + 0.05) / (shade + 0.05) >= 4.5  # WCAG's least contrast for text


def test_letters_stand_out_from_noise_too():
    frame = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
    light = luminance(draw_scores(frame, SCORES)[:20, :90])
    letters, brightest_shade = light.max(), np.percentile(light, 80)
    assert (letters + 0.05) / (brightest_shade + 0.05) >= 4.5


def test_bars_are_as_long_as_the_scores():
    drawn = draw_scores(plain(360, 640, (128, 128, 128)), [("a", 1.0), ("a", 0.5), ("a", 0.25), ("a", 0.0)])
    blue = (drawn[..., 2].astype(int) - drawn[..., 0]) > 60
    lengths = [run for run in (int(row.sum()) for row in blue) if run]
    assert sorted(set(lengths)) == pytest.approx([max(lengths) / 4, max(lengths) / 2, max(lengths)], abs=1.5)
    assert max(lengths) >= 40


def test_the_input_and_the_rest_of_the_frame_are_left_alone():
    frame = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)
    before = frame.copy()
    drawn = draw_scores(frame, SCORES, title="3.2 s")
    assert np.array_equal(frame, before)
    assert drawn.dtype == np.uint8
    lower, right = changed_box(frame, drawn)
    assert lower <= 120 and right <= 240
    assert np.array_equal(draw_scores(frame, []), frame)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (48, 400), (400, 48), (2160, 3840)])
def test_any_size_of_frame_stays_that_size(size):
    frame = plain(*size, (10, 200, 30))
    drawn = draw_scores(frame, [("a label that is much longer than the frame is wide", 0.9), *SCORES])
    assert drawn.shape == frame.shape
    assert (drawn != frame).any()


def test_a_long_label_makes_room_for_its_bar():
    frame = plain(360, 200, (128, 128, 128))
    full, half = (draw_scores(frame, [("shaking hands with everybody in the room", s)]) for s in (1.0, 0.5))
    columns = np.nonzero((full != half).any(axis=(0, 2)))[0]
    assert len(columns) == pytest.approx(35, abs=2)  # half of the bar, all of it within the frame
    assert columns.max() < 200


def test_letters_grow_with_the_frame():
    small, large = (
        changed_box(frame, draw_scores(frame, SCORES))
        for frame in (plain(360, 640, (90, 90, 90)), plain(1080, 1920, (90, 90, 90)))
    )
    assert large[0] == pytest.approx(3 * small[0], rel=0.1)


@pytest.mark.parametrize("label", ["Händeschütteln", "встать", "a\nb", "", "挨拶"])
def test_any_label_can_be_drawn(label):
    frame = plain(200, 300, (0, 0, 0))
    assert (draw_scores(frame, [(label, 0.7)]) != frame).any()


@pytest.mark.parametrize("score", [-0.2, 1.3])
def test_a_score_outside_its_range_draws_an_empty_or_a_full_bar(score):
    frame = plain(200, 300, (128, 128, 128))
    expected = draw_scores(frame, [("a", min(max(score, 0.0), 1.0))])
    assert np.array_equal(draw_scores(frame, [("a", score)]), expected)


@pytest.mark.parametrize("letter", ["W", "i", "ü"])
@pytest.mark.parametrize("count", [5, 40, 4096])
def test_a_long_label_shows_as_much_of_its_start_as_fits(monkeypatch, letter: str, count: int) -> None:
    measured: list[str] = []
    font = overlays.overlay_font(12)

    class Counting:
        def getlength(self, text: str) -> float:
            measured.append(text)
            return font.getlength(text)

    shown = overlays._shortened(letter * count, Counting(), 150)
    assert font.getlength(shown) <= 150
    if shown != letter * count:
        assert shown.endswith("…") and font.getlength(shown[:-1] + letter + "…") > 150
    assert len(measured) < 20 and max(map(len, measured)) < 200  # of every label of every frame
