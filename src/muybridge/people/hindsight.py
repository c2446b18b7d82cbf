"""Who was there, told two seconds later and better than at once.

    seen      1 . 1 1 . . 1 1          looks, a mark where the tracker had a box of somebody
    told      1 1 1 1 1 1 1 1 . .      gaps filled; from their first box on; not beyond their last

Between two boxes of one person no more than a second apart the box moves evenly, and up to WAIT where somebody who
was seen stands before it all the while. A box that hardly changes from look to look is a thing's, or has to be surer.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muybridge.people.sightings import Sighting

WAIT = 2.0  # seconds; as long as the tracker remembers who is out of sight
OPEN_GAP = 1.0  # seconds that are filled although nobody stands before the person
_NEAR = 1e-6
# Somebody is hidden of whose box so much lies in the box of one who stands no farther away: whose feet are no higher
# in the picture, but for this share of the body.
_HIDDEN, _FEET = 0.5, 0.05
# People sway, and so do their boxes: one that overlaps the next by more than this on average, over so many looks,
# must be surer by this factor. Where all boxes are the same the film stands still, and that says nothing.
_STILL, _SAME, _FEWEST, _SURER = 0.93, 0.9999, 4, 1.2
_Box = NDArray[np.float64]
_Seen = tuple[float, _Box, float]  # seconds, box, score


@dataclass(frozen=True, eq=False)
class Look:
    """Who is there at a time in seconds."""

    seconds: float
    sighting: Sighting


@dataclass(frozen=True, eq=False)
class _Place:
    """Where somebody is at a look, and between boxes how many seconds apart that lies; 0 where they were seen."""

    number: int
    box: _Box
    score: float
    gap: float


class Hindsight:
    """Takes looks, and gives each when the two seconds after it are over.

    Args:
        least_score: who is told of has at least this mean score, over the boxes within a second.
    """

    def __init__(self, *, least_score: float) -> None:
        self._least = least_score
        self._waiting: deque[Look] = deque()
        self._tracks: dict[int, list[_Seen]] = {}
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
        places: list[_Place] = []
        for track, seen in list(self._tracks.items()):
            if seen[-1][0] < look.seconds - WAIT - _NEAR:
                del self._tracks[track], self._ids[track]
                continue
            place = _place_at(look.seconds, seen, self._ids[track], self._least)
            if place is not None:
                places.append(place)
            # Only the last box before what is still to be told, and those after it, matter.
            while len(seen) > 1 and seen[1][0] <= look.seconds - WAIT:
                seen.pop(0)
        before = [place.box for place in places if place.gap == 0]
        told = [place for place in places if place.gap <= OPEN_GAP + _NEAR or _is_hidden(place.box, before)]
        sighting = Sighting(
            np.array([place.box for place in told], np.float32).reshape(-1, 4),
            np.array([place.number for place in told], np.int64),
            np.array([place.score for place in told], np.float32),
        )
        return Look(look.seconds, sighting)


def _place_at(seconds: float, seen: Sequence[_Seen], number: int, least: float) -> _Place | None:
    """Where they are, if they are believed, and sure enough over the boxes around."""
    found = _box_at(seconds, seen)
    if number < 0 or found is None:
        return None
    box, gap = found
    near = [each for each in seen if abs(each[0] - seconds) <= max(OPEN_GAP, gap) + _NEAR]
    score = float(np.mean([each[2] for each in near]))
    surer = _SURER if _is_still([each[1] for each in near]) else 1.0
    return _Place(number, box, score, gap) if score >= min(surer * least, 1.0) else None


def _box_at(seconds: float, seen: Sequence[_Seen]) -> tuple[_Box, float] | None:
    """Their box then, or the way between the two around it, and how far apart these are.

    None before the first, after the last, and in gaps of more than WAIT.
    """
    after = next((place for place, each in enumerate(seen) if each[0] >= seconds - _NEAR), None)
    if after is None:
        return None
    end, box, _ = seen[after]
    if end <= seconds + _NEAR:
        return box, 0.0
    if after == 0:
        return None
    start, before, _ = seen[after - 1]
    if end - start > WAIT + _NEAR:
        return None
    share = (seconds - start) / (end - start)
    return before + share * (box - before), end - start


def _is_hidden(box: _Box, before: Sequence[_Box]) -> bool:
    """Whether one of the others, (4,) each, stands before it."""
    if not before:
        return False
    others = np.stack(before)
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    share = sides.clip(min=0).prod(1) / max(float((box[2:] - box[:2]).prod()), 1e-12)
    nearer = others[:, 3] >= box[3] - _FEET * (box[3] - box[1])
    return bool((nearer & (share >= _HIDDEN)).any())


def _is_still(boxes: Sequence[_Box]) -> bool:
    """Whether boxes in order of time are a thing's."""
    if len(boxes) < _FEWEST:
        return False
    one, other = np.stack(boxes[:-1]), np.stack(boxes[1:])
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    shared = sides.clip(min=0).prod(1)
    union = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - shared
    overlap = float((shared / union.clip(min=1e-12)).mean())
    return _STILL < overlap < _SAME
