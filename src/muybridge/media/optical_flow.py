"""Optical flow by OpenCV's DIS (Kroeger et al. 2016), an optional extra."""

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from muybridge.errors import MissingExtra


def has_optical_flow() -> bool:
    """Whether OpenCV is installed."""
    return find_spec("cv2") is not None


class DISOpticalFlow:
    """Dense flow between two frames.

    Raises:
        MissingExtra: OpenCV is not installed.
    """

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise MissingExtra("optical flow", extra="flow") from error
        self._cv2 = cv2
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, later: NDArray[np.uint8], earlier: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Flow from each pixel of `later` to where its surface was in `earlier`.

        Args:
            later, earlier: (H, W, 3) uint8 RGB of one size.

        Returns:
            (2, H, W) float32: x and y displacement in pixels.
        """
        grey = [self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY) for image in (later, earlier)]
        flow = self._dis.calc(grey[0], grey[1], None)  # pyright: ignore[reportArgumentType, reportCallIssue] - allocated
        return np.ascontiguousarray(flow.transpose(2, 0, 1))
