"""A second look at a clip: a linear classifier on how it moves, whose log-odds are added to the network's.

The network's features say what is there and how that changes; the motion vector says where things go, whatever they
look like. Two witnesses who look at different things are taken as independent: their probabilities are multiplied,
what both knew beforehand counted once (Kittler et al. 1998, product rule).

One letter an axis: N clips, M numbers of a motion vector, K classes.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from muybridge.data.clips.lists import ClipList
from muybridge.data.clips.motion import motion_of_clip
from muybridge.data.loading import Loader
from muybridge.models.dense_motion.camera import CameraMotion
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.pretrained import built_in_codebook
from muybridge.progress import progress_line
from muybridge.recognize.objective import balance_classes, balance_draws, classification_loss, prior_log_odds
from muybridge.recognize.prefixes import fit_linear

# On vectors of length 1, chosen by cross-validation over four data sets (docs/recognize.md).
_PENALTY = 0.003
# To whose motion a classifier is fitted; a gigabyte.
_MOST_CLIPS = 20_000
_LEAST = 1e-6  # of a probability, so that one witness alone does not decide for ever
WEIGHT, BIAS = "motion.weight", "motion.bias"


@dataclass(frozen=True, eq=False)
class MotionReadout:
    """What motion says of the classes, on the CPU.

    Attributes:
        codebook: makes the vectors: of what moves in the picture, or of what the camera does.
        weight, bias: (K, M) and (K,) float32: log-odds, what was known beforehand taken out.
    """

    codebook: Codebook | CameraMotion
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
    def __init__(self, clips: ClipList, codebook: Codebook | CameraMotion) -> None:
        self.clips, self.codebook = clips, codebook

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Tensor:
        entry = self.clips.entries[index]
        return motion_of_clip(entry.path, self.codebook, start=entry.start_seconds, end=entry.end_seconds).half()


def motion_of_clips(
    clips: ClipList, codebook: Codebook | CameraMotion, *, workers: int = 0, quiet: bool = False
) -> Tensor:
    """Motion vectors (N, M) float16 of clips that can be read."""
    read: Loader[Any] = Loader(_MotionOfClips(clips, codebook), batch_size=None, num_workers=workers)
    vectors = torch.empty(len(clips), codebook.length, dtype=torch.float16)
    with progress_line("reading motion", total=len(clips), unit="clips", quiet=quiet) as line:
        for row, vector in zip(vectors, read, strict=True):
            row.copy_(vector)
            line.advance()
    return vectors


def train_motion(
    clips: ClipList,
    labels_NK: Tensor,
    balance: Literal["none", "loss", "draws"],
    *,
    workers: int = 0,
    quiet: bool = False,
) -> MotionReadout:
    """Read how clips move, or of very many clips some, and fit a classifier to it.

    Args:
        labels_NK: (N, K) of 0 and 1.
        balance: against classes of unequal size, see `ClipData`.

    Raises:
        InputError: a clip cannot be read.
    """
    codebook, multi_label = built_in_codebook(), clips.multi_label
    if len(clips) > _MOST_CLIPS:
        some = torch.linspace(0, len(clips) - 1, _MOST_CLIPS).round().long()
        clips, labels_NK = clips.select(some.tolist()), labels_NK[some]
    motion = motion_of_clips(clips, codebook, workers=workers, quiet=quiet)
    class_weights = balance_classes(labels_NK, multi_label=multi_label) if balance == "loss" else None
    draws = balance_draws(labels_NK) if balance == "draws" else None
    return fit_motion(
        codebook,
        motion,
        labels_NK,
        multi_label=multi_label,
        class_weights=class_weights,
        weights=None if draws is None else draws / draws.mean(),
    )


def fit_motion(
    codebook: Codebook | CameraMotion,
    motion_NM: Tensor,
    labels_NK: Tensor,
    *,
    multi_label: bool,
    class_weights: Tensor | None = None,
    weights: Tensor | None = None,
) -> MotionReadout:
    """The classifier at the minimum of its penalized loss, by L-BFGS.

    What the loss knows of the classes beforehand is taken out of it, since the network knows that too.

    Args:
        motion_NM: of clips, as `motion_of_clips` reads it.
        labels_NK: (N, K) of 0 and 1.
        class_weights, weights: as `classification_loss` takes them.
    """
    loss = partial(classification_loss, multi_label=multi_label, class_weights=class_weights, weights=weights)
    truth = labels_NK if multi_label else labels_NK.argmax(dim=1)
    head = nn.Linear(motion_NM.shape[1], labels_NK.shape[1])
    fit_linear(head, motion_NM.float(), truth, loss, penalty=_PENALTY / len(truth))
    prior = prior_log_odds(labels_NK, multi_label=multi_label, class_weights=class_weights, weights=weights)
    # As a model file keeps it, so that a file answers as the recognizer that was saved.
    return MotionReadout(codebook, head.weight.detach().half().float(), head.bias.detach() - prior)
