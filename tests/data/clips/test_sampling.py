"""Times and places that are sampled, against hand-worked numbers; the sampling contract."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from muybridge.data.clips.sampling import (
    SamplingConfig,
    ViewConfig,
    crop_views,
    normalize,
    resize_to_cover,
    sample_indices,
    sample_seconds,
)
from muybridge.errors import OptionError

PLAIN = SamplingConfig(frames=4, rate=5.0, size=(48, 72))


def test_normalisation_matches_the_formula():
    frames = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    config = replace(PLAIN, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    for channel, (mean, std) in enumerate(((0.1, 0.5), (0.2, 0.25), (0.3, 2.0))):
        wanted = (frames[:, channel].double() / 255 - mean) / std
        torch.testing.assert_close(normalize(frames, config)[:, channel].double(), wanted, rtol=0, atol=1e-6)


def test_the_contract_survives_json():
    config = SamplingConfig(frames=3, mode="segments", size=(96, 128), stride=None)
    assert SamplingConfig(**json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 0},
        {"rate": 0.0},
        {"stride": 0},
        {"mode": "sparse"},
        {"interpolation": "magic"},
        {"resize_short_side": 9},
    ],
)
def test_settings_out_of_range_name_themselves(change):
    with pytest.raises(OptionError, match=next(iter(change))):
        replace(PLAIN, **change)


def test_dense_times_worked_out_by_hand():
    seconds = sample_seconds(PLAIN, 2.0, 4.0)  # 0.8 s from the middle of 2 s
    np.testing.assert_allclose(seconds, [2.6, 2.8, 3.0, 3.2], atol=1e-9)
    np.testing.assert_allclose(sample_seconds(PLAIN, 2.0, 4.0, view=0.0), [2.0, 2.2, 2.4, 2.6], atol=1e-9)
    np.testing.assert_allclose(sample_seconds(PLAIN, 2.0, 4.0, view=1.0), [3.2, 3.4, 3.6, 3.8], atol=1e-9)


def test_segment_times_worked_out_by_hand():
    config = replace(PLAIN, mode="segments")
    np.testing.assert_allclose(sample_seconds(config, 1.0, 5.0), [1.5, 2.5, 3.5, 4.5], atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_a_clip_of_one_frame(training):
    random = np.random.default_rng(0) if training else None
    assert sample_indices(replace(PLAIN, stride=3), 7, 1, random=random).tolist() == [7, 7, 7, 7]
    seconds = sample_seconds(PLAIN, 1.0, 1.04, random=random)
    assert ((seconds >= 1.0) & (seconds < 1.04)).all()


def test_portrait_views_are_top_centre_and_bottom():
    frames = torch.arange(96, dtype=torch.uint8)[None, None, :, None].expand(1, 3, 96, 32)
    tops = [int(crop[0, 0, 0, 0]) for crop in crop_views(frames, SamplingConfig(size=(32, 32)), 3)]
    assert tops == [0, 32, 64]


def test_the_short_side_is_scaled_before_the_crop():
    config = SamplingConfig(size=(32, 32), resize_short_side=40)
    assert resize_to_cover(torch.zeros(1, 3, 80, 160, dtype=torch.uint8), config).shape[-2:] == (40, 80)


@pytest.mark.parametrize("change", [{"temporal": 0}, {"spatial": 2}])
def test_views_that_are_not_offered(change):
    with pytest.raises(OptionError, match=next(iter(change))):
        ViewConfig(**change)
