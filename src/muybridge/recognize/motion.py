"""A second look at a clip: a linear classifier on how it moves, whose log-odds are added to the network's.

The network's features say what is there and how that changes; the motion vector says where things go, whatever they
look like. Two witnesses who look at different things are taken as independent: their probabilities are multiplied,
what both knew beforehand counted once (Kittler et al. 1998, product rule).

One letter an axis: N clips, M numbers of a motion vector, K classes.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from muybridge.data.clips.lists import ClipList
from muybridge.data.clips.motion import motion_in
from muybridge.data.clips.shards import is_member
from muybridge.data.clips.splits import k_folds
from muybridge.data.loading import Loader
from muybridge.errors import AnnotationError, InputError
from muybridge.models.dense_motion.camera import CameraMotion
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.models.dense_motion.descriptors import mirrored
from muybridge.pretrained import built_in_codebook
from muybridge.progress import progress_line
from muybridge.recognize.objective import balance_classes, balance_draws, classification_loss, prior_log_odds
from muybridge.recognize.prefixes import fit_linear
from muybridge.training.linear import in_their_span

# On vectors of length 1, chosen by cross-validation over four data sets (docs/recognize.md).
_PENALTY = 0.003
# To whose motion a classifier is fitted, two gigabytes; on how many it is tried if mirrors help; in so many folds.
_MOST_CLIPS, _MOST_TRIED, _FOLDS = 20_000, 1_000, 3
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
    """Of each clip (V, M) float16: its vector, and where it is asked for that of the clip in a mirror."""

    def __init__(self, clips: ClipList, codebook: Codebook | CameraMotion, *, in_mirror: bool) -> None:
        self.clips, self.codebook, self.in_mirror = clips, codebook, in_mirror

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Tensor:
        entry = self.clips.entries[index]
        try:
            seen = motion_in(entry.path, self.codebook, start=entry.start_seconds, end=entry.end_seconds)
        except InputError as error:
            # Nobody looked at clips in shards before, and the network is trained without those that are broken.
            if not is_member(entry.path):
                raise
            warnings.warn(f"{error}. Nothing is learned of its motion", RuntimeWarning, stacklevel=2)
            return torch.zeros(1 + self.in_mirror, self.codebook.length, dtype=torch.float16)
        looks = [seen, mirrored(seen)] if self.in_mirror else [seen]
        return torch.stack([self.codebook.vector(look) for look in looks]).half()


def motion_of_clips(
    clips: ClipList,
    codebook: Codebook | CameraMotion,
    *,
    in_mirror: bool = False,
    workers: int = 0,
    quiet: bool = False,
) -> Tensor:
    """Motion vectors (V, N, M) float16 of clips; of those in shards that cannot be read zeros, with a warning.

    Args:
        in_mirror: also those of the clips in a mirror, V = 2; with a `Codebook` alone.

    Raises:
        InputError: a clip that is a file cannot be read.
    """
    of_clips = _MotionOfClips(clips, codebook, in_mirror=in_mirror)
    read: Loader[Any] = Loader(of_clips, batch_size=None, num_workers=workers)
    vectors = torch.empty(1 + in_mirror, len(clips), codebook.length, dtype=torch.float16)
    with progress_line("reading motion", total=len(clips), unit="clips", quiet=quiet) as line:
        for number, looks in enumerate(read):
            vectors[:, number] = looks
            line.advance()
    return vectors


def train_motion(
    clips: ClipList,
    labels_NK: Tensor,
    balance: Literal["none", "loss", "draws"],
    *,
    workers: int = 0,
    quiet: bool = False,
    tell: Callable[[str], None] = print,
) -> MotionReadout:
    """Read how clips move, or of very many clips some, and fit a classifier to it.

    Args:
        labels_NK: (N, K) of 0 and 1.
        balance: against classes of unequal size, see `ClipData`.
        tell: takes a line for the user.

    Raises:
        InputError: a clip cannot be read.
    """
    codebook, multi_label = built_in_codebook(), clips.multi_label
    if len(clips) > _MOST_CLIPS:
        some = torch.linspace(0, len(clips) - 1, _MOST_CLIPS).round().long()
        clips, labels_NK = clips.select(some.tolist()), labels_NK[some]
    own, in_mirror = motion_of_clips(clips, codebook, in_mirror=True, workers=workers, quiet=quiet)
    class_weights = balance_classes(labels_NK, multi_label=multi_label) if balance == "loss" else None
    draws = balance_draws(labels_NK) if balance == "draws" else None
    weights = None if draws is None else draws / draws.mean()
    looks = 1
    about = f"motion: a classifier of {labels_NK.shape[1]} classes on {codebook.length:,} numbers of how a clip moves"
    if mirror_helps(clips, own, in_mirror, labels_NK, class_weights=class_weights):
        looks, own = 2, torch.cat([own, in_mirror])
        about += ", fitted to mirror images too, with which it is better on clips left out"
    tell(about)
    return fit_motion(
        codebook,
        own,
        labels_NK.repeat(looks, 1),
        multi_label=multi_label,
        class_weights=class_weights,
        weights=None if weights is None else weights.repeat(looks),
    )


def mirror_helps(
    clips: ClipList, own_NM: Tensor, in_mirror_NM: Tensor, labels_NK: Tensor, *, class_weights: Tensor | None = None
) -> bool:
    """Whether who has seen the clips in a mirror too tells unseen ones better: so it is unless classes differ in left
    and right. Found by folds of the clips; where there are too few for that, taken to be no.

    Args:
        own_NM, in_mirror_NM: of the clips, as `motion_of_clips` gives them.
        labels_NK: (N, K) of 0 and 1.
        class_weights: as `classification_loss` takes them.
    """
    if len(clips) > _MOST_TRIED:
        some = torch.linspace(0, len(clips) - 1, _MOST_TRIED).round().long()
        clips, labels_NK = clips.select(some.tolist()), labels_NK[some]
        own_NM, in_mirror_NM = own_NM[some], in_mirror_NM[some]
    count = len(clips)
    try:
        halves = k_folds(clips, folds=_FOLDS, seed=0)
    except AnnotationError:
        return False
    place = {entry: index for index, entry in enumerate(clips.entries)}
    points, _ = in_their_span(torch.cat([own_NM, in_mirror_NM]).float())
    loss = partial(classification_loss, multi_label=clips.multi_label, class_weights=class_weights)
    truth = labels_NK if clips.multi_label else labels_NK.argmax(dim=1)
    lost = {False: 0.0, True: 0.0}
    for train, test in halves:
        if not len(train) or not len(test):
            continue
        seen, unseen = (torch.tensor([place[entry] for entry in half.entries]) for half in (train, test))
        for with_mirror in lost:
            rows = torch.cat([seen, seen + count]) if with_mirror else seen
            head = nn.Linear(points.shape[1], labels_NK.shape[1])
            fit_linear(head, points[rows], truth[rows % count], loss, penalty=_PENALTY / len(rows))
            with torch.no_grad():
                lost[with_mirror] += float(loss(head(points[unseen]), truth[unseen])) * len(unseen)
    return lost[True] < lost[False]


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
    points, basis = in_their_span(motion_NM.float())
    head = nn.Linear(points.shape[1], labels_NK.shape[1])
    fit_linear(head, points, truth, loss, penalty=_PENALTY / len(truth))
    weight = head.weight.detach() if basis is None else head.weight.detach() @ basis.mT
    prior = prior_log_odds(labels_NK, multi_label=multi_label, class_weights=class_weights, weights=weights)
    bias = head.bias.detach() - prior
    # Of a class that all clips have, or none of these, motion can tell nothing.
    varies = labels_NK.amin(dim=0) < labels_NK.amax(dim=0)
    if not multi_label and varies.any():  # log-odds up to a constant, so that nothing is their mean
        weight, bias = weight - weight[varies].mean(dim=0), bias - bias[varies].mean()
    weight, bias = weight * varies[:, None], bias * varies
    # As a model file keeps it, so that a file answers as the recognizer that was saved.
    return MotionReadout(codebook, weight.half().float(), bias)
