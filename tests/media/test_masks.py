"""Masks from arrays, pictures and videos."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from muybridge.errors import OptionError
from muybridge.media.masks import MaskTrack, fit_mask
from tests.media.numbered_clips import number_in, write_clip


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("colours", [False, True])
def test_all_kinds_of_arrays(dtype: type, colours: bool) -> None:
    truth = np.arange(12).reshape(3, 4) % 2
    mask = (truth * (255 if dtype is np.uint8 else 1)).astype(dtype)
    got = fit_mask(np.dstack([mask] * 3) if colours else mask, 3, 4, name="m")
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, truth)


def test_soft_edges_are_kept() -> None:
    ramp = np.linspace(0, 255, 256).astype(np.uint8)[None].repeat(64, 0)
    np.testing.assert_allclose(fit_mask(ramp, 64, 256, name="m")[0], np.arange(256) / 255, atol=1e-6)


def test_another_size_of_the_same_aspect_is_scaled() -> None:
    left = np.zeros((10, 20), np.float32)
    left[:, :10] = 1
    got = fit_mask(left, 40, 80, name="m")
    assert got.shape == (40, 80)
    assert got.min() >= 0
    assert got.max() <= 1
    np.testing.assert_allclose(got.mean(), 0.5, atol=1e-3)
    assert got[:, :36].min() == 1
    assert got[:, 44:].max() == 0
    assert fit_mask(np.ones((720, 1281)), 360, 640, name="m").shape == (360, 640)  # rounding is no other aspect


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((10, 10)),
        np.ones((20, 10)),
        np.ones(7),
        np.zeros((0, 5)),
        np.full((5, 10), 1.5),
        np.full((5, 10), -0.1),
        np.full((5, 10), np.nan),
    ],
    ids=["square", "upright", "one axis", "empty", "above one", "below zero", "nan"],
)
def test_what_does_not_fit_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(OptionError, match="mask sky"):
        fit_mask(mask, 50, 100, name="sky")


def test_a_still_mask_is_the_same_at_all_times(tmp_path: Path) -> None:
    Image.new("L", (8, 4), 51).save(tmp_path / "mask.png")
    for track in (MaskTrack(tmp_path / "mask.png"), MaskTrack(np.full((4, 8), 51, np.uint8))):
        for seconds in (0, 5):
            np.testing.assert_allclose(track.at(Fraction(seconds), 4, 8), 0.2, atol=1e-6)
        track.close()


def test_a_video_mask_follows_time_at_its_own_rate(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "mask.mp4", 20, rate=Fraction(10))
    track = MaskTrack(path)
    times = [Fraction(n, 25) for n in range(60)]
    numbers = [number_in((track.at(t, 48, 72)[..., None] * 255).astype(np.uint8)) for t in times]
    assert numbers == [min(int(t * 10), 19) for t in times]  # and the last frame stays
    track.close()


def test_several_files_are_no_mask(tmp_path: Path) -> None:
    for name in "ab":
        Image.new("L", (8, 4)).save(tmp_path / f"{name}.png")
    with pytest.raises(OptionError, match="2 files"):
        MaskTrack(tmp_path)
