"""Frame numbers, as annotation tools count them, and the exact times at which those frames are shown.

A number over a mean rate is wrong wherever the rate varies, as on phones, or the picture starts after the sound.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muybridge.errors import OptionError
from muybridge.media.films import open_film


class FrameTimes:
    """When each frame of one film is shown, from its packets' timestamps; decodes nothing where these tell.

    Frames are counted from 0 in order of display, without those that an edit list hides. Times are those of
    `VideoReader`: seconds from the start of the first picture or sound.

    Args:
        path: the film, read through once, or a folder of frames.

    Attributes:
        seconds: (N,) float64, rising.

    Raises:
        InputError: it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with open_film(path) as reader:
            self.seconds: NDArray[np.float64] = np.array([float(time) for time in reader.timestamps()])

    def __len__(self) -> int:
        return len(self.seconds)

    def of(self, numbers: Iterable[int] | NDArray[np.integer]) -> NDArray[np.float64]:
        """Seconds at which the frames of these numbers are shown, (n,) float64.

        Raises:
            OptionError: a number that the film has not.
        """
        wanted = np.fromiter(numbers, np.int64)
        beyond = wanted[(wanted < 0) | (wanted >= len(self))]
        if len(beyond):
            raise OptionError(f"frame {beyond[0]} was asked of {self.path}, which has frames 0 to {len(self) - 1}")
        return self.seconds[wanted]

    def numbers(self, seconds: ArrayLike) -> NDArray[np.int64]:
        """Numbers of the frames on display at these times, (n,) int64; before the first the first.

        A time within a microsecond before a frame counts as that frame's, since files hold rounded seconds.
        """
        place = np.searchsorted(self.seconds, np.asarray(seconds, np.float64) + 1e-6, side="right") - 1
        return np.maximum(place, 0).astype(np.int64)
