"""Pictures on their way into the stylizer's network and out of it: sizes, padding, kept colours."""

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from muybridge.devices import memory_bytes
from muybridge.errors import InputError, OptionError
from muybridge.media.container import MOST_PIXELS
from muybridge.media.images import Picture, read_image
from muybridge.memory import check_fits
from muybridge.models.avatar_net.config import MIN_SIDE, STRIDE

RGB = NDArray[np.uint8]
# Measured with pictures of 4 to 9 million pixels; smaller ones take more each, and less in all.
_BYTES_A_PIXEL, _BYTES_AT_REST = 370, 1_200_000_000
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as in JPEG and PNG viewers


def as_rgb(picture: Any) -> RGB:
    """(H, W, 3) uint8 of a path, a `Picture` or an array; InputError for any other array."""
    if isinstance(picture, (str, Path)):
        return read_image(picture).rgb
    if isinstance(picture, Picture):
        return picture.rgb
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise InputError(f"a picture must be (H, W, 3) uint8 RGB, got {array.shape} {array.dtype}")
    return cast(RGB, array)


def scaled(width: int, height: int, short_side: int, *, even: bool = False) -> tuple[int, int]:
    """(width, height) with the short side as asked, aspect kept; `even` rounds the other side to an even number."""
    scale = short_side / min(width, height)
    step = 2 if even else 1
    longer = max(step, round(max(width, height) * scale / step) * step)
    if width == height:
        return short_side, short_side
    return (longer, short_side) if width > height else (short_side, longer)


def check_fits_memory(width: int, height: int, device: torch.device, *, option: str = "") -> None:
    """Refuse a size in pixels that the network cannot paint on a device.

    Args:
        option: what asks for it, such as "size=9000"; empty for an input's own size.

    Raises:
        OptionError: the option asks for too much.
        InputError: the input is too large.
    """
    available = memory_bytes(device)
    most = max(available - _BYTES_AT_REST, 0) // _BYTES_A_PIXEL if available is not None else 0
    side = math.isqrt(most * min(width, height) // max(width, height))
    check_fits(
        f"{option or 'the input'}: a painting of {width}x{height}",
        needed=width * height * _BYTES_A_PIXEL + _BYTES_AT_REST,
        available=available,
        remedy=f"Choose a short side of at most {side}" if option else f"Add --size, at most {side}",
        error=OptionError if option else InputError,
    )


def sized(rgb: RGB, size: int) -> RGB:
    """A picture (H, W, 3) uint8 with the short side as asked; 0 leaves it.

    Raises:
        InputError: it is so thin that it would become too large.
    """
    if not size or min(rgb.shape[:2]) == size:
        return rgb
    target = scaled(rgb.shape[1], rgb.shape[0], size)
    if target[0] * target[1] > MOST_PIXELS:
        raise InputError(
            f"a picture of {rgb.shape[1]}x{rgb.shape[0]} with a short side of {size} would have more than "
            f"{MOST_PIXELS / 1e6:.0f} million pixels. Cut it first"
        )
    return np.asarray(Image.fromarray(rgb).resize(target, Image.Resampling.LANCZOS))


def padded(picture_13HW: Tensor) -> Tensor:
    """Grown at the right and the bottom, by repeating the edge, to sides the network takes."""
    H, W = picture_13HW.shape[2:]
    bottom = max(MIN_SIDE, -(-H // STRIDE) * STRIDE) - H
    right = max(MIN_SIDE, -(-W // STRIDE) * STRIDE) - W
    return F.pad(picture_13HW, (0, right, 0, bottom), mode="replicate") if bottom or right else picture_13HW


def keep_colors(painted: NDArray[np.float32], rgb: RGB) -> NDArray[np.float32]:
    """The painting's light and dark with the content's colour differences."""
    content = rgb.astype(np.float32)
    lighter = (painted - content) @ _LUMA
    return (content + lighter[..., None]).astype(np.float32)
