"""How each person of a film moves around a moment: windows that go with them, scaled so that all are of one size.

    frames ── flow of the whole picture ─┬─ the camera's map ─────────────────────┐
                                         └─ where a box goes ── a window ── flow ─┴─ less the camera's ── one vector

An arm of somebody far away moves over few pixels; in a window in which everybody is of one size it moves as
anybody's, and the codebook, which was learned of people who fill the picture, knows it. The camera's map is that of
the whole picture, since a person fills their window. Boxes are followed by the flow within them, so that all that is
needed of a person is where they are at the moment itself.

One letter an axis: n people, P pairs of neighbouring frames, H x W pixels, M numbers of a vector.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muybridge.media.films import open_film
from muybridge.media.optical_flow import GreyFlow, shrunk_grey, to_grey
from muybridge.media.video_reader import Frame, VideoReader, exact_seconds
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.models.dense_motion.descriptors import (
    MotionConfig,
    affine_maps,
    blocks_that_move,
    cell_histograms,
    mirrored,
)

Floats = NDArray[np.floating]
Grey = NDArray[np.uint8]
# To be raised with whatever changes the numbers here.
_VERSION = 1
# Seconds around a moment that are looked at: as a rule those of the localizer's clip.
BEFORE, AFTER = 0.8, 0.66
# Frames a second, and pairs of them in a step: half of what the codebook was learned at, for half the work.
_RATE, _STEP = 12.5, 2
_NEAR_ENOUGH = 0.75  # neighbouring frames are at least this share of the wanted distance apart,
_TOO_FAR = 0.17  # and no farther than this many seconds: things move too far in between
_LEAST_PAIRS = 3
# Lines of the frames that windows are cut from, at most, and of those whose whole flow is worked out.
_MOST_LINES, _LINES = 480, 120
_COARSER = 4  # times, than which the whole flow is kept to follow people by
# The longer side of a person's box becomes so many pixels; around it is this share of it.
_SIDE, _MARGIN = 112, 0.25
# The inner part of a box, in shares of its width and height, whose flow is taken for the person's.
_INNER = np.array([0.5, 0.7])
# Whoever is smaller, in pixels, shows nothing of how they move; and who is so small a share of the picture is mostly
# seen from above, and goes down or up in it while they walk, as others do who sit down or rise.
_LEAST_SIDE, _LEAST_SHARE = 16, 0.25
# Of more people the largest are looked at.
_MOST_PEOPLE = 8
_TOUCHING = 1e-3


@dataclass(frozen=True, eq=False)
class _Step:
    """How the whole picture moves from one frame to the next, in shares of its width and height.

    Attributes:
        flow: (2, h, w), coarse.
        camera: (3, 2) its affine map, as `affine_maps` has it.
    """

    flow: NDArray[np.float32]
    camera: NDArray[np.float32]


class _Shown:
    """A frame, of which all is made when it is first asked for; `step` is that from the frame before."""

    def __init__(self, frame: Frame) -> None:
        self.seconds = float(frame.pts_seconds)
        self.step: _Step | None = None
        self._frame: Frame | None = frame

    @cached_property
    def grey(self) -> Grey:
        """(H, W)."""
        frame, self._frame = self._frame, None
        assert frame is not None
        return to_grey(frame.image, min(_MOST_LINES, *frame.image.shape[:2]))

    @cached_property
    def small(self) -> Grey:
        """(h, w)."""
        return shrunk_grey(self.grey, _LINES)


class PersonMotion:
    """Sees the frames of a film as they come, and tells how people moved around a moment that it remembers.

    Frames may come from another thread than questions.

    Args:
        codebook: makes vectors of descriptors.
    """

    def __init__(self, codebook: Codebook) -> None:
        self._codebook, self._config = codebook, _config_of(codebook)
        self._flow = GreyFlow()
        self._shown: deque[_Shown] = deque()
        self._lock = threading.Lock()

    def see(self, frame: Frame) -> None:
        """The next frame of the film, in order of time; quick."""
        with self._lock:
            if not self._shown or float(frame.pts_seconds) - self._shown[-1].seconds >= _NEAR_ENOUGH / _RATE:
                self._shown.append(_Shown(frame))

    def forget(self, before: float) -> None:
        """Moments before a time will not be asked about any more."""
        with self._lock:
            while self._shown and self._shown[0].seconds < before - BEFORE - _TOUCHING:
                self._shown.popleft()

    def of(self, boxes: Floats, seconds: float, *, in_mirror: bool = False) -> Tensor:
        """(V, n, M) float32 of people around a moment; zeros of whom nothing can be told, as where frames are few.

        Args:
            boxes: (n, 4) x1 y1 x2 y2 at that moment, in shares of the picture.
            in_mirror: also as if the film were seen in a mirror, V = 2.
        """
        vectors = torch.zeros(1 + in_mirror, len(boxes), self._codebook.length)
        frames = self._around(seconds)
        if not len(boxes) or len(frames) <= _LEAST_PAIRS or len({frame.grey.shape for frame in frames}) > 1:
            return vectors
        steps = self._steps(frames)
        sides, least = _sides(boxes, frames[0].grey), max(_LEAST_SIDE, _LEAST_SHARE * min(frames[0].grey.shape))
        for person in np.argsort(-sides, kind="stable")[:_MOST_PEOPLE].tolist():
            if sides[person] < least:
                break
            cells = self._cells(frames, steps, np.asarray(boxes[person], np.float64), seconds)
            if cells is not None:
                blocks = blocks_that_move(cells, self._config)
                for view, each in enumerate([blocks, mirrored(blocks)] if in_mirror else [blocks]):
                    vectors[view, person] = self._codebook.vector(each)
        return vectors

    def _around(self, seconds: float) -> list[_Shown]:
        with self._lock:
            shown = list(self._shown)
        return [each for each in shown if seconds - BEFORE - _TOUCHING <= each.seconds <= seconds + AFTER]

    def _steps(self, frames: Sequence[_Shown]) -> list[_Step]:
        """From each frame to the next; those that are not known yet are worked out together."""
        missing = [(earlier, later) for earlier, later in pairwise(frames) if later.step is None]
        if missing:
            flows = np.stack([self._flow(earlier.small, later.small) for earlier, later in missing])
            height, width = flows.shape[2:]
            size, coarse = (
                np.array([width, height], np.float32),
                (max(1, width // _COARSER), max(1, height // _COARSER)),
            )
            cameras = affine_maps(torch.from_numpy(flows)).numpy() / size
            for (_, later), flow, camera in zip(missing, flows, cameras, strict=True):
                kept = cv2.resize(flow.transpose(1, 2, 0), coarse, interpolation=cv2.INTER_AREA)
                later.step = _Step(kept.transpose(2, 0, 1) / size[:, None, None], camera)
        return [frame.step for frame in frames[1:] if frame.step is not None]

    def _cells(self, frames: Sequence[_Shown], steps: Sequence[_Step], box: Floats, seconds: float) -> Tensor | None:
        """(P, C + 1, h, w) of a window that goes with a person; None where there are too few pairs of frames."""
        window = _Window.around(box, frames[0].grey)
        moved = _followed(steps, [frame.seconds for frame in frames], box, seconds)
        greys: list[Grey] = []
        flows: list[NDArray[np.float32]] = []
        cameras: list[Tensor] = []
        faster: list[float] = []
        for place, (earlier, later) in enumerate(pairwise(frames)):
            if later.seconds - earlier.seconds > _TOO_FAR:
                continue
            corner = window.corner((moved[place] + moved[place + 1]) / 2)
            before, after = window.cut(earlier.grey, corner), window.cut(later.grey, corner)
            greys.append(before)
            flows.append(self._flow(before, after))
            cameras.append(window.camera(steps[place].camera, corner))
            faster.append((later.seconds - earlier.seconds) * _RATE)
        if len(greys) < _LEAST_PAIRS:
            return None
        return cell_histograms(
            torch.from_numpy(np.stack(greys)).float(),
            torch.from_numpy(np.stack(flows)),
            self._config,
            faster=torch.tensor(faster),
            camera_P32=torch.stack(cameras),
        )


def motion_at(film: Path, seconds: float, boxes: Floats, codebook: Codebook, *, in_mirror: bool = False) -> Tensor:
    """Vectors (V, n, M) float32 of people around a moment of a film or folder of frames, as of `PersonMotion.of`.

    Args:
        boxes: (n, 4) in shares of the picture.
        in_mirror: also those of the film in a mirror, V = 2.

    Raises:
        InputError: the film cannot be read.
    """
    reader = PersonMotion(codebook)
    with open_film(film) as source:
        start = exact_seconds(max(0.0, seconds - BEFORE - 1 / _RATE))
        for frame in source.convertible_from(start) if isinstance(source, VideoReader) and start > 0 else source:
            if float(frame.pts_seconds) > seconds + AFTER:
                break
            reader.see(frame)
            reader.forget(seconds)
        return reader.of(boxes, seconds, in_mirror=in_mirror)


def person_motion_hash(codebook: Codebook) -> str:
    """How a model file calls these vectors: SHA-256 of what they depend on."""
    about = (_VERSION, BEFORE, AFTER, _LINES, _SIDE, _MARGIN, _config_of(codebook))
    return hashlib.sha256(f"people {about!r} {codebook.hash}".encode()).hexdigest()


def _config_of(codebook: Codebook) -> MotionConfig:
    return replace(codebook.config, rate=_RATE, step=_STEP)


def _sides(boxes: Floats, grey: Grey) -> Floats:
    """(n,) the longer side of each box in pixels of a frame."""
    height, width = grey.shape
    return ((boxes[:, 2:] - boxes[:, :2]) * np.array([width, height])).max(axis=1, initial=0.0)


def _followed(steps: Sequence[_Step], times: Sequence[float], box: Floats, seconds: float) -> Floats:
    """(T, 2) how far a box is, at each of T frames, from where it is at a moment, in shares of the picture."""
    key = max(0, int(np.searchsorted(times, seconds + 1e-6, side="right")) - 1)
    moved = np.zeros((len(times), 2))
    for place in range(key, len(times) - 1):
        moved[place + 1] = moved[place] + _flow_in(steps[place].flow, box, moved[place])
    for place in range(key, 0, -1):
        moved[place - 1] = moved[place] - _flow_in(steps[place - 1].flow, box, moved[place])
    return moved


def _flow_in(flow: NDArray[np.float32], box: Floats, moved: Floats) -> Floats:
    """(2,) the median of a flow in the inner part of a box."""
    size = np.array([flow.shape[2], flow.shape[1]])
    centre, half = (box[:2] + box[2:]) / 2 + moved, (box[2:] - box[:2]) / 2 * _INNER
    first = np.floor((centre - half) * size).clip(0, size - 1).astype(int)
    last = np.maximum(np.ceil((centre + half) * size).clip(1, size).astype(int), first + 1)
    return np.median(flow[:, first[1] : last[1], first[0] : last[0]].reshape(2, -1), axis=1)


@dataclass(frozen=True, eq=False)
class _Window:
    """A part of the picture of unchanging size. Places and sizes are (x, y).

    Attributes:
        low: its corner at the moment itself, in pixels of the frame.
        size: in pixels of the frame.
        whole: size of the frame.
        out: size in pixels of its own, whole cells.
    """

    low: Floats
    size: Floats
    whole: Floats
    out: NDArray[np.int_]

    @classmethod
    def around(cls, box: Floats, grey: Grey) -> "_Window":
        """Of a box (4,) in shares of the picture, with its margin, as far as it is in the picture."""
        whole = np.array([grey.shape[1], grey.shape[0]], np.float64)
        low, high = box[:2] * whole, box[2:] * whole
        side = max(8.0, float((high - low).max()))
        low, high = (low - _MARGIN * side).clip(0, whole), (high + _MARGIN * side).clip(0, whole)
        size = np.maximum(high - low, 2)
        cells = np.round(size * _SIDE / side / 10).astype(int)
        return cls(low, size, whole, np.maximum(cells, 2) * 10)

    def corner(self, moved: Floats) -> Floats:
        """Where it is once its person has moved by so many shares of the picture; it stays within."""
        return (self.low + moved * self.whole).clip(0, np.maximum(self.whole - self.size, 0))

    def cut(self, grey: Grey, corner: Floats) -> Grey:
        """What is to be seen in it, at its own size."""
        step = self.size / self.out
        offset = corner + step / 2 - 0.5
        coarser = int(max(1, np.floor(step.min())))
        if coarser > 1:  # of many pixels the mean, lest those between the ones that are looked at have no say
            rows, columns = grey.shape[0] // coarser, grey.shape[1] // coarser
            whole = grey[: rows * coarser, : columns * coarser]
            grey = np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
            step, offset = step / coarser, (offset + 0.5) / coarser - 0.5
        matrix = np.array([[step[0], 0, offset[0]], [0, step[1], offset[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = int(self.out[0]), int(self.out[1])
        return np.asarray(cv2.warpAffine(grey, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)

    def camera(self, camera: Floats, corner: Floats) -> Tensor:
        """(3, 2) the whole picture's affine map within the window, in pixels of its own."""
        middle, shares = (corner + self.size / 2) / self.whole - 0.5, self.size / self.whole
        shift = camera[0] + middle[0] * camera[1] + middle[1] * camera[2]
        within = np.stack([shift, camera[1] * shares[0], camera[2] * shares[1]])
        return torch.from_numpy(within * self.whole * self.out / self.size).float()
