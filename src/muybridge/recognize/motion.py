"""A second look at a clip: a linear classifier on how it moves, whose log-odds are added to the network's.

The network's features say what is there and how that changes; the motion vector says where things go, whatever they
look like. Two witnesses who look at different things are taken as independent: their probabilities are multiplied,
what both knew beforehand counted once (Kittler et al. 1998, product rule). How much each counts is told by clips
that neither was fitted to (`muybridge.recognize.stacking`).

One letter an axis: N clips, S of them left out of a fold's training, M numbers of a motion vector, K classes.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
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
LEAST = 1e-6  # of a probability, so that one witness alone does not decide for ever
WEIGHT, BIAS = "motion.weight", "motion.bias"


@dataclass(frozen=True, eq=False)
class MotionReadout:
    """What motion says of the classes, on the CPU.

    Attributes:
        codebook: makes the vectors: of what moves in the picture, or of what the camera does.
        weight, bias: (K, M) and (K,) float32: log-odds, what was known beforehand taken out.
        network: how much the network's logarithms of probability count beside them.
    """

    codebook: Codebook | CameraMotion
    weight: Tensor
    bias: Tensor
    network: float = 1.0

    def joined(self, probabilities_NK: Tensor, motion_NM: Tensor, *, multi_label: bool) -> Tensor:
        """Probabilities (N, K) of both, from those of the network, on the CPU."""
        odds = motion_NM @ self.weight.mT + self.bias
        # A clip without two frames does not move in any way, and nothing is said of it.
        moves = motion_NM.any(dim=1, keepdim=True)
        odds, share = odds * moves, torch.where(moves, self.network, 1.0)
        known = probabilities_NK.clamp(LEAST, 1 - LEAST)
        if multi_label:
            return (share * known.logit() + odds).sigmoid()
        return (share * known.log() + odds).softmax(dim=-1)

    def weighed(self, *, network: float, motion: float, prior_K: Tensor) -> "MotionReadout":
        """The same where the network counts so much, and motion.

        Args:
            prior_K: what the network knows of the classes beforehand, which counts as before; see `prior_log_odds`.
        """
        # As a model file keeps it.
        weight = (motion * self.weight).half().float()
        return replace(self, weight=weight, bias=motion * self.bias + (1 - network) * prior_K, network=network)

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


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What motion says of clips that the classifier was not fitted to, found by folds of the training clips.

    Attributes:
        clips: (S,) int64 places among the training clips.
        folds: (S,) int64: the fold in which each was left out.
        odds: (S, K) float32, as `MotionReadout` has them, of classifiers fitted to the other folds.
        in_mirror: whether those that are fitted to mirror images too tell more of them.
    """

    clips: Tensor
    folds: Tensor
    odds: Tensor
    in_mirror: bool


def train_motion(
    clips: ClipList,
    labels_NK: Tensor,
    balance: Literal["none", "loss", "draws"],
    *,
    workers: int = 0,
    quiet: bool = False,
    tell: Callable[[str], None] = print,
) -> tuple[MotionReadout, LeftOut | None]:
    """Read how clips move, or of very many clips some, and fit a classifier to it; and what such classifiers say of
    clips left out, None where they are too few for that.

    Args:
        labels_NK: (N, K) of 0 and 1.
        balance: against classes of unequal size, see `ClipData`.
        tell: takes a line for the user.

    Raises:
        InputError: a clip cannot be read.
    """
    codebook, multi_label = built_in_codebook(), clips.multi_label
    some = _some_of(len(clips), _MOST_CLIPS)
    clips, labels_NK = clips.select(some.tolist()), labels_NK[some]
    own, in_mirror = motion_of_clips(clips, codebook, in_mirror=True, workers=workers, quiet=quiet)
    class_weights = balance_classes(labels_NK, multi_label=multi_label) if balance == "loss" else None
    draws = balance_draws(labels_NK) if balance == "draws" else None
    weights = None if draws is None else draws / draws.mean()
    looks = 1
    about = f"motion: a classifier of {labels_NK.shape[1]} classes on {codebook.length:,} numbers of how a clip moves"
    left_out = motion_left_out(clips, own, in_mirror, labels_NK, class_weights=class_weights, weights=weights)
    if left_out is not None:
        left_out = replace(left_out, clips=some[left_out.clips])
    if left_out is not None and left_out.in_mirror:
        looks, own = 2, torch.cat([own, in_mirror])
        about += ", fitted to mirror images too, with which it is better on clips left out"
    tell(about)
    readout = fit_motion(
        codebook,
        own,
        labels_NK.repeat(looks, 1),
        multi_label=multi_label,
        class_weights=class_weights,
        weights=None if weights is None else weights.repeat(looks),
    )
    return readout, left_out


