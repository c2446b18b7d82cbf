"""Where a clip moves, cut out: people are often small in the picture, and walk through it.

A square of one size follows what moves, from frame to frame. It is found by how each frame differs from the median of
all, so that a still background drops out, and people who cross it are followed; under a moving camera everything
differs, and the square becomes the whole height or width of the picture.

One letter an axis: T frames, H x W pixels, h x w places of a small grey copy.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.float64]
# Of the small copy: its short side, and the least change in grey levels that is more than noise.
_SIDE = 48
_LEAST_CHANGE = 6.0
_MOST_CHANGE = 60.0
# Change in all that a frame must show to be called moving, in grey levels times places of the small copy.
_STILL = 20.0
# The square holds the middle nine tenths of the change and a margin around it; it is never smaller than this share of
# the short side.
_TAIL = 0.05
_MARGIN = 1.35
_SMALLEST = 0.3
# Frames that change less than this share of the most have no say in how large the square is.
_QUIET = 0.15
_LUMINANCE = (0.299, 0.587, 0.114)


def focus_on_motion(frames: Tensor) -> Tensor:
    """The square in which a clip moves, (T, 3, S, S), of frames (T, 3, H, W) uint8; S is at most the short side.

    Of a clip that does not move at all it is the centre.
    """
    height, width = frames.shape[-2:]
    tops, lefts, side = _squares(frames)
    rows = np.clip(np.round(tops), 0, height - side).astype(int)
    columns = np.clip(np.round(lefts), 0, width - side).astype(int)
    return torch.stack(
        [
            frame[:, top : top + side, left : left + side]
            for frame, top, left in zip(frames, rows, columns, strict=True)
        ]
    )


def _squares(frames: Tensor) -> tuple[Numbers, Numbers, int]:
    """Top and left (T,) of each frame's square, and its side, in pixels."""
    short = min(frames.shape[-2:])
    change, scale = _change(frames)
    in_all = change.sum(axis=(1, 2))
    if in_all.max() < _STILL:
        middle = [(side - short) / 2 for side in frames.shape[-2:]]
        return np.full(len(frames), middle[0]), np.full(len(frames), middle[1]), short
    below = np.array([_extent(each.sum(axis=1)) for each in change])
    across = np.array([_extent(each.sum(axis=0)) for each in change])
    weights = np.maximum(in_all / in_all.max(), 0.02)
    needed = np.maximum(below[:, 1] - below[:, 0], across[:, 1] - across[:, 0])[weights > _QUIET]
    shortest = min(change.shape[1:])
    side = float(np.clip(np.quantile(needed, 0.8) * _MARGIN, _SMALLEST * shortest, shortest))
    places = [_smooth(extent.mean(axis=1), weights) for extent in (below, across)]
    starts = [
        np.clip(place, side / 2, length - side / 2) - side / 2
        for place, length in zip(places, change.shape[1:], strict=True)
    ]
    return starts[0] / scale, starts[1] / scale, min(short, max(1, round(side / scale)))


def _change(frames: Tensor) -> tuple[Numbers, float]:
    """(T, h, w): how much each place differs from its median over time, less what differs everywhere.

    And the scale of h x w to the picture.
    """
    weights = torch.tensor(_LUMINANCE).view(3, 1, 1)
    height, width = frames.shape[-2:]
    scale = _SIDE / min(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    # Scaled before it is made grey, a frame at a time: the colours of a large picture are not held as floats.
    small = torch.cat([F.interpolate(frame[None].float(), size, mode="area") for frame in frames])
    grey = (small * weights).sum(dim=1).double().numpy()
    difference = np.abs(grey - np.median(grey, axis=0))
    floor = np.maximum(_LEAST_CHANGE, 2 * np.median(difference, axis=(1, 2), keepdims=True))
    return np.clip(difference - floor, 0, _MOST_CHANGE), scale


def _extent(profile: Numbers) -> tuple[int, int]:
    """Between which places of a line the middle nine tenths of the change lie, the end not counted."""
    share = np.cumsum(profile) / max(profile.sum(), 1e-9)
    return int(np.searchsorted(share, _TAIL)), int(np.searchsorted(share, 1 - _TAIL)) + 1


def _smooth(places: Numbers, weights: Numbers) -> Numbers:
    """Over neighbouring frames, those that change most counting most."""
    times = np.arange(len(places))
    kernel = np.exp(-0.5 * np.square(times[:, None] - times[None])) * weights
    return (kernel @ places) / kernel.sum(axis=1)
