"""Cuts between shots, at the very frame, in films whose cuts are known; and what is not a cut."""

import builtins
from fractions import Fraction

import numpy as np
import pytest

from muybridge.errors import MissingExtra
from muybridge.media.shots import ShotDetector
from muybridge.media.video_reader import Frame, VideoReader


def scene(seed: int, frames: int, *, speed: int = 1) -> list[np.ndarray]:
    """A crop that moves over a picture of soft blobs: (90, 120, 3) each."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (8, 40, 3), np.uint8)
    picture = np.kron(coarse, np.ones((12, 12, 1), np.uint8))
    return [picture[:90, speed * t % 300 :][:, :120] for t in range(frames)]


def timed(pictures: list[np.ndarray], times: list[Fraction] | None = None) -> list[Frame]:
    times = times or [Fraction(i, 25) for i in range(len(pictures))]
    return [Frame(np.ascontiguousarray(p), t, i) for i, (p, t) in enumerate(zip(pictures, times, strict=True))]


@pytest.fixture(scope="module")
def detector() -> ShotDetector:
    pytest.importorskip("scenedetect")
    return ShotDetector()


def test_cuts_are_found_at_their_frame(detector):
    shots = detector(timed(scene(1, 40) + scene(2, 30) + scene(3, 50)))
    assert shots == [(0.0, 1.6), (1.6, 2.8), (2.8, 4.8)]


def test_a_moving_camera_makes_no_cut(detector):
    assert detector(timed(scene(1, 100, speed=3))) == [(0.0, 4.0)]


def test_times_are_the_frames_own_when_the_rate_varies(detector):
    times = [Fraction(i, 10) for i in range(20)] + [2 + Fraction(i, 30) for i in range(30)]
    shots = detector(timed(scene(1, 20) + scene(2, 30), times))
    assert shots == [(0.0, 2.0), (2.0, 3.0)]


def test_one_frame_is_one_shot_and_none_is_none(detector):
    assert detector(timed(scene(1, 1))) == [(0.0, 0.04)]
    assert detector([]) == []


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name: str, *rest):
        if name.startswith("scenedetect"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match=r"pip install 'muybridge\[shots\]'"):
        ShotDetector()


@pytest.mark.real_data
def test_two_real_films_end_to_end_are_cut_at_the_seam(detector, real_data):
    pictures: list[np.ndarray] = []
    for name in ("walking.mp4", "one-by-one-person-detection.mp4"):
        with VideoReader(real_data / "people" / name, size=(160, 90)) as reader:
            pictures += [frame.image for frame, _ in zip(reader, range(30), strict=False)]
    assert detector(timed(pictures)) == [(0.0, 1.2), (1.2, 2.4)]