def _some_of(count: int, most: int) -> Tensor:
    """(S,) int64: places, spread evenly over all, where there are more."""
    return torch.arange(count) if count <= most else torch.linspace(0, count - 1, most).round().long()


def motion_left_out(
    clips: ClipList,
    own_NM: Tensor,
    in_mirror_NM: Tensor,
    labels_NK: Tensor,
    *,
    class_weights: Tensor | None = None,
    weights: Tensor | None = None,
) -> LeftOut | None:
    """What is said of clips, or of very many some, by classifiers fitted to the others, by folds that keep groups
    together; and whether those that have seen the clips in a mirror too tell more: so it is unless classes differ in
    left and right. None where there are too few clips for that.

    Args:
        own_NM, in_mirror_NM: of the clips, as `motion_of_clips` gives them.
        labels_NK: (N, K) of 0 and 1.
        class_weights, weights: as `classification_loss` takes them.
    """
    some = _some_of(len(clips), _MOST_TRIED)
    tried, labels = clips.select(some.tolist()), labels_NK[some]
    folds = _folds_of(tried)
    if folds is None:
        return None
    multi_label, count = clips.multi_label, len(some)
    weights = torch.ones(count) if weights is None else weights[some]
    points, _ = in_their_span(torch.cat([own_NM[some], in_mirror_NM[some]]).float())
    odds, lost = torch.zeros(2, count, labels.shape[1]), [0.0, 0.0]
    for fold in folds.unique():
        unseen, seen = torch.nonzero(folds == fold)[:, 0], torch.nonzero(folds != fold)[:, 0]
        truth = labels[unseen] if multi_label else labels[unseen].argmax(dim=1)
        for with_mirror in (0, 1):
            rows = torch.cat([seen, seen + count]) if with_mirror else seen
            of_rows = labels[rows % count]
            weight, bias, prior = _log_odds(
                points[rows],
                of_rows,
                multi_label=multi_label,
                class_weights=class_weights,
                weights=weights[rows % count],
            )
            odds[with_mirror, unseen] = points[unseen] @ weight.mT + bias
            loss = classification_loss(
                odds[with_mirror, unseen] + prior,
                truth,
                multi_label=multi_label,
                class_weights=class_weights,
                weights=weights[unseen],
            )
            lost[with_mirror] += float(loss) * len(unseen)
    in_mirror = lost[1] < lost[0]
    return LeftOut(some, folds, odds[int(in_mirror)], in_mirror)


def _folds_of(clips: ClipList) -> Tensor | None:
    """(N,) int64, the fold in which each clip is left out; None where that cannot be."""
    try:
        halves = k_folds(clips, folds=_FOLDS, seed=0)
    except AnnotationError:
        return None
    place = {entry: index for index, entry in enumerate(clips.entries)}
    folds = torch.zeros(len(clips), dtype=torch.long)
    for number, (_, unseen) in enumerate(halves):
        folds[[place[entry] for entry in unseen.entries]] = number
    return folds if len(folds.unique()) > 1 else None


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
        labels_NK: (N, K) of 0 and 1, or of one label the share of each class.
        class_weights, weights: as `classification_loss` takes them.
    """
    points, basis = in_their_span(motion_NM.float())
    weight, bias, _ = _log_odds(
        points, labels_NK, multi_label=multi_label, class_weights=class_weights, weights=weights
    )
    weight = weight if basis is None else weight @ basis.mT
    # As a model file keeps it, so that a file answers as the recognizer that was saved.
    return MotionReadout(codebook, weight.half().float(), bias)


def _log_odds(
    points_NR: Tensor,
    labels_NK: Tensor,
    *,
    multi_label: bool,
    class_weights: Tensor | None,
    weights: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weight (K, R) and bias (K,) of log-odds, and (K,) what the loss knew beforehand, which they have not."""
    loss = partial(classification_loss, multi_label=multi_label, class_weights=class_weights, weights=weights)
    head = nn.Linear(points_NR.shape[1], labels_NK.shape[1])
    fit_linear(head, points_NR, labels_NK, loss, penalty=_PENALTY / len(labels_NK))
    prior = prior_log_odds(labels_NK, multi_label=multi_label, class_weights=class_weights, weights=weights)
    weight, bias = head.weight.detach(), head.bias.detach() - prior
    # Of a class that all clips have, or none of these, motion can tell nothing.
    varies = labels_NK.amin(dim=0) < labels_NK.amax(dim=0)
    if not multi_label and varies.any():  # log-odds up to a constant, so that nothing is their mean
        weight, bias = weight - weight[varies].mean(dim=0), bias - bias[varies].mean()
    return weight * varies[:, None], bias * varies, prior
