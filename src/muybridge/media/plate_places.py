"""Where the plates of people stand, so that each is read as one person's and stays where it is from frame to frame.

    places around a box ── 1. on no other plate ── 2. on no face ── 3. on nobody else ── 4. not nearer to others
                       └── 5. at the box, or a step away and tied to it by a line

What was chosen is kept as long as it will do. It is left at once where it comes to lie on another plate, on a face or
on somebody else; for a better kind of place only when there has been one for half a second or so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Rectangle = tuple[int, int, int, int]
Size = tuple[int, int]
_Rectangles = NDArray[np.int64]  # (n, 4) xyxy
_STEPS = 2  # heights of a plate by which it may stand away from its box
_BETTER_FOR = 12  # frames
_FORGOTTEN_AFTER = 25  # frames
# A plate that is there already may lie on others by this share of itself before it has to go.
_BEARABLE = 0.25


@dataclass(frozen=True)
class Wanted:
    """A person whose plate is to be placed.

    Attributes:
        box: xyxy in pixels.
        identity: by which they are known again in the next frame; below 0 they are not.
        sizes: width and height of their plate with all its lines, then with fewer, at last of the identity alone.
    """

    box: Rectangle
    identity: int
    sizes: Sequence[Size]


@dataclass(frozen=True)
class Place:
    """Where a plate stands.

    Attributes:
        choice: which of `Wanted.sizes`.
        corner: x and y of its upper left corner.
    """

    choice: int
    corner: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Measured:
    """The places of a plate of one size.

    Attributes:
        rectangles: (C, 4) within the frame.
        plates, faces, people: (C,) pixels of other plates, of faces and of other people that it covers.
        doubtful: (C,) whether it stands at somebody else's box and nearer to it than to its own.
        steps: (C,) away from its box.
        moved: (C,) whether it had to be moved into the frame.
        area: pixels of the plate.
    """

    rectangles: _Rectangles
    plates: NDArray[np.int64]
    faces: NDArray[np.int64]
    people: NDArray[np.int64]
    doubtful: NDArray[np.bool_]
    steps: NDArray[np.int64]
    moved: NDArray[np.bool_]
    area: int

    def best(self) -> int:
        """The place that is best by what it covers."""
        number = np.arange(len(self.steps))
        keys = (number, self.moved, self.steps, self.doubtful, self.people, self.faces, self.plates)
        return int(np.lexsort(keys)[0])

    def is_free(self, place: int, *, words: bool) -> bool:
        """Whether a plate may come to stand there."""
        return not self.plates[place] and not (words and self.people[place])

    def is_bearable(self, place: int, *, words: bool) -> bool:
        """Whether a plate that stands there may stay."""
        covered = max(int(self.faces[place]), int(self.people[place]) if words else 0)
        return not self.plates[place] and covered <= _BEARABLE * self.area


@dataclass(eq=False)
class _Kept:
    """What is remembered of a person: the number of the place, the choice of size, for how many frames there has been
    a better place, and when they were drawn last."""

    place: int
    choice: int
    better_for: int = 0
    drawn: int = 0


@dataclass(eq=False)
class PlatePlaces:
    """Places plates in the frames of one film, in order."""

    _kept: dict[int, _Kept] = field(default_factory=dict[int, _Kept])
    _frame: int = 0

    def place(self, people: Sequence[Wanted], frame: Size) -> list[Place | None]:
        """A place for each; None where even the smallest plate would cover another.

        Args:
            frame: width and height.
        """
        self._frame += 1
        self._kept = {who: kept for who, kept in self._kept.items() if self._frame - kept.drawn <= _FORGOTTEN_AFTER}
        seniority = {who: number for number, who in enumerate(self._kept)}
        # Who has had a plate longest comes first, so that people who sway do not take turns; of the others, who is
        # nearest, whose box ends lowest.
        order = sorted(
            range(len(people)), key=lambda i: (seniority.get(people[i].identity, len(seniority)), -people[i].box[3])
        )
        boxes = np.array([person.box for person in people], np.int64).reshape(-1, 4)
        taken: list[Rectangle] = []
        found: list[Place | None] = [None] * len(people)
        for number in order:
            person = people[number]
            others = np.delete(boxes, number, axis=0)
            sights = [_measured(person.box, size, frame, taken, others) for size in person.sizes]
            chosen = self._chosen(person, sights)
            if chosen is not None:
                place, choice = chosen
                left, top, right, bottom = sights[choice].rectangles[place].tolist()
                taken.append((left, top, right, bottom))
                found[number] = Place(choice, (left, top))
        return found

    def _chosen(self, person: Wanted, sights: Sequence[_Measured]) -> tuple[int, int] | None:
        """Number of the place, and of the size."""
        best = _best(sights)
        kept = self._kept.get(person.identity)
        if kept is not None:
            kept.drawn = self._frame
            now = _still(kept, sights)
            if now is not None and best is not None:
                better = _kind(best, sights) < _kind(now, sights)
                kept.better_for = kept.better_for + 1 if better else 0
                loses_words = best[1] <= kept.choice < now[1]
                if kept.better_for < _BETTER_FOR and not loses_words:
                    best = now
        if best is not None and person.identity >= 0:
            if kept is None:
                kept = self._kept.setdefault(person.identity, _Kept(*best, drawn=self._frame))
            if (kept.place, kept.choice) != best:
                kept.place, kept.choice = best
                kept.better_for = 0
        return best


def _best(sights: Sequence[_Measured]) -> tuple[int, int] | None:
    """The best place for the most words that have one."""
    for choice, sight in enumerate(sights):
        place = sight.best()
        if sight.is_free(place, words=choice < len(sights) - 1):
            return place, choice
    return None


def _still(kept: _Kept, sights: Sequence[_Measured]) -> tuple[int, int] | None:
    """The place as it was, with more words if there is room for them now, with less if there is none any more."""
    last = len(sights) - 1
    for choice, sight in enumerate(sights):
        words = choice < last
        stays = sight.is_bearable if choice >= kept.choice else sight.is_free
        if stays(kept.place, words=words):
            return kept.place, choice
    return None


def _kind(chosen: tuple[int, int], sights: Sequence[_Measured]) -> tuple[int, bool, int]:
    """What makes a place worse than another: words left out, whether it may be taken for another's, its distance."""
    place, choice = chosen
    sight = sights[choice]
    return choice, bool(sight.doubtful[place]), int(sight.steps[place])


