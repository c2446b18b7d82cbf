"""Where a film cuts from one shot to the next, by PySceneDetect, an optional extra."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from muybridge.errors import MissingExtra
from muybridge.media.video_reader import DEFAULT_RATE, Frame

# Pictures of this short side tell a cut as well as large ones, and faster.
SHORT_SIDE = 180
_SHORTEST_SHOT_SECONDS = 0.4


class ShotDetector:
    """Finds cuts with PySceneDetect's adaptive detector, which looks for changes that stand out among their
    neighbours, and so is not misled by a fast camera.

    Raises:
        MissingExtra: PySceneDetect is not installed.
    """

    def __init__(self) -> None:
        try:
            import scenedetect
            from scenedetect.common import Timecode
        except ImportError as error:
            raise MissingExtra("finding shots", extra="shots") from error
        self._library: Any = scenedetect
        self._timecode: Any = Timecode

    def __call__(self, frames: Iterable[Frame]) -> list[tuple[float, float]]:
        """(start, end) of each shot in seconds, one after another, from 0 to the end of the last frame.

        Args:
            frames: of one video, in order; best of a short side of `SHORT_SIDE`.
        """
        detector = self._library.AdaptiveDetector(min_scene_len=_SHORTEST_SHOT_SECONDS)
        cuts: list[float] = []
        last, spacing = Fraction(0), 1 / DEFAULT_RATE
        seen = False
        for frame in frames:
            spacing = frame.pts_seconds - last or spacing
            last, seen = frame.pts_seconds, True
            time = self._timecode(last.numerator, Fraction(1, last.denominator))
            found = detector.process_frame(
                self._library.FrameTimecode(time, fps=DEFAULT_RATE), np.ascontiguousarray(frame.image[..., ::-1])
            )
            cuts += [cut.seconds for cut in found]
        return list(pairwise([0.0, *cuts, float(last + spacing)])) if seen else []
