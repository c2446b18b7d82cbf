"""How good predicted classes of whole clips are: top-k, per class, confusion, mAP, and whether order was read.

All take probabilities (N, K) of N clips and K classes. The truth is (N,) columns, one class a clip, or (N, K) of 0
and 1 where a clip may have several labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_average_precision,
    multiclass_accuracy,
    multiclass_confusion_matrix,
)

from muybridge.errors import OptionError


@dataclass(frozen=True)
class ClassRow:
    """One line of the per-class table.

    Attributes:
        name: of the class.
        clips: how many clips have it.
        score: share of them that was recognized, or the average precision where clips have several labels; NaN
            where there is no clip.
        taken_for: the class that most of the others were taken for; empty where there is none, or several labels.
    """

    name: str
    clips: int
    score: float
    taken_for: str = ""


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """What is measured on a set of clips.

    Attributes:
        numbers: `top1`, `top5` (of more than five classes) and `mean_class_accuracy`, or `mAP`; all in [0, 1].
        classes: one row a class, in the order of columns.
        confusion: (K, K) int64 counts, a row the truth, a column what it was taken for; None for several labels.
    """

    numbers: Mapping[str, float]
    classes: tuple[ClassRow, ...]
    confusion: Tensor | None = None

    @property
    def accuracy(self) -> float:
        """The first of the numbers: top-1, or mAP."""
        return next(iter(self.numbers.values()))


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Between which shares, in [0, 1], the accuracy on all such clips lies with 95 % confidence (Wilson 1927).

    Args:
        right: clips that were recognized, at most `count`.
        count: clips that were looked at, 1 or more.
    """
    interval = binomtest(right, count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def classification_report(probabilities: Tensor, truth: Tensor, names: Sequence[str]) -> ClassificationReport:
    """Measure predictions; the kind of truth decides which numbers.

    Raises:
        OptionError: no clip, or shapes that do not belong together.
    """
    N, K = probabilities.shape
    if N == 0 or len(truth) != N or len(names) != K:
        raise OptionError(
            f"probabilities={tuple(probabilities.shape)}, truth={tuple(truth.shape)} and {len(names)} names do not "
            "belong together. Give one row a clip and one column a class, and at least one clip."
        )
    return _multi_label(probabilities, truth, names) if truth.ndim == 2 else _one_label(probabilities, truth, names)


def _one_label(probabilities: Tensor, truth: Tensor, names: Sequence[str]) -> ClassificationReport:
    K = len(names)
    confusion = multiclass_confusion_matrix(probabilities, truth, num_classes=K)
    clips = confusion.sum(dim=1)
    recall = confusion.diagonal() / clips  # NaN where a class has no clip
    errors = confusion - torch.diag(confusion.diagonal())
    rows = [
        ClassRow(
            name,
            int(clips[k]),
            float(recall[k]),
            names[int(errors[k].argmax())] if errors[k].any() else "",
        )
        for k, name in enumerate(names)
    ]
    numbers = {"top1": float(confusion.diagonal().sum() / confusion.sum())}
    if K > 5:
        numbers["top5"] = float(multiclass_accuracy(probabilities, truth, num_classes=K, top_k=5, average="micro"))
    numbers["mean_class_accuracy"] = float(recall.nanmean())
    return ClassificationReport(numbers, tuple(rows), confusion)


def _multi_label(probabilities: Tensor, truth: Tensor, names: Sequence[str]) -> ClassificationReport:
    clips = truth.sum(dim=0).long()
    present = clips.nonzero()[:, 0]  # average precision of a class without clips is not defined
    if not len(present):
        raise OptionError("truth has no label at all. Give at least one labelled clip.")
    scores = torch.full((len(names),), torch.nan)
    for k in present.tolist():
        scores[k] = binary_average_precision(probabilities[:, k].float(), truth[:, k].long())
    rows = [ClassRow(name, int(clips[k]), float(scores[k])) for k, name in enumerate(names)]
    return ClassificationReport({"mAP": float(scores.nanmean())}, tuple(rows))


@dataclass(frozen=True)
class OrderReport:
    """Whether a model reads the order of frames, or recognizes clips by their looks alone.

    Attributes:
        accuracy: top-1, or mAP, on the clips as they are.
        shuffled: the same with each clip's frames in random order.
        reversed: the same with each clip backwards. Between classes that are reversals of each other a model that
            reads order gets these wrong.
        single_frame: the same with the middle frame alone, repeated.
    """

    accuracy: float
    shuffled: float
    reversed: float
    single_frame: float

    @property
    def order_gap(self) -> float:
        """What order brings: accuracy - shuffled."""
        return self.accuracy - self.shuffled


def frame_orders(num_frames: int, seed: int) -> dict[str, Tensor]:
    """Indices (T,) that make of a clip its `shuffled`, `reversed` and `single_frame` forms.

    The shuffled order differs from the clip's own wherever there are two frames.

    Args:
        num_frames: T.
        seed: of the shuffling; give each clip its own.
    """
    generator = torch.Generator().manual_seed(seed)
    own = torch.arange(num_frames)
    shuffled = torch.randperm(num_frames, generator=generator)
    while num_frames > 1 and torch.equal(shuffled, own):
        shuffled = torch.randperm(num_frames, generator=generator)
    return {
        "shuffled": shuffled,
        "reversed": own.flip(0),
        "single_frame": torch.full((num_frames,), num_frames // 2),
    }


@dataclass(frozen=True)
class Confused:
    """A clip that was taken for something else.

    Attributes:
        index: its row.
        truth: column of its class; of several labels the one that was missed most.
        predicted: column of the class it was taken for.
        probability: of that class.
    """

    index: int
    truth: int
    predicted: int
    probability: float


def most_confused(probabilities: Tensor, truth: Tensor, count: int) -> list[Confused]:
    """The clips that were taken for something else with the greatest confidence, worst first.

    Of several labels, a clip counts as confused where a class it lacks scores higher than one it has.
    """
    columns = truth if truth.ndim == 2 else torch.nn.functional.one_hot(truth, probabilities.shape[1])
    has = columns.bool()
    wrong = probabilities.masked_fill(has, -1.0).max(dim=1)
    missed = probabilities.masked_fill(~has, 2.0).min(dim=1)
    # A clip without any label has nothing that could have been missed.
    confused = has.any(dim=1) & (wrong.values > missed.values)
    order = (wrong.values - missed.values).masked_fill(~confused, -torch.inf).argsort(descending=True, stable=True)
    worst = order[: min(count, int(confused.sum()))].tolist()
    return [Confused(i, int(missed.indices[i]), int(wrong.indices[i]), float(wrong.values[i])) for i in worst]
