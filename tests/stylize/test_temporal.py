"""Coherence over time, on pictures that move by a known amount."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from muybridge.media.video_reader import Frame
from muybridge.stylize.temporal import TemporalConfig
from tests.stylize.conftest import smooth_picture


def panned(count: int, step: int) -> list[Frame]:
    """Frames of a window that moves over one large picture, with sensor noise."""
    canvas = np.kron(smooth_picture(60, 120, 3), np.ones((2, 2, 1), np.uint8))
    random = np.random.default_rng(0)
    frames = []
    for i in range(count):
        window = canvas[10:106, 10 + i * step : 138 + i * step].astype(int)
        noisy = np.clip(window + random.normal(0, 3, window.shape), 0, 255).astype(np.uint8)
        frames.append(Frame(noisy, Fraction(i, 25), i))
    return frames


def flicker(frames: list[Frame], step: int) -> float:
    """Mean squared change along the known motion."""
    errors = []
    for before, after in itertools.pairwise(frames):
        a = before.image[:, step:].astype(float)
        b = after.image[:, : after.image.shape[1] - step].astype(float)
        errors.append(((a - b)[8:-8, 8:-8] ** 2).mean())
    return float(np.mean(errors))


@pytest.mark.parametrize("step", [0, 3])
@pytest.mark.parametrize("motion", ["features", "dis"])
def test_carried_painting_flickers_less(stylizer, painting, step, motion):
    frames = panned(5, step)
    alone = list(stylizer.stream(frames, painting, style_size=64, temporal=None))
    carried = list(stylizer.stream(frames, painting, style_size=64, temporal=TemporalConfig(motion=motion)))
    assert flicker(carried, step) < 0.8 * flicker(alone, step)
    assert np.array_equal(carried[0].image, alone[0].image)


def test_carrying_nothing_is_painting_frame_by_frame(stylizer, painting):
    frames = panned(3, 2)
    nothing = TemporalConfig(match_bonus=0, feature_share=0, picture_share=0, motion="features")
    alone = stylizer.stream(frames, painting, style_size=64, temporal=None)
    for a, b in zip(alone, stylizer.stream(frames, painting, style_size=64, temporal=nothing), strict=True):
        assert np.array_equal(a.image, b.image)


def test_a_cut_starts_afresh(stylizer, painting):
    frames = [*panned(2, 0), Frame(255 - smooth_picture(96, 128, 77), Fraction(2, 25), 2)]
    carried = list(stylizer.stream(frames, painting, style_size=64, temporal=TemporalConfig(motion="features")))
    alone = stylizer(frames[-1].image, painting, style_size=64).astype(float)
    # Some smooth areas may look alike on both sides of the cut.
    assert np.abs(carried[-1].image - alone).mean() < 6


def test_a_change_of_size_in_mid_stream_is_no_error(stylizer, painting):
    frames = [Frame(smooth_picture(*size), Fraction(i, 25), i) for i, size in enumerate([(40, 48), (64, 40)])]
    sizes = [frame.image.shape for frame in stylizer.stream(frames, painting, style_size=64)]
    assert sizes == [(40, 48, 3), (64, 40, 3)]
