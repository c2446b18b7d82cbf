"""What people wear, roughly: two who cross are told apart by it where their boxes do not."""

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
Floats = NDArray[np.float64]
# Shares of a box's height: chest, and hips with thighs. Of its width the middle, where less of the background is.
_PARTS = ((0.1, 0.45), (0.45, 0.8))
_MIDDLE = (0.25, 0.75)
_LEVELS = 4  # of each of red, green, blue
COLOURS = len(_PARTS) * _LEVELS**3
_ALIKE = 0.7  # overlap from which on two are as alike as the same person's two boxes mostly are
_WEIGHT = 0.8  # of colours against place


def colours_of(image: RGB, boxes: NDArray[np.floating]) -> Floats:
    """Histograms of the people of a frame, (n, COLOURS), each with the sum 1.

    Args:
        image: (H, W, 3) RGB.
        boxes: (n, 4) xyxy in pixels, within the frame and with area.
    """
    height, width = image.shape[:2]
    counts = np.zeros((len(boxes), len(_PARTS), _LEVELS**3))
    for row, (left, top, right, bottom) in enumerate(np.asarray(boxes, np.float64).tolist()):
        for part, (begin, end) in enumerate(_PARTS):
            rows = _span(top, bottom, begin, end, height)
            columns = _span(left, right, *_MIDDLE, width)
            levels = image[rows, columns].reshape(-1, 3).astype(np.int64) * _LEVELS // 256
            numbers = levels @ np.array([_LEVELS**2, _LEVELS, 1])
            counts[row, part] = np.bincount(numbers, minlength=_LEVELS**3) / len(numbers)
    return counts.reshape(len(boxes), COLOURS) / len(_PARTS)


def likeness(some: Floats, others: Floats) -> Floats:
    """(n, T) by how much overlaps of boxes count, from colours (n, C) and (T, C): 1 where they are alike.

    Without colours, C = 0, all are.
    """
    if not some.size or not others.size:
        return np.ones((len(some), len(others)))
    shared = np.minimum(some[:, None], others[None]).sum(-1)
    return 1 - _WEIGHT + _WEIGHT * (shared / _ALIKE).clip(max=1)


def _span(start: float, end: float, begin: float, stop: float, size: int) -> slice:
    """Pixels of a part of a side, one at least."""
    first = min(int(start + begin * (end - start)), size - 1)
    return slice(first, max(first + 1, int(np.ceil(start + stop * (end - start)))))
