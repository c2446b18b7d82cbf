"""Who was there, told a second later and better than at once.

    seen      1 . 1 1 . . 1 1          looks, a mark where the tracker had a box of somebody
    told      1 1 1 1 1 1 1 1 . .      gaps filled; from their first box on; not beyond their last

Between two boxes of one person no more than WAIT apart the box moves evenly, as where somebody passes behind another.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muybridge.people.sightings import Sighting

WAIT = 1.0  # seconds
_NEAR = 1e-6


@dataclass(frozen=True, eq=False)
class Look:
    """Who is there at a time in seconds."""

    seconds: float
    sighting: Sighting


class Hindsight:
    """Takes looks, and gives each when the second after it is over.

    Args:
        least_score: who is told of has at least this mean score, over the boxes within a second.
    """

    def __init__(self, *, least_score: float) -> None:
        self._least = least_score
        self._waiting: deque[Look] = deque()
        # Of each track, times, boxes and scores.
        self._tracks: dict[int, list[tuple[float, NDArray[np.float64], float]]] = {}
        self._ids: dict[int, int] = {}

    def add(self, seconds: float, sighting: Sighting) -> list[Look]:
        """Take the next look; returns those that are settled by now, in order."""
        self._waiting.append(Look(seconds, sighting))
        seen = sighting.seen
        if seen is not None:
            for track, number, box, score in zip(
                seen.tracks.tolist(), seen.ids.tolist(), np.asarray(seen.boxes, np.float64), seen.scores, strict=True
            ):
                self._tracks.setdefault(track, []).append((seconds, box, float(score)))
                self._ids[track] = number
        settled: list[Look] = []
        while self._waiting and (
            self._waiting[0].sighting.seen is None or self._waiting[0].seconds <= seconds - WAIT + _NEAR
        ):
            settled.append(self._settled(self._waiting.popleft()))
        return settled

    def finish(self) -> list[Look]:
        """What still waits, when there are no more looks."""
        settled = [self._settled(look) for look in self._waiting]
        self._waiting.clear()
        self._tracks.clear()
        self._ids.clear()
        return settled

    def _settled(self, look: Look) -> Look:
        if look.sighting.seen is None:
            return look
        boxes: list[NDArray[np.float64]] = []
        ids: list[int] = []
        scores: list[float] = []
        for track, seen in list(self._tracks.items()):
            if seen[-1][0] < look.seconds - WAIT - _NEAR:
                del self._tracks[track], self._ids[track]
                continue
            found = _box_at(look.seconds, seen)
            near = [score for seconds, _, score in seen if abs(seconds - look.seconds) <= WAIT + _NEAR]
            if self._ids[track] >= 0 and found is not None and float(np.mean(near)) >= self._least:
                boxes.append(found)
                ids.append(self._ids[track])
                scores.append(float(np.mean(near)))
            # Only the last box before what is still to be told, and those after it, matter.
            while len(seen) > 1 and seen[1][0] <= look.seconds - WAIT:
                seen.pop(0)
        told = Sighting(
            np.array(boxes, np.float32).reshape(-1, 4), np.array(ids, np.int64), np.array(scores, np.float32)
        )
        return Look(look.seconds, told)


def _box_at(seconds: float, seen: list[tuple[float, NDArray[np.float64], float]]) -> NDArray[np.float64] | None:
    """Their box then, or the way between the two around it; None before the first, after the last, in long gaps."""
    after = next((place for place, each in enumerate(seen) if each[0] >= seconds - _NEAR), None)
    if after is None:
        return None
    end, box, _ = seen[after]
    if end <= seconds + _NEAR:
        return box
    if after == 0:
        return None
    start, before, _ = seen[after - 1]
    if end - start > WAIT + _NEAR:
        return None
    share = (seconds - start) / (end - start)
    return before + share * (box - before)
