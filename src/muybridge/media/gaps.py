"""Stretches of a film without frames, as a clock set anew in a recording leaves them."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain

from muybridge.media.video_reader import LONGEST_STILL_SECONDS, Frame


def stretches(frames: Iterable[Frame]) -> Iterator[Iterator[Frame]]:
    """The frames between one gap and the next, as an iterator for each; each must be used up before the next.

    A gap is longer than `LONGEST_STILL_SECONDS`. Films without one are a single stretch.
    """
    iterator = iter(frames)
    upcoming: list[Frame] = []

    def stretch() -> Iterator[Frame]:
        last: Fraction | None = None
        for frame in chain([upcoming.pop()], iterator):
            if last is not None and frame.pts_seconds - last > LONGEST_STILL_SECONDS:
                upcoming.append(frame)
                return
            last = frame.pts_seconds
            yield frame

    upcoming.extend(first for first in [next(iterator, None)] if first is not None)
    while upcoming:
        yield stretch()
