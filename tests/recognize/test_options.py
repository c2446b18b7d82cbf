"""The numbers of a plan: sampling from a backbone, learning rates, values that are refused."""

from pathlib import Path

import pytest

from muybridge.errors import OptionError
from muybridge.models.backbones import create_backbone
from muybridge.recognize.objective import sampling_for
from muybridge.recognize.options import ClipData, RecognizerFitConfig, SamplingOptions


def test_sampling_takes_what_the_backbone_was_trained_with():
    clip_tower = create_backbone("vit_base_patch16_clip_224.openai", pretrained=False, depth=1)
    sampling = sampling_for(clip_tower, SamplingOptions(frames=16, mode="segments"))
    assert sampling.size == (224, 224)
    assert sampling.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))  # OpenAI's own
    assert sampling.interpolation == "bicubic"
    assert (sampling.frames, sampling.mode) == (16, "segments")
    assert sampling_for(clip_tower, SamplingOptions(size=96)).size == (96, 96)


def test_the_learning_rate_follows_from_the_method_or_the_batch():
    assert RecognizerFitConfig().for_method("full").learning_rate == 2e-4
    scaled = RecognizerFitConfig(learning_rate_per_256=1e-3, batch_size=32).for_method("head")
    assert scaled.learning_rate == pytest.approx(1.25e-4)
    assert scaled.for_method("full") == scaled


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ClipData(Path("clips"), held_out=1.0), "held_out"),
        (lambda: ClipData(Path("clips"), balance="both"), "balance"),
        (lambda: RecognizerFitConfig(learning_rate=1, learning_rate_per_256=1), "Give one of them"),
    ],
)
def test_values_that_break_their_rule_are_refused(make, says):
    with pytest.raises(OptionError, match=says):
        make()
