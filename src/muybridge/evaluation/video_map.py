"""Video-mAP of action tubes, as UCF101-24, JHMDB and MultiSports are scored.

The overlap of two tubes is their temporal IoU (frames in both over frames in either) times the mean box IoU over the
frames in both. Detections of a class are taken over all videos by descending score; each goes to the tube of its video
and class, not yet found, that it overlaps most, and is correct from the threshold on. AP is the area under the
precision envelope at all points; the mean is over classes with ground truth. Ties keep the order given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muybridge.errors import AnnotationError, OptionError
from muybridge.evaluation.average_precision import average_precision, descending_stable
from muybridge.evaluation.matching import paired_iou_xyxy

# 0.5:0.95 is the mean over ten thresholds, as in COCO.
VIDEO_MAP_THRESHOLDS = (0.2, 0.5, 0.75)
COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True, eq=False)
class Tube:
    """One person doing one action for a while.

    Attributes:
        video: name.
        label: class id.
        frames: (T,) int64, strictly increasing; all tubes of a comparison count frames alike.
        boxes_xyxy: (T, 4) float64, in one unit throughout a comparison.
        score: of a detection; ground truth leaves it.

    Raises:
        AnnotationError: shapes disagree, no frame at all, frames that do not increase, numbers that are not finite.
    """

    video: str
    label: int
    frames: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    score: float = 1.0

    def __post_init__(self) -> None:
        where = f"The tube of class {self.label} in {self.video!r}"
        if not len(self.frames) or self.boxes_xyxy.shape != (len(self.frames), 4):
            raise AnnotationError(
                f"{where} has {len(self.frames)} frames and boxes of shape {self.boxes_xyxy.shape}."
                " Give one box a frame, and at least one."
            )
        if (np.diff(self.frames) <= 0).any():
            raise AnnotationError(f"{where} has frames that do not increase. Sort them and drop repetitions.")
        if not (np.isfinite(self.boxes_xyxy).all() and np.isfinite(self.score)):
            raise AnnotationError(f"{where} holds NaN or infinity. Drop those frames.")


@dataclass(frozen=True)
class VideoMap:
    """Video-mAP at one threshold; `average_precision` is by class id, for classes with ground truth."""

    iou_threshold: float
    mean_average_precision: float | None
    average_precision: dict[int, float]


def tube_iou(one: Tube, other: Tube) -> float:
    """Temporal IoU times the mean spatial IoU over shared frames, in [0, 1]; 0 for tubes of different videos."""
    if one.video != other.video:
        return 0.0
    shared, mine, theirs = np.intersect1d(one.frames, other.frames, assume_unique=True, return_indices=True)
    if not len(shared):
        return 0.0
    temporal = len(shared) / (len(one.frames) + len(other.frames) - len(shared))
    return float(temporal * paired_iou_xyxy(one.boxes_xyxy[mine], other.boxes_xyxy[theirs]).mean())


def video_map(
    truth: Sequence[Tube], detections: Sequence[Tube], *, iou_thresholds: Sequence[float] = VIDEO_MAP_THRESHOLDS
) -> list[VideoMap]:
    """Video-mAP at each threshold. Detections of classes without ground truth are left out.

    Raises:
        OptionError: a threshold outside (0, 1].
    """
    for threshold in iou_thresholds:
        if not 0 < threshold <= 1:
            raise OptionError(f"An IoU threshold is {threshold}. It must lie in (0, 1].")
    classes = sorted({tube.label for tube in truth})
    figures: list[dict[int, float]] = [{} for _ in iou_thresholds]
    for label in classes:
        of_class = [tube for tube in truth if tube.label == label]
        found = [tube for tube in detections if tube.label == label]
        ranked = [found[place] for place in descending_stable(np.array([tube.score for tube in found], float))]
        overlaps = _overlaps(ranked, of_class)
        for number, threshold in enumerate(iou_thresholds):
            figures[number][label] = average_precision(_hits(overlaps, threshold, len(of_class)), len(of_class))
    return [
        VideoMap(threshold, float(np.mean(list(by_class.values()))) if by_class else None, by_class)
        for threshold, by_class in zip(iou_thresholds, figures, strict=True)
    ]


def _overlaps(ranked: list[Tube], truth: list[Tube]) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """For each detection the ground truths of its video and the overlaps with them."""
    of_video: dict[str, list[int]] = {}
    for place, tube in enumerate(truth):
        of_video.setdefault(tube.video, []).append(place)
    overlaps: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    for tube in ranked:
        places = of_video.get(tube.video, [])
        overlaps.append((np.array(places, np.int64), np.array([tube_iou(tube, truth[place]) for place in places])))
    return overlaps


def _hits(
    overlaps: list[tuple[NDArray[np.int64], NDArray[np.float64]]], threshold: float, num_truths: int
) -> NDArray[np.bool_]:
    taken = np.zeros(num_truths, bool)
    hits = np.zeros(len(overlaps), bool)
    for number, (places, ious) in enumerate(overlaps):
        free = ~taken[places]
        if free.any():
            best = int(np.argmax(np.where(free, ious, -1.0)))
            if ious[best] >= threshold:
                hits[number] = taken[places[best]] = True
    return hits
