"""A second, independent look at a clip: a linear classifier on how it moves, whose log-odds are added to the network's.

The network's features say what is there and how that changes; the motion vector says where things go, whatever they
look like. Two witnesses who look at different things are taken as independent: their probabilities are multiplied,
what both knew beforehand counted once (Kittler et al. 1998, product rule).

One letter an axis: N clips, M numbers of a motion vector, K classes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from muybridge.data.clips.lists import ClipList
from muybridge.data.clips.motion import motion_of_clip
from muybridge.data.loading import Loader
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.progress import progress_line
from muybridge.recognize.prefixes import fit_linear

# On vectors of length 1, chosen by cross-validation over four data sets (docs/recognize.md).
_PENALTY = 0.01
_LEAST = 1e-6  # of a probability, so that one witness alone does not decide for ever
WEIGHT, BIAS = "motion.weight", "motion.bias"


@dataclass(frozen=True, eq=False)
class MotionReadout:
    """What motion says of the classes, on the CPU.

    Attributes:
        codebook: makes the vectors.
        weight, bias: (K, M) and (K,) float32: log-odds, what was known beforehand taken out.
    """

    codebook: Codebook
    weight: Tensor
    bias: Tensor

    def joined(self, probabilities_NK: Tensor, motion_NM: Tensor, *, multi_label: bool) -> Tensor:
        """Probabilities (N, K) of both, from those of the network, on the CPU."""
        odds = motion_NM @ self.weight.mT + self.bias
        # A clip without two frames does not move in any way, and nothing is said of it.
        odds = odds * motion_NM.any(dim=1, keepdim=True)
        known = probabilities_NK.clamp(_LEAST, 1 - _LEAST)
        if multi_label:
            return (known.logit() + odds).sigmoid()
        return (known.log() + odds).softmax(dim=-1)

    def tensors(self) -> dict[str, Tensor]:
        """For a model file."""
        return {WEIGHT: self.weight.half(), BIAS: self.bias}


class _MotionOfClips(Dataset[Tensor]):
    def __init__(self, clips: ClipList, codebook: Codebook) -> None:
        self.clips, self.codebook = clips, codebook

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Tensor:
        entry = self.clips.entries[index]
        return motion_of_clip(entry.path, self.codebook, start=entry.start_seconds, end=entry.end_seconds).half()


def motion_of_clips(clips: ClipList, codebook: Codebook, *, workers: int = 0, quiet: bool = False) -> Tensor:
    """Motion vectors (N, M) float16 of clips that can be read."""
    read: Loader[Any] = Loader(_MotionOfClips(clips, codebook), batch_size=None, num_workers=workers)
    vectors = torch.empty(len(clips), codebook.length, dtype=torch.float16)
    with progress_line("reading motion", total=len(clips), unit="clips", quiet=quiet) as line:
        for row, vector in zip(vectors, read, strict=True):
            row.copy_(vector)
            line.advance()
    return vectors


def fit_motion(
    codebook: Codebook,
    motion_NM: Tensor,
    labels: Tensor,
    loss: Callable[..., Tensor],
    *,
    prior: Tensor,
    weights: Tensor | None = None,
) -> MotionReadout:
    """The classifier at the minimum of its penalized loss, by L-BFGS.

    Args:
        labels: (N,) int64, or (N, K) float32 of 0 and 1.
        loss: of logits (N, K) and labels; with `weights` it is given them as well.
        prior: (K,) log-odds of the classes among what the loss counts, known to the network as well.
        weights: (N,) with the mean 1, where clips do not count alike.
    """
    head = nn.Linear(motion_NM.shape[1], len(prior))
    of_clips = loss if weights is None else partial(loss, weights=weights)
    fit_linear(head, motion_NM.float(), labels, of_clips, penalty=_PENALTY / len(labels))
    # As a model file keeps it, so that a file answers as the recognizer did that was saved.
    weight = head.weight.detach().half().float()
    return MotionReadout(codebook, weight, head.bias.detach() - prior)
