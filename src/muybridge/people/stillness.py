"""Whether a picture is as it was when people were last looked for, so that they need not be looked for again."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RGB = NDArray[np.uint8]
_SIZE = 64, 36
# Levels of 255 by which one of these small pixels changes at least where somebody moves a limb; noise of cameras and
# encoders changes it by less, since each is the mean of many.
_CHANGED = 6.0
LONGEST = 1.0  # seconds after which people are looked for in any case
_NEAR = 1e-6


class StillTest:
    """Compares each picture with that of the last look; far cheaper than one."""

    def __init__(self) -> None:
        self._looked_at: NDArray[np.float32] | None = None
        self._seconds = 0.0

    def __call__(self, image: RGB, seconds: float) -> bool:
        """Of the next frame (H, W, 3). Where it is not still, or the last look is long ago, it is that of a look."""
        grey = Image.fromarray(image).resize(_SIZE, Image.Resampling.BOX, reducing_gap=2.0).convert("L")
        small = np.asarray(grey, np.float32)
        last = self._looked_at
        recent = seconds - self._seconds < LONGEST - _NEAR
        if last is not None and recent and float(np.abs(small - last).max()) < _CHANGED:
            return True
        self._looked_at, self._seconds = small, seconds
        return False
