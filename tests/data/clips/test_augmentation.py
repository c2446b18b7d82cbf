"""Augmentation does the same to all frames, and only what was asked for."""

import numpy as np
import pytest
import torch

from muybridge.data.clips.augmentation import AugmentationConfig, augment
from muybridge.data.clips.sampling import SamplingConfig, crop_views
from muybridge.errors import OptionError

PLAIN = SamplingConfig(frames=4, rate=5.0, size=(48, 72))


def moving_square() -> torch.Tensor:
    clip = torch.zeros(4, 3, 60, 80, dtype=torch.uint8)
    clip[:, :, 20:40, 30:50] = 200
    return clip


@pytest.mark.parametrize("crop", ["jitter", "random_resized"])
def test_all_frames_get_the_same_operations(crop):
    config = AugmentationConfig(crop=crop, flip=True, rand_augment=4, color=0.5)
    sampling = SamplingConfig(frames=4, size=(48, 48))
    results = []
    for seed in range(30):
        clip, _ = augment(moving_square(), config, sampling, np.random.default_rng(seed))
        assert clip.shape == (4, 3, 48, 48)
        assert clip.dtype == torch.uint8
        for frame in clip[1:]:  # the frames were equal, so they still are
            torch.testing.assert_close(frame, clip[0], rtol=0, atol=0)
        results.append(clip)
    assert len({tuple(clip.flatten().tolist()) for clip in results}) > 20


def test_augmentation_repeats_with_its_seed_and_leaves_the_global_generator():
    config = AugmentationConfig(rand_augment=2, color=0.4, flip=True)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, again = (augment(moving_square(), config, PLAIN, np.random.default_rng(3))[0] for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    torch.testing.assert_close(torch.rand(1), expected, rtol=0, atol=0)


def test_a_random_crop_is_what_torch_makes_of_that_part():
    frames = torch.randint(0, 256, (2, 3, 60, 80), dtype=torch.uint8)
    sampling = SamplingConfig(frames=4, size=(60, 80))
    clip, mirrored = augment(frames, AugmentationConfig(crop="center"), sampling, np.random.default_rng(0))
    torch.testing.assert_close(clip, frames, rtol=0, atol=0)
    assert not mirrored
    torch.testing.assert_close(crop_views(frames, sampling)[0], frames, rtol=0, atol=0)


def test_pairs_of_classes_go_both_ways():
    config = AugmentationConfig(mirror=("a=b", "c d=e"), reverse=("open=close",))
    assert config.mirrored_labels == {"a": "b", "b": "a", "c d": "e", "e": "c d"}
    assert config.reversed_labels == {"open": "close", "close": "open"}
    with pytest.raises(OptionError, match="reverse 'open'"):
        AugmentationConfig(reverse=("open",))


def test_resized_crops_have_the_areas_and_ratios_asked_for():
    y, x = torch.meshgrid(torch.arange(60), torch.arange(80), indexing="ij")
    frames = torch.stack([3 * x, 4 * y, 0 * x]).to(torch.uint8)[None]
    sampling = SamplingConfig(frames=1, size=(48, 48), interpolation="bilinear")
    areas, ratios = [], []
    for seed in range(60):
        clip, _ = augment(frames, AugmentationConfig(crop="random_resized"), sampling, np.random.default_rng(seed))
        # The ramps tell which part of the picture this is; the outermost half pixels are lost to scaling.
        across = (clip[0, 0, 24, -1].item() - clip[0, 0, 24, 0].item()) / 3 + 1
        down = (clip[0, 1, -1, 24].item() - clip[0, 1, 0, 24].item()) / 4 + 1
        areas.append(across * down / 4800)
        ratios.append(across / down)
    assert 0.06 < min(areas) < 0.2
    assert 0.7 < max(areas) < 1.01
    assert 0.65 < min(ratios) < 0.9
    assert 1.1 < max(ratios) < 1.5


def test_jittered_crops_are_scaled_between_the_bounds():
    ramp = (3 * torch.arange(80)).to(torch.uint8).expand(1, 3, 40, 80)
    sampling = SamplingConfig(frames=1, size=(40, 40), interpolation="bilinear")
    config = AugmentationConfig(crop="jitter", jitter=(1.0, 2.0))
    seen = []
    for seed in range(40):
        clip, _ = augment(ramp, config, sampling, np.random.default_rng(seed))
        seen.append((clip[0, 0, 0, -1].item() - clip[0, 0, 0, 0].item()) / 3 + 1)  # columns of the original
    assert 19 < min(seen) < 24
    assert 36 < max(seen) < 41


def test_each_draw_of_randaugment_does_something_half_of_the_time():
    config = AugmentationConfig(crop="center", rand_augment=1)
    frames = torch.randint(0, 200, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    sampling = SamplingConfig(frames=1, size=(16, 16))
    unchanged = sum(
        torch.equal(augment(frames, config, sampling, np.random.default_rng(seed))[0], frames) for seed in range(200)
    )
    # Half of the draws, and of the other half the one operation in 14 that is the identity.
    assert 0.40 < unchanged / 200 < 0.67


def test_nothing_is_mirrored_unless_asked():
    sampling = SamplingConfig(frames=4, size=(60, 80))
    still, mirrored = AugmentationConfig(crop="center"), AugmentationConfig(crop="center", flip=True)
    assert not any(augment(moving_square(), still, sampling, np.random.default_rng(s))[1] for s in range(20))
    flipped = [augment(moving_square(), mirrored, sampling, np.random.default_rng(s)) for s in range(40)]
    assert 8 < sum(was for _, was in flipped) < 32
    for clip, was in flipped:
        torch.testing.assert_close(clip, moving_square().flip(-1) if was else moving_square(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"crop": "none"},
        {"jitter": (0.5, 1.0)},
        {"area": (0.5, 2.0)},
        {"ratio": (0.0, 1.0)},
        {"color": 2.0},
        {"magnitude": 11.0},
    ],
)
def test_settings_out_of_range_name_themselves(change):
    with pytest.raises(OptionError, match=next(iter(change))):
        AugmentationConfig(**change)
