"""Optical flow by OpenCV's DIS (Kroeger et al. 2016)."""

import cv2
import numpy as np
from numpy.typing import NDArray

# Of a grey picture, so that a strip of few pixels does not become one of very many.
_LARGEST_ASPECT = 8


def to_grey(image: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    """A picture (H, W, 3) uint8 RGB in grey, (h, w) uint8, the short side so many pixels long, aspect kept; but
    strips are squeezed to 8 times that length."""
    return shrunk_grey(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8), short_side)


def shrunk_grey(grey: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    """The same of a picture (H, W) that is grey already."""
    height, width = grey.shape
    scale = short_side / min(height, width)
    longest = _LARGEST_ASPECT * short_side
    size = [min(max(short_side, round(side * scale)), longest) for side in (width, height)]
    if size == [width, height]:
        return grey
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, size, interpolation=method), np.uint8)


class GreyFlow:
    """Dense flow between grey pictures; by default fast rather than fine."""

    def __init__(self, preset: int = cv2.DISOPTICAL_FLOW_PRESET_FAST) -> None:
        self._dis = cv2.DISOpticalFlow.create(preset)

    def __call__(self, earlier: NDArray[np.uint8], later: NDArray[np.uint8]) -> NDArray[np.float32]:
        """How far each pixel of `earlier` (H, W) uint8 has moved in `later`: (2, H, W) float32, x and y in pixels,
        which need not lie one after the other in memory."""
        flow = self._dis.calc(earlier, later, None)  # pyright: ignore[reportArgumentType, reportCallIssue] - allocated
        return np.asarray(flow.transpose(2, 0, 1), np.float32)


class DISOpticalFlow:
    """Dense flow between two frames."""

    def __init__(self) -> None:
        self._flow = GreyFlow(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, later: NDArray[np.uint8], earlier: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Flow from each pixel of `later` to where its surface was in `earlier`.

        Args:
            later, earlier: (H, W, 3) uint8 RGB of one size.

        Returns:
            (2, H, W) float32: x and y displacement in pixels.
        """
        grey = [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) for image in (later, earlier)]
        return self._flow(grey[0], grey[1])