def _measured(box: Rectangle, size: Size, frame: Size, taken: Sequence[Rectangle], others: _Rectangles) -> _Measured:
    """All places for a plate of some size.

    Args:
        taken: plates that are there.
        others: boxes of other people.
    """
    corners, steps = _corners(box, size)
    sides, own = np.array(size, np.int64), np.array([box], np.int64)
    height, area = size[1], size[0] * size[1]
    inside = np.minimum(corners, np.array(frame, np.int64) - sides).clip(min=0)
    places = np.concatenate([inside, inside + sides], axis=1)
    people = _overlaps(places, others).sum(1)
    if _is_roomy(box, size):
        people[_overlaps(places, own)[:, 0] == area] = 0
    middles = inside + sides / 2
    near = _overlaps(_widened(places, height // 3 + 1), others) > 0
    nearer = near & (_distances(middles, others) <= _distances(middles, own))
    return _Measured(
        rectangles=places,
        plates=_overlaps(places, np.array(taken, np.int64).reshape(-1, 4)).sum(1),
        faces=_overlaps(places, _heads(np.concatenate([own, others]))).sum(1),
        people=people,
        doubtful=np.atleast_1d(nearer.any(1)),
        steps=steps,
        moved=np.atleast_1d((inside != corners).any(1)),
        area=area,
    )


def _is_roomy(box: Rectangle, size: Size) -> bool:
    """Whether a box is so large that it has room for its own plate, whoever stands behind it."""
    left, top, right, bottom = box
    return min(right - left, (bottom - top) // 3) >= max(size[1], size[0] // 2)


def _corners(box: Rectangle, size: Size) -> tuple[_Rectangles, NDArray[np.int64]]:
    """(C, 2) upper left corners at a box, within it, and up to some steps away from it; (C,) steps."""
    left, top, right, bottom = box
    width, height = size
    middle = (left + right - width) // 2
    corners: list[tuple[int, int]] = []
    steps: list[int] = []
    for step in range(_STEPS + 1):
        away = step * height
        ring = [(x, y) for y in (top - height - away, bottom + away) for x in (left, right - width, middle)]
        ring += [(x, y) for y in (top, bottom - height) for x in (right + away, left - width - away)]
        if not step:
            ring += [(left, top), (left, bottom - height)]
        corners += ring
        steps += [step] * len(ring)
    return np.array(corners, np.int64), np.array(steps, np.int64)


def _heads(boxes: _Rectangles) -> _Rectangles:
    """Where the heads of people are likely: in the middle of the upper quarters of their boxes."""
    left, top, right, bottom = boxes.T
    side = (right - left) // 4
    return np.stack([left + side, top, right - side, top + (bottom - top) // 4], axis=1)


def _widened(boxes: _Rectangles, margin: int) -> _Rectangles:
    return boxes + np.array([-margin, -margin, margin, margin], np.int64)


def _overlaps(one: _Rectangles, other: _Rectangles) -> NDArray[np.int64]:
    """(n, m) pixels that two have in common."""
    sides = np.minimum(one[:, None, 2:], other[None, :, 2:]) - np.maximum(one[:, None, :2], other[None, :, :2])
    return sides.clip(min=0).prod(2)


def _distances(points: NDArray[np.floating], boxes: _Rectangles) -> NDArray[np.floating]:
    """(n, m) from points (n, 2) to boxes; 0 within."""
    beyond = np.maximum(boxes[None, :, :2] - points[:, None], points[:, None] - boxes[None, :, 2:])
    return np.linalg.norm(beyond.clip(min=0), axis=2)
