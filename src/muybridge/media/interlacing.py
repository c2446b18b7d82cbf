"""Woven fields to whole pictures."""

from collections import deque
from collections.abc import Generator, Iterable

import av.error
from av.filter import Graph
from av.video.frame import VideoFrame


def deinterlaced(frames: Iterable[VideoFrame]) -> Generator[VideoFrame]:
    """As many frames as come, with their times; those flagged as interlaced go through FFmpeg's bwdif.

    From the first of these on, each frame waits for the next, of which the filter needs the fields.
    """
    weaving: _Weaving | None = None
    for frame in frames:
        if weaving is not None and weaving.fits(frame):
            yield from weaving.push(frame)
            continue
        if weaving is not None:
            yield from weaving.push(None)
            weaving = None
        if frame.interlaced_frame:
            weaving = _Weaving(frame)
            yield from weaving.push(frame)
        else:
            yield frame
    if weaving is not None:
        yield from weaving.push(None)


class _Weaving:
    """A filter graph for frames of one size and format; one frame out for each in."""

    def __init__(self, first: VideoFrame) -> None:
        self._kind = (first.width, first.height, first.format.name)
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=first.time_base
        )
        self._graph.link_nodes(
            source,
            self._graph.add("bwdif", mode="send_frame", deint="interlaced"),
            self._graph.add("buffersink"),
        ).configure()
        self._waiting: deque[VideoFrame] = deque()

    def fits(self, frame: VideoFrame) -> bool:
        return (frame.width, frame.height, frame.format.name) == self._kind

    def push(self, frame: VideoFrame | None) -> Generator[VideoFrame]:
        """What is ready after this frame; after None, all that is left."""
        if frame is not None:
            self._waiting.append(frame)
        self._graph.vpush(frame)
        while self._waiting:
            try:
                whole = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            woven = self._waiting.popleft()
            whole.pts, whole.time_base, whole.duration = woven.pts, woven.time_base, woven.duration
            yield whole
