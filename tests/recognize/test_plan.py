"""The numbers of a plan: lengths from clips, sampling from a backbone, values that are refused."""

from pathlib import Path

import pytest

from muybridge.data.clips.sampling import SamplingConfig
from muybridge.errors import OptionError
from muybridge.models.backbones import create_backbone
from muybridge.recognize.plan import ClipData, RunLength, SamplingOptions
from muybridge.training.fit_config import FitConfig


def test_epochs_become_steps_with_their_warmup_and_validations():
    config = RunLength(epochs=3, warmup=0.1, validations=4).of(FitConfig(batch_size=8), num_clips=100)
    assert config.steps == 38  # 300 draws, 37.5 batches
    assert config.warmup_steps == 4
    assert config.validate_every == 10  # after 10, 20, 30 steps, and at the end
    assert config.batch_size == 8


def test_steps_stand_in_for_epochs():
    config = RunLength(steps=7, warmup=0, validations=0).of(FitConfig(batch_size=8), num_clips=1_000_000)
    assert (config.steps, config.warmup_steps, config.validate_every) == (7, 0, 0)


def test_sampling_takes_what_the_backbone_was_trained_with():
    clip_tower = create_backbone("vit_base_patch16_clip_224.openai", pretrained=False, depth=1)
    sampling = SamplingOptions(frames=16, mode="segments").for_backbone(clip_tower)
    assert sampling.size == (224, 224)
    assert sampling.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))  # OpenAI's own
    assert sampling.interpolation == "bicubic"
    assert (sampling.frames, sampling.mode) == (16, "segments")
    assert SamplingOptions(size=96).for_backbone(clip_tower).size == (96, 96)


def test_defaults_of_sampling_stand_in_one_place():
    options, config = SamplingOptions(), SamplingConfig()
    assert (options.frames, options.mode, options.rate, options.stride) == (
        config.frames,
        config.mode,
        config.rate,
        config.stride,
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ClipData(Path("clips"), held_out=1.0), "held_out"),
        (lambda: ClipData(Path("clips"), balance="both"), "balance"),
        (lambda: RunLength(epochs=0), "epochs=0"),
        (lambda: RunLength(steps=-1), "steps=-1"),
        (lambda: RunLength(warmup=1.5), r"warmup=1\.5"),
    ],
)
def test_values_that_break_their_rule_are_refused(make, says):
    with pytest.raises(OptionError, match=says):
        make()
