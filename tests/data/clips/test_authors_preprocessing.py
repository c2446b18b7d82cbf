"""What ST-Adapter's authors show their network of a clip in tests, worked out here step by step in float64.

All frames are decoded; the short side becomes the network's, the long one in proportion, rounded down; a new pixel
is the cubic convolution (a = -0.75) of the 4 x 4 old ones around its centre, edges repeated, whatever the scale;
crops and starts of single views are rounded down; segments are counted in frames.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from muybridge.data.clips.augmentation import AugmentationConfig, augment
from muybridge.data.clips.dataset import load_views, read_clip
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig, normalize, sample_indices
from muybridge.errors import OptionError
from muybridge.media.video_reader import VideoReader
from tests.media.numbered_clips import number_in, write_clip

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZE = 32
# In units of the deviation, a hundredth of a level of 255: what float32 makes of places between pixels.
ATOL = 1.5e-4


def authors(frames: int = 4, *, stride: int | None = None) -> SamplingConfig:
    mode = "segments" if stride is None else "dense"
    return SamplingConfig(
        frames=frames, mode=mode, stride=stride, size=(SIZE, SIZE), mean=MEAN, std=STD, preprocessing="authors"
    )


def cubic(distance: float) -> float:
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def resampling(old: int, new: int) -> NDArray[np.float64]:
    """(new, old) weights."""
    weights = np.zeros((new, old))
    for place in range(new):
        centre = (place + 0.5) * old / new - 0.5
        for near in range(math.floor(centre) - 1, math.floor(centre) + 3):
            weights[place, min(max(near, 0), old - 1)] += cubic(centre - near)
    return weights


def reference(video: NDArray[np.uint8], count: int, stride: int, spatial: int, temporal: int) -> NDArray[np.float64]:
    """(views, count, 3, SIZE, SIZE) of all frames (N, H, W, 3); stride 0 for segments."""
    pixels = (video.astype(np.float64) / 255 - MEAN) / STD
    height, width = video.shape[1:3]
    if height < width:
        rows, columns = SIZE, width * SIZE // height
    else:
        rows, columns = height * SIZE // width, SIZE
    pixels = resampling(height, rows) @ pixels.transpose(0, 3, 1, 2) @ resampling(width, columns).T
    margin_y, margin_x = rows - SIZE, columns - SIZE
    if spatial == 1:
        corners = [(margin_y // 2, margin_x // 2)]
    else:
        along = [0, max(margin_y, margin_x) // 2, max(margin_y, margin_x)]
        corners = [(place, 0) if margin_y > margin_x else (0, place) for place in along]
    views = []
    for moment in range(temporal):
        if stride == 0:
            part = (len(video) - 1) / count
            chosen = [(round(part * i) + round(part * (i + 1))) // 2 for i in range(count)]
        else:
            slide = max(len(video) - ((count - 1) * stride + 1), 0)
            start = slide // 2 if temporal == 1 else round(slide / (temporal - 1) * moment)
            chosen = [min(start + i * stride, len(video) - 1) for i in range(count)]
        views += [pixels[chosen, :, top : top + SIZE, left : left + SIZE] for top, left in corners]
    # The order of views does not matter to their mean: ours go by time, then place.
    return np.stack(views)


@pytest.mark.parametrize(("height", "width"), [(47, 83), (90, 61), (64, 64), (200, 301), (32, 45), (20, 33)])
@pytest.mark.parametrize(
    ("stride", "spatial", "temporal"), [(3, 1, 3), (3, 1, 1), (2, 3, 1), (None, 3, 1), (None, 1, 1)]
)
def test_what_the_network_is_shown_is_equal(height, width, stride, spatial, temporal) -> None:
    for count in (1, 3, 9, 16, 22):
        video = np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        config = authors(stride=stride)
        found = normalize(load_views(video, config, ViewConfig(temporal, spatial)), config)
        expected = reference(video, 4, stride or 0, spatial, temporal)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.numpy(), expected, atol=ATOL)


@pytest.mark.parametrize("stride", [None, 16, 7])
def test_of_a_file_the_same_frames_are_taken(tmp_path: Path, stride: int | None) -> None:
    for count in (30, 61, 100):
        path = write_clip(tmp_path / "film.mp4", count)
        video = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, SIZE, SIZE, 3), np.uint8)
        for temporal in (1, 3) if stride else (1,):
            expected = reference(video, 8, stride or 0, 1, temporal)[:, :, 0, 0, 0] * STD[0] + MEAN[0]
            clips = [
                read_clip(path, authors(8, stride=stride), view=place)
                for place in ([0.5 - 1e-9] if temporal == 1 else [0, 0.5, 1])
            ]
            shown = [[number_in(frame.permute(1, 2, 0).numpy()) for frame in clip] for clip in clips]
            assert shown == (expected * 255).round().astype(int).tolist()


def test_fine_detail_is_kept_that_antialiasing_would_take_out() -> None:
    """Columns black and white by turns, five times as wide as the network's picture: without a filter they alias."""
    stripes = np.zeros((1, 160, 160, 3), np.uint8)
    stripes[:, :, ::2] = 255
    plain = load_views(stripes, SamplingConfig(frames=1, mode="segments", size=(SIZE, SIZE)))
    theirs = load_views(stripes, authors(1))
    assert plain.float().std() < 3
    assert theirs.std() > 100


def test_segments_of_a_training_lie_between_the_same_bounds() -> None:
    random = np.random.default_rng(0)
    drawn = np.stack([sample_indices(authors(), 5, 12, random=random) for _ in range(300)])
    bounds = [round((12 - 1) / 4 * i) for i in range(5)]
    for part in range(4):
        assert set(drawn[:, part].tolist()) == set(range(5 + bounds[part], 5 + bounds[part + 1] + 1))


@pytest.mark.parametrize("crop", ["center", "jitter", "random_resized"])
def test_training_clips_stay_whole_numbers(crop: str) -> None:
    frames = torch.randint(0, 256, (4, 3, 50, 70), dtype=torch.uint8)
    how = AugmentationConfig(crop=crop, color=0.2)  # type: ignore[arg-type]
    clip, _ = augment(frames, how, authors(), np.random.default_rng(0))
    assert clip.dtype == torch.uint8
    assert clip.shape == (4, 3, SIZE, SIZE)


def test_a_wrong_choice_is_told() -> None:
    with pytest.raises(OptionError, match="preprocessing='theirs'"):
        SamplingConfig(preprocessing="theirs")  # type: ignore[arg-type]


@pytest.mark.real_data
def test_a_real_film_is_seen_as_by_the_authors(real_data: Path) -> None:
    path = sorted((real_data / "clips" / "dark_actions" / "val").rglob("*.mp4"))[0]
    with VideoReader(path) as reader:
        video = np.stack([frame.image for frame in reader])
    config = authors(8, stride=2)
    found = normalize(load_views(path, config, ViewConfig(3, 1)), config)
    np.testing.assert_allclose(found.numpy(), reference(video, 8, 2, 1, 3), atol=ATOL)
