"""Masks from pictures and videos: where something applies, 0 to 1, soft edges kept."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from muybridge.counts import counted
from muybridge.errors import OptionError
from muybridge.media.images import read_image
from muybridge.media.sources import expand_sources
from muybridge.media.video_reader import Frame, VideoReader

Mask = NDArray[np.float32]

# Sides may differ by rounding, as after scaling; beyond this share the mask belongs to another picture.
_ASPECT_TOLERANCE = 0.02


def fit_mask(mask: NDArray[np.generic], height: int, width: int, *, name: str) -> Mask:
    """A mask as (height, width) float32 in [0, 1], scaled if its aspect is the picture's.

    Args:
        mask: (h, w) or (h, w, 3); bool, uint8 in [0, 255], or float in [0, 1]. Colours count by their brightness.

    Raises:
        OptionError: another aspect, or a shape or range that is no mask.
    """
    values = np.asarray(mask)
    if values.ndim == 3:
        values = values.mean(axis=2)
        scale = 255.0 if mask.dtype == np.uint8 else 1.0
    else:
        scale = 255.0 if values.dtype == np.uint8 else 1.0
    if values.ndim != 2 or values.size == 0:
        raise OptionError(f"mask {name} has shape {mask.shape}: give (H, W) or (H, W, 3)")
    values = values.astype(np.float32) / scale
    if not (values.min() >= 0 and values.max() <= 1):
        raise OptionError(f"mask {name} has values from {values.min()} to {values.max()}: give 0 to 1, or uint8")
    h, w = values.shape
    if abs(h * width - w * height) > _ASPECT_TOLERANCE * w * height:
        raise OptionError(
            f"mask {name} is {w}x{h}, the picture {width}x{height}: the shapes differ. "
            "Give a mask of the picture's aspect"
        )
    if (h, w) == (height, width):
        return values
    resized = Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, dtype=np.float32), 0, 1)


def check_num_masks(masks: int, styles: int) -> None:
    """Refuse masks that are neither one for all styles nor one for each.

    Raises:
        OptionError: so many masks say nothing of so many styles.
    """
    if masks not in (0, 1, styles):
        raise OptionError(f"{masks} masks for {counted(styles, 'style')}: give one for all together, or one for each")


class TimedMask(Protocol):
    """A mask over time. Asked with times that do not fall."""

    def at(self, seconds: Fraction, height: int, width: int) -> Mask:
        """The mask at a time: (height, width) float32 in [0, 1]."""
        ...


class MaskTrack:
    """A mask over time, from a picture (the same at all times) or a video (the frame on display).

    Asked with times that do not fall.
    """

    def __init__(self, source: str | Path | NDArray[np.generic]) -> None:
        self._still: NDArray[np.generic] | None = None
        self._frames: Iterator[Frame] = iter(())
        self._current: Frame | None = None
        self._next: Frame | None = None
        self._reader: VideoReader | None = None
        if isinstance(source, np.ndarray):
            self.name = "given as an array"
            self._still = source
            return
        self.name = str(source)
        kinds = expand_sources([str(source)])
        if len(kinds) != 1:
            raise OptionError(f"mask {source} names {len(kinds)} files: give one picture or video")
        if kinds[0].kind == "image":
            self._still = read_image(kinds[0].path).rgb
            return
        self._reader = VideoReader(kinds[0].location)
        self._frames = iter(self._reader)
        self._current, self._next = next(self._frames), next(self._frames, None)

    def at(self, seconds: Fraction, height: int, width: int) -> Mask:
        """The mask at a time, as `fit_mask` gives it. A video that has ended keeps its last frame."""
        while self._next is not None and self._next.pts_seconds <= seconds:
            self._current, self._next = self._next, next(self._frames, None)
        pixels = self._current.image if self._current is not None else self._still
        if pixels is None:
            raise OptionError(f"mask {self.name} holds no picture")
        return fit_mask(pixels, height, width, name=self.name)

    def close(self) -> None:
        """Release the file."""
        if self._reader is not None:
            self._reader.close()
