"""Words and bars drawn on frames, readable on any background."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from muybridge.escapes import printable

RGB = NDArray[np.uint8]
_SHADE = (12, 12, 16, 170)
_INK = (255, 255, 255, 255)
_FAINT = (84, 84, 92, 200)
_BAR = (86, 180, 233, 235)  # the sky blue of Okabe and Ito, told apart by all eyes


@lru_cache(maxsize=16)
def overlay_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that nothing depends on what is installed."""
    return ImageFont.load_default(size)


def text_size(height: int) -> int:
    """Size of letters in pixels that suits frames of this height."""
    return max(9, round(height / 26))


def draw_scores(frame: RGB, scores: Sequence[tuple[str, float]], *, title: str = "") -> RGB:
    """A copy of a frame (H, W, 3) with labels and bars of their scores, 0 to 1, in its upper left corner.

    Args:
        scores: label and score, best first; the first is drawn larger. Labels too long for the frame are shortened.
        title: a line above them.
    """
    height, width = frame.shape[:2]
    size = text_size(height)
    font, small = overlay_font(size), overlay_font(max(8, round(size * 0.8)))
    lines = [(title, None, small)] if title else []
    lines += [(name, score, font if number == 0 else small) for number, (name, score) in enumerate(scores)]
    if not lines:
        return frame.copy()
    pad, row = max(3, size // 2), round(size * 1.5)
    bar = min(round(size * 5), width // 3)
    room = max(width - bar - 3 * pad, 1)
    texts = [_shortened(printable(" ".join(text.split())), font, room) for text, _, font in lines]
    left = 2 * pad + max(int(font.getlength(text)) for text, (_, _, font) in zip(texts, lines, strict=True))
    lower = min(height, row * len(lines) + 2 * pad)
    layer = Image.new("RGBA", (width, lower), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    draw.rectangle((0, 0, left + bar + pad, lower), fill=_SHADE)
    for number, (text, (_, score, font)) in enumerate(zip(texts, lines, strict=True)):
        middle = pad + number * row + row // 2
        draw.text((pad, middle), text, fill=_INK, font=font, anchor="lm")
        if score is not None:
            half = max(1, size // 4)
            for length, color in ((bar, _FAINT), (round(bar * min(max(score, 0.0), 1.0)), _BAR)):
                if length:  # Pillow's rectangles hold their last pixel
                    draw.rectangle((left, middle - half, left + length - 1, middle + half - 1), fill=color)
    return _blend(frame, layer)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    """The text, or as much of its start as fits, with an ellipsis."""
    text = text[: room + 1]  # no letter is narrower than a pixel
    if font.getlength(text) <= room:
        return text
    fits = bisect_right(range(1, len(text) + 1), room, key=lambda count: font.getlength(text[:count] + "…"))
    return text[:fits].rstrip() + "…"


def _blend(frame: RGB, layer: Image.Image) -> RGB:
    """The frame with a layer (RGBA, as wide, at most as high) over its upper part."""
    result = frame.copy()
    upper = Image.fromarray(np.ascontiguousarray(frame[: layer.height])).convert("RGBA")
    result[: layer.height] = np.asarray(Image.alpha_composite(upper, layer).convert("RGB"))
    return result
