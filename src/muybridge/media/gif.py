"""Frames as an animated GIF: a palette from each frame's own colours, and times in hundredths of a second."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

TIME_BASE = Fraction(1, 100)
# Browsers show a frame of one hundredth for ten.
LEAST_GAP = 2
_MOST_DELAY = 65_535
_DELAY_BLOCK = b"\x21\xf9\x04"


def gif_loops(path: str | Path) -> int | None:
    """How often a GIF is repeated: 0 for ever, None once; for ever for what is no GIF."""
    try:
        with Image.open(path, formats=("GIF",)) as image:
            return image.info.get("loop")
    except (OSError, UnidentifiedImageError, ValueError):
        return 0


def gif_options(loops: int | None) -> dict[str, str]:
    """Options of FFmpeg's GIF muxer; each packet is on the disk before the next, which `set_last_delay` needs."""
    return {"loop": "-1" if loops is None else str(loops), "fflags": "+flush_packets"}


class GifPictures:
    """Encodes frames for a GIF.

    Args:
        container: a track is added to it.
        width, height: of the frames.
    """

    time_base = TIME_BASE
    least_gap = LEAST_GAP

    def __init__(self, container: OutputContainer, width: int, height: int) -> None:
        self._stream = container.add_stream("gif", rate=25)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "pal8"
        self._stream.time_base = self._stream.codec_context.time_base = TIME_BASE
        self._graph = _palette_graph(width, height)

    def encode(self, image: NDArray[np.uint8] | None, pts: int = 0) -> "Sequence[av.Packet[Any]]":
        """Packets that are ready after a frame (height, width, 3) uint8 RGB; None ends."""
        if image is None:
            return self._stream.encode(None)
        frame = VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = pts, TIME_BASE
        self._graph.vpush(frame)
        return self._stream.encode(self._graph.vpull())


def _palette_graph(width: int, height: int) -> Graph:
    """frame ── split ──┬── its palette ──┐
    └─────────────────┴── frame in these colours
    """
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=VideoFormat("rgb24"), time_base=TIME_BASE)
    split, sink = graph.add("split"), graph.add("buffersink")
    palette = graph.add("palettegen", stats_mode="single", reserve_transparent="0")
    # A faint ordered pattern lies still where the picture does; diffused errors would crawl from frame to frame.
    used = graph.add("paletteuse", new="1", dither="bayer", bayer_scale="5")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(used, 1, 0)
    palette.link_to(used, 0, 1)
    used.link_to(sink)
    graph.configure()
    return graph


def set_last_delay(path: Path, start: int, hundredths: int) -> None:
    """Say how long the last frame of a GIF is shown, which FFmpeg takes to be as long as the one before.

    Args:
        start: length of the file before its last frame was written.
    """
    with path.open("r+b") as file:
        file.seek(start)
        place = file.read().find(_DELAY_BLOCK)
        if place >= 0:
            file.seek(start + place + len(_DELAY_BLOCK) + 1)
            file.write(struct.pack("<H", min(max(hundredths, 1), _MOST_DELAY)))
