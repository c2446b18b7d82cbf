"""Average precision as the area under the precision envelope at all points (PASCAL VOC since 2010)."""

import numpy as np
from numpy.typing import NDArray


def average_precision(is_true_positive: NDArray[np.bool_], num_truths: int) -> float:
    """AP of detections that stand in descending order of score.

    Args:
        is_true_positive: (N,) whether each detection found a ground truth that none before it had found.
        num_truths: how many ground truths there are; NaN is returned where there are none.
    """
    if num_truths == 0:
        return float("nan")
    found = np.flatnonzero(is_true_positive)
    # Recall rises at true positives only, by 1 / num_truths each, so precision matters nowhere else.
    precision = np.arange(1, len(found) + 1) / (found + 1)
    envelope = np.maximum.accumulate(precision[::-1])
    return float(envelope.sum() / num_truths)


def average_precision_bounds(
    scores: NDArray[np.float64], is_true_positive: NDArray[np.bool_], num_truths: int
) -> tuple[float, float]:
    """The lowest and the highest AP that (N,) detections can have when equal scores stand in any order."""
    lowest = is_true_positive[np.lexsort((is_true_positive, -scores))]
    highest = is_true_positive[np.lexsort((~is_true_positive, -scores))]
    return average_precision(lowest, num_truths), average_precision(highest, num_truths)


def descending_as_published(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices that order (N,) scores from high to low as TensorFlow's and AVA's evaluators do.

    They reverse numpy's default sort, which is not stable: where equal scores stand depends on all scores, numpy's
    version and the processor.
    """
    return np.argsort(scores)[::-1]


def descending_stable(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices that order (N,) scores from high to low; equal ones keep their order."""
    return np.argsort(-scores, kind="stable")
