"""How clips move, read from their files: frames at a steady rate, flow between neighbours, one vector a clip.

What is made of a pair of neighbours, and a vector of these, is the codebook's: `Codebook` looks at what moves in the
picture, `CameraMotion` at the picture as a whole.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muybridge.data.clips.dataset import as_frames, clip_bounds, open_clip
from muybridge.data.clips.shards import on_disk
from muybridge.media.optical_flow import GreyFlow
from muybridge.media.video_reader import Frame, FrameSource, VideoReader, exact_seconds
from muybridge.models.dense_motion.camera import MOVES, CameraMotion, camera_steps
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.models.dense_motion.descriptors import (
    LENGTH,
    STEPS_OF_BLOCK,
    MotionConfig,
    blocks_that_move,
    cell_histograms,
)

# Neighbouring frames are those at least this share of the wanted distance apart: at 30 frames a second all are taken,
# at 50 and 60 every other.
_NEAR_ENOUGH = 0.75
# Pairs whose histograms are worked out together.
_TOGETHER = 8
_TOUCHING = 1e-6


@dataclass(eq=False)
class _Pair:
    """Times of two neighbouring frames, and what was made of them."""

    start: float
    end: float
    made: Tensor | None = None


class _Fresh:
    """Pairs of which nothing was made yet, their earlier frames and flows in memory that serves again and again."""

    def __init__(self, size: tuple[int, ...]) -> None:
        self.size = size
        self.pairs: list[_Pair] = []
        self._grey = np.empty((_TOGETHER, *size), np.uint8)
        self._flow = np.empty((_TOGETHER, 2, *size), np.float32)

    def add(self, pair: _Pair, grey: NDArray[np.uint8], flow: NDArray[np.float32]) -> _Pair:
        """One more, which is handed back."""
        self._grey[len(self.pairs)], self._flow[len(self.pairs)] = grey, flow
        self.pairs.append(pair)
        return pair

    def arrays(self) -> tuple[Tensor, Tensor]:
        """(P, H, W) uint8 and (P, 2, H, W) float32, of which nothing remains once another is added."""
        grey, flow = (torch.from_numpy(each[: len(self.pairs)]) for each in (self._grey, self._flow))
        return grey, flow


class _PairReader(ABC):
    """Sees the frames of a film as they come, and makes of each pair of neighbours what is asked for, once.

    Args:
        config: how closely to look.
    """

    def __init__(self, config: MotionConfig) -> None:
        self._config = config
        self._flow = GreyFlow()
        self._pairs: deque[_Pair] = deque()
        self._fresh = _Fresh((0, 0))
        self._last: tuple[float, NDArray[np.uint8]] | None = None

    def see(self, frame: Frame) -> None:
        """The next frame of the film, in order of time."""
        seconds = float(frame.pts_seconds)
        if self._last is not None and seconds - self._last[0] < _NEAR_ENOUGH / self._config.rate:
            return
        grey = frame.grey(self._config.short_side)
        if self._fresh.size != grey.shape:
            self._pairs.clear()  # cells of pictures of two sizes do not lie over each other
            self._fresh = _Fresh(grey.shape)
        elif self._last is not None:
            before, earlier = self._last
            self._pairs.append(self._fresh.add(_Pair(before, seconds), earlier, self._flow(earlier, grey)))
            if len(self._fresh.pairs) == _TOGETHER:
                self._look_at_fresh()
        self._last = (seconds, grey)

    def _look_at_fresh(self) -> None:
        grey_and_flow = self._fresh.arrays()
        pairs, self._fresh.pairs = self._fresh.pairs, []
        if pairs:
            faster = torch.tensor([(pair.end - pair.start) * self._config.rate for pair in pairs])
            for pair, made in zip(pairs, self._make(*grey_and_flow, faster), strict=True):
                pair.made = made.clone()  # so that those that are forgotten take no memory

    @abstractmethod
    def _make(self, grey_PHW: Tensor, flow_P2HW: Tensor, faster: Tensor) -> Tensor:
        """(P, ...), arguments as of `cell_histograms`."""

    def _made(self, start: float, end: float) -> Tensor | None:
        """(P, ...) of the pairs in a stretch of time, of very many those in the middle; None without any."""
        pairs = [pair for pair in self._pairs if pair.start >= start - _TOUCHING and pair.end <= end + _TOUCHING]
        if not pairs:
            return None
        if pairs[-1].made is None:
            self._look_at_fresh()
        surplus = max(0, len(pairs) - self._config.most_pairs)
        pairs = pairs[surplus // 2 : len(pairs) - (surplus - surplus // 2)]
        return torch.stack([pair.made for pair in pairs if pair.made is not None])

    def forget(self, before: float) -> None:
        """What begins before a time is not asked for any more."""
        while self._pairs and self._pairs[0].start < before - _TOUCHING:
            self._pairs.popleft()


class MotionReader(_PairReader):
    """Sees the frames of a film as they come, and tells what moved in any stretch of what it remembers."""

    def _make(self, grey_PHW: Tensor, flow_P2HW: Tensor, faster: Tensor) -> Tensor:
        return cell_histograms(grey_PHW, flow_P2HW, self._config, faster=faster)

    def between(self, start: float, end: float) -> Tensor:
        """Descriptors (N, D) float32 of what moves in a stretch of time; none where there are no two frames in it."""
        cells = self._made(start, end)
        return torch.zeros(0, LENGTH) if cells is None else blocks_that_move(cells, self._config)


class CameraReader(_PairReader):
    """Sees the frames of a film as they come, and tells what the camera did in any stretch of what it remembers."""

    def _make(self, grey_PHW: Tensor, flow_P2HW: Tensor, faster: Tensor) -> Tensor:
        return camera_steps(flow_P2HW)

    def between(self, start: float, end: float) -> Tensor:
        """(P, 4) float32, as `camera_steps` gives them, of a stretch of time."""
        steps = self._made(start, end)
        return torch.zeros(0, len(MOVES)) if steps is None else steps


def reader_for(codebook: Codebook | CameraMotion) -> MotionReader | CameraReader:
    """What gives `codebook.vector` what it takes."""
    kind = MotionReader if isinstance(codebook, Codebook) else CameraReader
    return kind(codebook.config)


def motion_vector(clip: str | Path | NDArray[np.uint8] | Tensor, codebook: Codebook | CameraMotion) -> Tensor:
    """The vector of a video file, a folder of frames, or frames (N, H, W, 3) uint8 RGB; raises as `load_views`.

    Frames that are fewer than a block is long may be a few of a long clip, between which things move too far to be
    followed: zeros.
    """
    if isinstance(clip, str | Path):
        return motion_of_clip(Path(clip), codebook)
    frames = as_frames(clip)
    if isinstance(codebook, Codebook) and len(frames) <= codebook.config.step * STEPS_OF_BLOCK:
        return torch.zeros(codebook.length)
    return motion_of_frames(frames, codebook)


def motion_of_clip(
    path: Path, codebook: Codebook | CameraMotion, *, start: float | None = None, end: float | None = None
) -> Tensor:
    """The vector (length,) float32 of a clip; of a long one, of its middle. Arguments as `motion_in`."""
    return codebook.vector(motion_in(path, codebook, start=start, end=end))


def motion_in(
    path: Path, codebook: Codebook | CameraMotion, *, start: float | None = None, end: float | None = None
) -> Tensor:
    """What `codebook.vector` takes of a clip; of a long one, of its middle.

    Args:
        start, end: of the clip within the file, in seconds.

    Raises:
        InputError: the file cannot be read.
    """
    with on_disk(path) as file, closing(open_clip(file)) as source:
        first, last = clip_bounds(source, path, start, end)
        longest = codebook.config.most_seconds
        if last - first > longest:
            first, last = (first + last - longest) / 2, (first + last + longest) / 2
        reader = reader_for(codebook)
        for frame in _frames_from(source, first):
            if frame.pts_seconds >= last - _TOUCHING:  # of what follows
                break
            reader.see(frame)
        return reader.between(first, last)


def motion_of_frames(frames_NHW3: NDArray[np.uint8] | Tensor, codebook: Codebook | CameraMotion) -> Tensor:
    """The vector of frames (N, H, W, 3) uint8 RGB. How fast they were taken is not known; they are taken to be
    neighbours."""
    reader = reader_for(codebook)
    spacing = 1 / Fraction(codebook.config.rate)
    for number, image in enumerate(as_frames(frames_NHW3).cpu().numpy()):
        reader.see(Frame(image, number * spacing, number))
    return codebook.vector(reader.between(0.0, float("inf")))


def _frames_from(source: FrameSource, seconds: float) -> Iterator[Frame]:
    start = exact_seconds(seconds)
    if start > 0 and isinstance(source, VideoReader):
        return source.convertible_from(start)
    frames = source.convertible() if isinstance(source, VideoReader) else source
    return (frame for frame in frames if frame.pts_seconds >= start)
