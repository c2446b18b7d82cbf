"""Painting: outlined figures and objects onto a background, with smooth edges and exact masks.

Shapes are filled several times larger and then averaged down, only inside the rectangle that they touch. A shape's
coverage of each pixel is therefore known exactly, and boxes and masks are read off it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from muybridge.stage.figures import Outlines
from muybridge.stage.skeleton import Floats

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Layer:
    """One figure or thing over T times.

    Attributes:
        outlines: its polygons.
        distance: (T,) metres from the camera; the farthest is painted first.
        track_id: of a figure; None for a thing.
    """

    outlines: Outlines
    distance: Floats
    track_id: int | None


@dataclass(frozen=True, eq=False)
class Painted:
    """What is true of a painted frame, for N figures in it: see `muybridge.stage.Frame`."""

    boxes: NDArray[np.float32]
    visible: NDArray[np.float32]
    track_ids: NDArray[np.int64]
    owners: NDArray[np.uint8]


def supersampling(height: float) -> int:
    """How many times larger a shape of this height in pixels is filled before it is averaged down."""
    return 4 if height < 170 else 3 if height < 420 else 2


def paint(canvas: Image.Image, outlines: Outlines, t: int) -> tuple[Box, Image.Image] | None:
    """Paints one figure or object onto the canvas.

    Args:
        canvas: RGB picture, changed in place.
        outlines: the shape over time.
        t: which of its times.

    Returns:
        The box (x0, y0, x1, y1) of all touched pixels, right and bottom outside, and the coverage of each pixel in
        it as an "L" picture of the box's size; None where nothing lies in the picture.
    """
    order = outlines.order[t]
    order = order[order >= 0]
    corners = outlines.corners[t, order]
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    x0, y0 = max(0, int(np.floor(low[0]))), max(0, int(np.floor(low[1])))
    x1, y1 = min(canvas.width, int(np.floor(high[0])) + 1), min(canvas.height, int(np.floor(high[1])) + 1)
    if x1 <= x0 or y1 <= y0:
        return None
    factor = supersampling(float(high[1] - low[1]))
    patch = Image.new("RGBA", ((x1 - x0) * factor, (y1 - y0) * factor))
    polygon = ImageDraw.Draw(patch).polygon
    # Pillow drops the fraction of a corner's position, which is the pixel that the corner lies in.
    places = np.floor((corners - np.array([x0, y0])) * factor).reshape(len(order), -1).tolist()
    for place, (red, green, blue) in zip(places, outlines.colours[t, order].tolist(), strict=True):
        polygon(place, (red, green, blue, 255))
    patch = patch.reduce(factor)
    coverage = patch.getchannel("A")
    touched = coverage.getbbox()
    if touched is None:
        return None
    canvas.paste(patch, (x0, y0), patch)
    left, top, right, bottom = touched
    return (x0 + left, y0 + top, x0 + right, y0 + bottom), coverage.crop(touched)


def paint_frame(canvas: Image.Image, layers: Sequence[Layer], t: int) -> Painted:
    """Paints all layers at one time onto the canvas, the farthest first, and tells what is seen of the figures."""
    owners = np.zeros((canvas.height, canvas.width), np.uint8)
    found: dict[int, tuple[Box, int]] = {}
    for layer in sorted(layers, key=lambda layer: -layer.distance[t]):
        result = paint(canvas, layer.outlines, t)
        if result is None:
            continue
        box, coverage = result
        mask = np.asarray(coverage) > 127
        owners[box[1] : box[3], box[0] : box[2]][mask] = 0 if layer.track_id is None else layer.track_id + 1
        if layer.track_id is not None:
            found[layer.track_id] = box, int(np.count_nonzero(mask))
    remaining = np.bincount(owners.ravel(), minlength=256)
    ids = sorted(found)
    visible = [remaining[i + 1] / max(1, found[i][1]) for i in ids]
    return Painted(
        np.array([found[i][0] for i in ids], np.float32).reshape(-1, 4), np.array(visible, np.float32),
        np.array(ids, np.int64), owners,
    )  # fmt: skip


@lru_cache(maxsize=256)
def _shadow_mask(width: int, height: int) -> Image.Image:
    mask = Image.new("L", (64, 32))
    ImageDraw.Draw(mask).ellipse((9, 7, 54, 24), fill=110)
    return mask.filter(ImageFilter.GaussianBlur(3.5)).resize((width, height), Image.Resampling.BILINEAR)


def contact_shadow(canvas: Image.Image, x: float, y: float, width: float) -> None:
    """Darkens the floor around a point in pixels, softly."""
    # Widths in steps, so that the masks of a walking figure are few.
    width = max(4, 4 * round(width * 1.5 / 4))
    height = max(2, round(0.17 * width))
    canvas.paste((16, 14, 24), (round(x - width / 2), round(y - height / 2)), _shadow_mask(width, height))
