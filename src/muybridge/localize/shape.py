"""What the shape of a person's box says of their pose: whoever stands, walks or runs is taller than wide."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from muybridge.data.label_maps import LabelMap

_UPRIGHT = ("stand", "walk", "run")
# Of people in boxes wider than high about a third as many are upright as of all: 23 % and 75 % of those whose pose
# was given in the clips that the built-in model is trained on.
_SHARE = 1 / 3


def doubted_by_shape(
    actions: NDArray[np.float32],
    labels: LabelMap,
    told: Collection[str],
    boxes: NDArray[np.floating],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """Probabilities (n, K), a third of those of upright poses for people whose boxes are wider than high.

    Args:
        told: labels that are poses by the model's own word.
        boxes: (n, 4) xyxy as fractions of the frame.
        size: (width, height) of the frame in any unit.
    """
    upright = [column for column, name in enumerate(labels.names) if name in _UPRIGHT and name in told]
    sides = (boxes[:, 2:] - boxes[:, :2]) * np.array(size)
    wide = np.flatnonzero(sides[:, 0] > sides[:, 1])
    doubted = actions.copy()
    doubted[np.ix_(wide, np.array(upright, np.int64))] *= _SHARE
    return doubted
