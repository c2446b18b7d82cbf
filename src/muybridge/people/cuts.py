"""Where a film cuts to another shot, told from the frames that are looked at anyway."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RGB = NDArray[np.uint8]
_SIZE = 32, 18
# Bars of black at the edges of both pictures stay over cuts, and are left out. They are told at this size, are not
# brighter than this, and take no more than this share of a side.
_FINE, _BLACK, _MOST_BARS = (128, 72), 24, 0.75
# At a cut, correlation and twice the share of colours of a picture and the one before it come to less than this, the
# share alone to less than that, and the correlation to less by this than of late: a camera carried about makes all
# pictures differ.
_ALIKE, _SAME_COLOURS, _LESS_THAN_OF_LATE = 2.2, 0.85, 0.25
_NEWEST = 0.3  # share of the newest picture in what was of late


class CutTest:
    """Whether the picture is of another shot than the one before; far cheaper than a look for people."""

    def __init__(self) -> None:
        self._last: RGB | None = None
        self._of_late = 1.0

    def __call__(self, image: RGB) -> bool:
        """Of the next frame (H, W, 3); False for the first."""
        fine = np.asarray(Image.fromarray(image).resize(_FINE, Image.Resampling.BOX, reducing_gap=2.0))
        last, self._last = self._last, fine
        if last is None:
            return False
        inside = _without_bars(np.maximum(last, fine))
        before, now = (_small(each[inside]) for each in (last, fine))
        alike = _alike(before, now)
        shared = _colours_shared(before, now)
        if alike < self._of_late - _LESS_THAN_OF_LATE and shared < _SAME_COLOURS and alike + 2 * shared < _ALIKE:
            return True
        self._of_late += _NEWEST * (alike - self._of_late)
        return False


def _without_bars(lightest: RGB) -> tuple[slice, slice]:
    """Rows and columns from the first to the last that is not black, of a picture (h, w, 3); all, if few are left."""
    light = lightest.max(2) > _BLACK
    spans: list[slice] = []
    for axis in (1, 0):
        lit = np.flatnonzero(light.any(axis))
        size = light.shape[1 - axis]
        spans.append(slice(lit[0], lit[-1] + 1) if len(lit) >= (1 - _MOST_BARS) * size else slice(None))
    return spans[0], spans[1]


def _small(image: RGB) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(image).resize(_SIZE, Image.Resampling.BOX), np.float32)


def _alike(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation of brightness, the best of small shifts, so that a camera that turns is no cut."""
    a, b = one.mean(2), other.mean(2)
    best = -1.0
    for down in (-2, 0, 2):
        for right in range(-8, 9, 2):
            best = max(best, _correlation(_shifted(a, down, right), _shifted(b, -down, -right)))
    return best


def _shifted(x: NDArray[np.float32], down: int, right: int) -> NDArray[np.float32]:
    """What of the picture is left when so much is cut off at the top (or, below 0, the bottom) and the left."""
    rows = slice(max(down, 0), x.shape[0] + min(down, 0))
    columns = slice(max(right, 0), x.shape[1] + min(right, 0))
    return x[rows, columns]


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    # Of a picture of one brightness nothing can be told.
    return float((a * b).sum()) / spread if spread > a.size else 1.0


def _colours_shared(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Overlap of histograms of 4 x 4 x 4 colours, 0 to 1."""
    counts = [np.histogramdd(each.reshape(-1, 3), bins=4, range=[(0, 256)] * 3)[0] for each in (one, other)]
    return float(np.minimum(*counts).sum() / counts[0].sum())
