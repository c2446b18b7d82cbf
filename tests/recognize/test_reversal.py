"""The proof that adapters read the order of frames: clips against their exact time reversals.

Squares move to the right over a picture that wraps around, from random places; the other class is the same clips
backwards. Every still, and every bag of stills, is as likely in one class as in the other, and the test set holds
each clip both ways, so whatever does not read order gets exactly one of the two right.
"""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from muybridge.data.clips.sampling import SamplingConfig, normalize
from muybridge.data.sampling import Draw
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import load_backbone
from muybridge.recognize.objective import RecognizerObjective
from muybridge.training.fit import FitConfig, fit

SIDE, FRAMES, TEST_PAIRS = 48, 6, 300
SAMPLING = SamplingConfig(frames=FRAMES, size=(SIDE, SIDE), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def moving_squares(seed: int) -> Tensor:
    """(T, 3, SIDE, SIDE) uint8: two squares, each to the right at its own speed, reappearing on the left."""
    random = np.random.default_rng(seed)
    clip = np.full((FRAMES, 3, SIDE, SIDE), random.integers(0, 60), np.uint8)
    for _ in range(2):
        side, speed = random.integers(SIDE // 5, SIDE // 3), random.integers(SIDE // 10, SIDE // 5)
        left, top = random.integers(0, SIDE, 2)
        color = random.integers(120, 256, (3, 1, 1))
        rows = (np.arange(side) + top) % SIDE
        for t in range(FRAMES):
            columns = (np.arange(side) + left + speed * t) % SIDE
            clip[t][:, rows[:, None], columns] = color
    return torch.from_numpy(clip)


class Squares(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return 4096

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        label = draw.index % 2
        clip = moving_squares(draw.seed)
        return {"frames": clip.flip(0) if label else clip, "labels": torch.tensor(label)}


def test_a_clip_and_its_reversal_hold_the_same_stills():
    """The premise: without it, the figures below would mean nothing."""
    clip = moving_squares(3)
    assert torch.equal(clip.flip(0).sort(dim=0).values, clip.sort(dim=0).values)
    assert not torch.equal(clip.flip(0), clip)


@torch.no_grad()
def accuracy(model: VideoViT, clips: Tensor, labels: Tensor) -> float:
    guesses = [model.eval()(normalize(part, SAMPLING)).argmax(-1) for part in clips.split(50)]
    return float((torch.cat(guesses) == labels).float().mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "kernel", [(3, 1, 1), (1, 1, 1), None], ids=["st-adapter", "adapter without time", "head only"]
)
def test_only_adapters_over_time_tell_a_clip_from_its_reversal(tmp_path, kernel):
    torch.manual_seed(0)
    backbone, _ = load_backbone(
        "muybridge_vit", random=True, img_size=SIDE, patch_size=16, embed_dim=64, depth=3, num_heads=2
    )
    adapters = None if kernel is None else AdapterConfig(width=32, kernel=kernel)
    model = VideoViT(backbone, 2, adapters=adapters, dropout=0.0)
    config = FitConfig(
        steps=240, batch_size=32, learning_rate=3e-3, warmup=20 / 240, schedule="cosine", clip_norm=1.0
    )
    fit(RecognizerObjective(model, SAMPLING), Squares(), config, folder=tmp_path, accelerator="cpu")

    forwards = torch.stack([moving_squares(10**9 + i) for i in range(TEST_PAIRS)])
    clips = torch.cat([forwards, forwards.flip(1)])
    labels = torch.arange(2).repeat_interleave(TEST_PAIRS)
    score, score_reversed = accuracy(model, clips, labels), accuracy(model, clips.flip(1), labels)
    if kernel == (3, 1, 1):
        assert score >= 0.99
        assert score_reversed <= 0.01
    else:
        assert abs(score - 0.5) <= 0.03
