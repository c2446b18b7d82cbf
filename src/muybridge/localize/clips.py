"""Clips around key frames, cut from frames that come one after another."""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muybridge.data.localization import KeyFrameSampling, scaled_picture

RGB = NDArray[np.uint8]


@dataclass(eq=False)
class KeyClip:
    """A clip that is being filled.

    Attributes:
        seconds: of its key frame.
        wanted: (T,) times of its frames.
        pictures: (3, height, width) uint8 each; T of them when it is complete.
    """

    seconds: float
    wanted: list[float]
    pictures: list[Tensor] = field(default_factory=list[Tensor])

    def clip(self) -> Tensor:
        """(T, 3, height, width) uint8."""
        return torch.stack(self.pictures)


class KeyClips:
    """Gives out the clip of each key frame as soon as its last frame is known; each frame is scaled once.

    A frame is on display until the next one's time. Clips that reach beyond the start or the end repeat the edge.
    Holds only frames that a clip not yet complete wants, scaled down.

    Args:
        every: seconds from one key frame to the next; they are whole multiples of it.
    """

    def __init__(self, sampling: KeyFrameSampling, every: float) -> None:
        self.sampling, self.every = sampling, every
        self._waiting: deque[KeyClip] = deque()
        self._next: int | None = None
        self._size: tuple[int, int] | None = None
        self._shown: RGB | None = None
        self._shown_from = 0.0

    def push(self, image: RGB, seconds: float) -> list[KeyClip]:
        """Take the next frame; returns the clips that it completes, in order."""
        if self._next is None:
            self._next = math.ceil(seconds / self.every - 1e-6)
            self._size = self.sampling.size(image.shape[1], image.shape[0])
            complete: list[KeyClip] = []
        else:
            complete = self._hand_out(seconds)
        self._shown, self._shown_from = image, seconds
        return complete

    def finish(self) -> list[KeyClip]:
        """The clips of the key frames that are left, when there are no more frames."""
        if self._shown is None:
            return []
        complete = self._hand_out(self._shown_from + 1e-6)  # opens clips whose key frame was shown
        complete += self._hand_out(math.inf)
        self._shown = None
        return complete

    def _hand_out(self, until: float) -> list[KeyClip]:
        """The frame on display until then, to all clips that want it."""
        assert self._next is not None and self._size is not None and self._shown is not None
        half = self.sampling.frames // 2 / self.sampling.rate
        while math.isfinite(until) and self._next * self.every - half < until:
            key = self._next * self.every
            self._waiting.append(KeyClip(key, self.sampling.seconds(key).tolist()))
            self._next += 1
        if math.isinf(until):
            self._waiting = deque(c for c in self._waiting if c.seconds <= self._shown_from + 1e-6)
        picture: Tensor | None = None
        for clip in self._waiting:
            while len(clip.pictures) < len(clip.wanted) and clip.wanted[len(clip.pictures)] < until - 1e-9:
                if picture is None:
                    picture = scaled_picture(self._shown, self._size, preprocessing=self.sampling.preprocessing)
                clip.pictures.append(picture)
        complete: list[KeyClip] = []
        while self._waiting and len(self._waiting[0].pictures) == len(self._waiting[0].wanted):
            complete.append(self._waiting.popleft())
        return complete
