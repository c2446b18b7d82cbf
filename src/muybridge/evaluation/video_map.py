"""Video-mAP: average precision of action tubes, a person's boxes over time with one action.

The overlap of two tubes is the IoU of their boxes, averaged over the frames that either of them has, 0 where only one
has a box (Weinzaepfel et al., arXiv 1506.01929: the mean over the frames they share, times the temporal IoU).
Predicted tubes are ranked by score within a class; each takes the true tube of its video that it overlaps most.

Public evaluators differ, so a report names its protocol:

| protocol | taken true tubes | temporal overlap of spans [a, b] |
| --- | --- | --- |
| act: UCF101-24, JHMDB | leave the contest: a later tube may take the next best | b - a + 1 frames |
| multisports | stay: a tube that overlaps them most is a false positive | b - a, so that one frame counts nothing |

AP is the area under the precision envelope at all points for both. The ACT evaluator's own code takes trapezoids
without an envelope; for one published model that was 15.75 in place of 15.86 per cent.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from muybridge.counts import counted
from muybridge.data.annotations.table import NO_LABEL, NO_PERSON, Annotations
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError, OptionError
from muybridge.evaluation.average_precision import average_precision, descending_stable
from muybridge.evaluation.matching import paired_iou_xyxy

Protocol = Literal["act", "multisports"]
COMMON_THRESHOLDS = (0.2, 0.5, 0.75)
# The mean over these is what is reported as 0.5:0.95.
STRICT_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True, eq=False)
class Tube:
    """One person doing one thing.

    Attributes:
        video: name.
        label: class id.
        frames: (T,) int64, strictly ascending; gaps are frames without a box.
        boxes_xyxy: (T, 4) float64.
        score: of the whole tube; 1 for a true one.

    Raises:
        OptionError: there is no frame, shapes disagree, or frames do not ascend.
    """

    video: str
    label: int
    frames: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    score: float = 1.0

    def __post_init__(self) -> None:
        if not len(self.frames) or self.boxes_xyxy.shape != (len(self.frames), 4):
            raise OptionError(
                f"a tube of {self.video!r} has {counted(len(self.frames), 'frame')} and boxes of shape "
                f"{self.boxes_xyxy.shape}. Give one box a frame, and at least one"
            )
        if (np.diff(self.frames) <= 0).any():
            raise OptionError(f"a tube of {self.video!r} has frames that do not ascend. Sort them, one box a frame")


def tubes_of(annotations: Annotations, *, rate: float, step: int = 1) -> list[Tube]:
    """The tubes of annotations with person ids: one for each unbroken span of a person doing one thing.

    Args:
        annotations: rows without a label or person are left out. A tube's score is the mean of its rows'.
        rate: frames a second.
        step: frames from one annotated frame to the next; a larger gap ends the tube.

    Raises:
        AnnotationError: no ids are known, or a person has two boxes in one frame for one label.
        OptionError: the rate is not positive.
    """
    if not 0 < rate < float("inf"):
        raise OptionError(f"rate={rate} must be frames a second, above 0. Read it from the video")
    if annotations.person is None:
        raise AnnotationError(
            "The annotations have no person ids, so boxes cannot be joined to tubes. Track them first"
        )
    scores = np.ones(len(annotations)) if annotations.score is None else annotations.score
    frames = np.rint(annotations.time_seconds * rate).astype(np.int64)
    used = np.flatnonzero((annotations.label != NO_LABEL) & (annotations.person != NO_PERSON))
    keys = np.stack([annotations.video, annotations.person, annotations.label, frames], axis=1)[used].astype(np.int64)
    order = np.lexsort(keys.T[::-1])
    rows, keys = used[order], keys[order]
    if not len(rows):
        return []
    same = (keys[1:, :3] == keys[:-1, :3]).all(1)
    gaps = np.diff(keys[:, 3])
    doubled = np.flatnonzero(same & (gaps == 0))
    if len(doubled):
        video, person, label, frame = keys[doubled[0]].tolist()
        raise AnnotationError(
            f"video {annotations.videos[video]!r}: person {person} has two boxes of label {label} in frame {frame}. "
            "Give each person one, or check the frame rate"
        )
    tubes: list[Tube] = []
    for part in np.split(np.arange(len(rows)), np.flatnonzero(~same | (gaps > step)) + 1):
        mine = rows[part]
        video = annotations.videos[annotations.video[mine[0]]]
        boxes = annotations.boxes_xyxy[mine]
        tubes.append(Tube(video, int(keys[part[0], 2]), keys[part, 3], boxes, float(scores[mine].mean())))
    return tubes


def tube_iou(one: Tube, other: Tube, *, protocol: Protocol = "act") -> float:
    """Spatio-temporal overlap of two tubes in [0, 1], whatever their videos and labels."""
    _, in_one, in_other = np.intersect1d(one.frames, other.frames, assume_unique=True, return_indices=True)
    if not len(in_one):
        return 0.0
    spatial = paired_iou_xyxy(one.boxes_xyxy[in_one], other.boxes_xyxy[in_other]).mean()
    short = 1 if protocol == "multisports" else 0
    union = len(one.frames) + len(other.frames) - len(in_one)
    return float(spatial * (len(in_one) - short) / (union - short)) if union > short else 0.0


@dataclass(frozen=True)
class ClassTubes:
    """One class of a report: AP at each threshold, NaN without true tubes."""

    id: int
    name: str
    num_truth: int
    num_predictions: int
    ap: tuple[float, ...]


@dataclass(frozen=True)
class VideoReport:
    """Video-mAP at several thresholds.

    Attributes:
        protocol: whose rules.
        thresholds: of tube overlap.
        mean_ap: at each threshold, over the classes with true tubes; NaN if there are none.
        mean_ap_strict: mean over 0.5:0.95 in steps of 0.05.
        classes: in the label map's order.
    """

    protocol: Protocol
    thresholds: tuple[float, ...]
    mean_ap: tuple[float, ...]
    mean_ap_strict: float
    classes: tuple[ClassTubes, ...] = field(repr=False)

    def to_json(self) -> str:
        """The report as JSON; NaN becomes null."""
        content = {
            "protocol": self.protocol,
            "thresholds": self.thresholds,
            "mAP": [_or_none(value) for value in self.mean_ap],
            "mAP_0.5:0.95": _or_none(self.mean_ap_strict),
            "classes": [
                {
                    "id": one.id,
                    "name": one.name,
                    "num_truth": one.num_truth,
                    "num_predictions": one.num_predictions,
                    "ap": [_or_none(value) for value in one.ap],
                }
                for one in self.classes
            ],
        }
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)

    def to_text(self) -> str:
        """A plain table, a column a threshold, in per cent."""
        width = max([5, *(len(one.name) for one in self.classes)])
        head = "".join(f"  {'@' + format(threshold, 'g'):>7}" for threshold in self.thresholds)
        lines = [f"Video-mAP, protocol {self.protocol}", "", f"{'class':<{width}}{head}    truth  predicted"]
        for one in self.classes:
            cells = "".join(f"  {_percent(value):>7}" for value in one.ap)
            lines.append(f"{one.name:<{width}}{cells}  {one.num_truth:>7}  {one.num_predictions:>9}")
        lines += ["", f"{'mAP':<{width}}" + "".join(f"  {_percent(value):>7}" for value in self.mean_ap)]
        lines.append(f"mAP 0.5:0.95  {_percent(self.mean_ap_strict)}")
        return "\n".join(lines)


def evaluate_tubes(
    truth: Iterable[Tube],
    predictions: Iterable[Tube],
    labels: LabelMap,
    *,
    thresholds: Sequence[float] = COMMON_THRESHOLDS,
    protocol: Protocol = "act",
) -> VideoReport:
    """Video-mAP of predicted tubes; tubes of classes that the label map does not have are left out.

    Tubes with equal scores keep their order.

    Raises:
        OptionError: a threshold is not in (0, 1].
    """
    if not all(0 < threshold <= 1 for threshold in thresholds):
        raise OptionError(f"thresholds={tuple(thresholds)} must be above 0 and at most 1. Choose for example 0.2 0.5")
    asked = tuple(thresholds)
    all_thresholds = asked + STRICT_THRESHOLDS
    true_of, predicted_of = _by_label(truth), _by_label(predictions)
    classes: list[ClassTubes] = []
    strict: list[tuple[float, ...]] = []
    for label, name in zip(labels.ids, labels.names, strict=True):
        ap = _class_ap(true_of[label], predicted_of[label], all_thresholds, protocol)
        counts = len(true_of[label]), len(predicted_of[label])
        classes.append(ClassTubes(label, name, *counts, ap[: len(asked)]))
        strict.append(ap[len(asked) :])
    means = tuple(_mean([one.ap[index] for one in classes]) for index in range(len(asked)))
    return VideoReport(protocol, asked, means, _mean([float(np.mean(values)) for values in strict]), tuple(classes))


def _by_label(tubes: Iterable[Tube]) -> defaultdict[int, list[Tube]]:
    grouped: defaultdict[int, list[Tube]] = defaultdict(list)
    for tube in tubes:
        grouped[tube.label].append(tube)
    return grouped


def _class_ap(
    truth: list[Tube], predictions: list[Tube], thresholds: tuple[float, ...], protocol: Protocol
) -> tuple[float, ...]:
    in_video: defaultdict[str, list[int]] = defaultdict(list)
    for index, tube in enumerate(truth):
        in_video[tube.video].append(index)
    ranked = [predictions[i] for i in descending_stable(np.array([tube.score for tube in predictions]))]
    # Overlaps are what takes time; they serve all thresholds.
    overlaps = [
        [(index, tube_iou(truth[index], tube, protocol=protocol)) for index in in_video.get(tube.video, [])]
        for tube in ranked
    ]
    return tuple(
        average_precision(_true_positives(overlaps, threshold, protocol), len(truth)) for threshold in thresholds
    )


def _true_positives(
    overlaps: list[list[tuple[int, float]]], threshold: float, protocol: Protocol
) -> NDArray[np.bool_]:
    taken: set[int] = set()
    hits = np.zeros(len(overlaps), np.bool_)
    for place, candidates in enumerate(overlaps):
        if protocol == "act":
            candidates = [(index, iou) for index, iou in candidates if index not in taken]
        if not candidates:
            continue
        index, iou = max(candidates, key=lambda pair: pair[1])
        if iou >= threshold and index not in taken:
            taken.add(index)
            hits[place] = True
    return hits


def _mean(values: Sequence[float]) -> float:
    present = [value for value in values if not np.isnan(value)]
    return float(np.mean(present)) if present else float("nan")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.2f}"
