"""Which detections find a ground truth, for all frames and classes at once.

Letters of shapes: N all detections, R those considered, M ground truths, P pairs of the two that share a group.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

# Bounds the memory of the pairs, some 100 bytes each.
_PAIRS_AT_ONCE = 2_000_000


def first_claims(
    boxes_xyxy: Floats,
    rows: NDArray[np.intp],
    group: Integers,
    truth_boxes_xyxy: Floats,
    truth_group: Integers,
    *,
    iou_threshold: float,
) -> NDArray[np.bool_]:
    """Whether each considered detection is the first to claim the ground truth that it overlaps most.

    Args:
        boxes_xyxy: (N, 4) detections, each with an area.
        rows: (R,) the detections that are considered, in the order in which they claim.
        group: (R,) numbers of frame and class together.
        truth_boxes_xyxy: (M, 4).
        truth_group: (M,) numbers in the same scheme; matches are made within a group only.
        iou_threshold: least overlap of a claim, inclusive.

    Returns:
        (R,) bool. Of equal overlaps the earlier ground truth is claimed.
    """
    best, iou = best_overlaps(boxes_xyxy[rows], group, truth_boxes_xyxy, truth_group)
    claimed = np.where(iou >= iou_threshold, best, -1)
    claimers = np.flatnonzero(claimed >= 0)
    ranked = claimers[np.argsort(claimed[claimers], kind="stable")]
    is_first = np.append(True, claimed[ranked][1:] != claimed[ranked][:-1])[: len(ranked)]
    found = np.zeros(len(rows), bool)
    found[ranked[is_first]] = True
    return found


def best_overlaps(
    boxes_xyxy: Floats, group: Integers, truth_boxes_xyxy: Floats, truth_group: Integers
) -> tuple[Integers, Floats]:
    """The ground truth of its group that each of (R, 4) boxes overlaps most, -1 without one, and the (R,) overlap."""
    order = np.argsort(truth_group, kind="stable")
    sorted_group = truth_group[order]
    first = np.searchsorted(sorted_group, group, side="left")
    count = np.searchsorted(sorted_group, group, side="right") - first
    best, overlap = np.full(len(group), -1, np.int64), np.zeros(len(group))
    candidates = np.flatnonzero(count)
    for part in _parts(count[candidates]):
        chosen = candidates[part]
        best[chosen], overlap[chosen] = _best_truth(
            boxes_xyxy[chosen], first[chosen], count[chosen], truth_boxes_xyxy, order
        )
    return best, overlap


def _parts(counts: Integers) -> list[slice]:
    """Slices of consecutive detections with a bounded number of pairs in each."""
    if not len(counts):
        return []
    number = np.cumsum(counts) // _PAIRS_AT_ONCE
    edges = np.concatenate([[0], np.flatnonzero(np.diff(number)) + 1, [len(counts)]])
    return [slice(int(start), int(stop)) for start, stop in pairwise(edges)]


def _best_truth(
    boxes: Floats, first: Integers, count: Integers, truth_boxes: Floats, order: Integers
) -> tuple[Integers, Floats]:
    """The best-overlapping ground truth of every detection, and by how much it overlaps."""
    starts = np.cumsum(count) - count
    detection = np.repeat(np.arange(len(count)), count)
    truth = order[np.arange(len(detection)) - np.repeat(starts - first, count)]
    iou = paired_iou_xyxy(boxes[detection], truth_boxes[truth])
    best = np.maximum.reduceat(iou, starts)
    is_best = np.flatnonzero(iou == best[detection])
    _, earliest = np.unique(detection[is_best], return_index=True)
    return truth[is_best[earliest]], best


def paired_iou_xyxy(one: Floats, other: Floats) -> Floats:
    """Intersection over union of corresponding (P, 4) boxes: (P,) float64; 0 where the union has no area."""
    size = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    intersection = size.clip(min=0).prod(axis=1)
    union = (one[:, 2:] - one[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1) - intersection
    return np.divide(intersection, union, out=np.zeros(len(one)), where=union > 0)
