"""Masks of chosen people over time, made from boxes: for painting only those who do something, or all but them.

first pass: video ── detector, tracker ── who is where (and, with a localizer, doing what)
second pass: time ── the people of this moment ── those chosen ── soft shapes in their boxes ── mask
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from muybridge.errors import OptionError
from muybridge.localize.results import LocalizeResult, Moment, People, ShownPeople
from muybridge.media.masks import Mask

# A person's share of the mask comes and goes over this time, so that one uncertain moment does not flash.
_FADE_SECONDS = 0.4
# Boxes follow their person's movement over such times: long enough that a standing person's mask stands still.
_PLACE_SECONDS, _SIZE_SECONDS = 0.25, 0.5
_MOST_ABSENCE = 1.0  # seconds for which a detector may miss someone who is there
_LEAST_SECONDS = 0.5
_LEAST_SIDE = 1e-3
_SQUARENESS = 3.0  # exponent of the superellipse that fills a box: 2 is an ellipse, infinity the box


@dataclass(frozen=True)
class PeopleChoice:
    """Whom a mask covers.

    Attributes:
        ids: people by the number that `muybridge localize` shows; empty for everybody.
        actions: of these people, only those who do one of these things; empty for whatever they do.
        threshold: least probability of an action.
        all_but: cover everything else instead.
        grow: by how much of its size a box is widened on each side.
        softness: width of the soft edge, as a share of the box.
    """

    ids: frozenset[int] = frozenset()
    actions: tuple[str, ...] = ()
    threshold: float = 0.5
    all_but: bool = False
    grow: float = 0.06
    softness: float = 0.25

    def __post_init__(self) -> None:
        if self.grow < 0 or not self.softness > 0:
            raise OptionError(f"grow={self.grow} and softness={self.softness}: choose 0 or more, and above 0")


def parse_people(texts: Sequence[str]) -> frozenset[int]:
    """ "person" for everybody (an empty set), "person=2" or "person=2,5" for some.

    Raises:
        OptionError: anything else.
    """
    ids: set[int] = set()
    for text in texts:
        kind, equals, numbers = text.partition("=")
        if kind.strip() not in ("person", "people") or (equals and not numbers.strip()):
            raise OptionError(f"--who {text!r} names nobody. Write person, person=2 or person=2,5")
        try:
            ids |= {int(number) for number in numbers.split(",") if number.strip()}
        except ValueError as error:
            raise OptionError(f"--who {text!r}: people are numbered. Write such as person=2") from error
    return frozenset(ids)


def check_actions(choice: PeopleChoice, known: Sequence[str]) -> None:
    """Raise OptionError if an action that was chosen is none of those known."""
    for name in choice.actions:
        if name not in known:
            names = ", ".join(known) or "none, since no localizer was given"
            raise OptionError(f"--doing {name!r} is no action that is known here. There are: {names}")


class WhoIsShown(Protocol):
    """Asked with times that do not fall."""

    def at(self, seconds: float) -> People:
        """The people of this time."""
        ...


class PeopleMask:
    """A mask over time, as `muybridge.media.masks.MaskTrack` is one.

    Args:
        shown: who is where at a time.
        action_names: (K,) of the columns of `People.actions`; empty where actions are not known.

    Raises:
        OptionError: an action that is none of `action_names`.
    """

    def __init__(self, shown: WhoIsShown, choice: PeopleChoice, action_names: Sequence[str] = ()) -> None:
        check_actions(choice, action_names)
        self._shown, self._choice = shown, choice
        self._columns = [list(action_names).index(name) for name in choice.actions]
        self._shares: dict[int, float] = {}
        self._boxes: dict[int, NDArray[np.float32]] = {}
        self._seconds: float | None = None

    @classmethod
    def of_looks(cls, looks: Sequence[Moment], choice: PeopleChoice) -> "PeopleMask":
        """From looks at people whose actions are not known."""
        return cls(_shown_people(steady_looks(looks), (), every=1.0, num_classes=0), choice)

    @classmethod
    def of_result(cls, result: LocalizeResult, choice: PeopleChoice) -> "PeopleMask":
        """From a localizer's answer."""
        names = result.labels.names
        shown = _shown_people(
            steady_looks(result.looks), result.key_frames, every=result.every, num_classes=len(names)
        )
        return cls(shown, choice, names)

    def at(self, seconds: Fraction, height: int, width: int) -> Mask:
        """(height, width) float32 in [0, 1]; 1 where the chosen people are, falling off softly."""
        now = float(seconds)
        people = self._shown.at(now)
        chosen = self._chosen(people)
        present = dict(zip(people.ids.tolist(), people.boxes, strict=True))
        step = 1.0 if self._seconds is None else abs(now - self._seconds) / _FADE_SECONDS
        self._seconds = now
        mask = np.zeros((height, width), np.float32)
        for person in set(self._shares) | chosen:
            if person in present:
                self._boxes[person] = present[person]
            share = self._shares.get(person, 0.0)
            share = min(1.0, share + step) if person in chosen else max(0.0, share - step)
            if share == 0.0:
                self._shares.pop(person, None)
                continue
            self._shares[person] = share
            paint_box(mask, self._boxes[person], self._choice, share)
        return 1 - mask if self._choice.all_but else mask

    def _chosen(self, people: People) -> set[int]:
        chosen: set[int] = set()
        for row, person in enumerate(people.ids.tolist()):
            if self._choice.ids and person not in self._choice.ids:
                continue
            if self._columns:
                best = float(people.actions[row, self._columns].max())
                if not best >= self._choice.threshold:  # also where it is not known
                    continue
            chosen.add(person)
        return chosen

    def close(self) -> None:
        """Nothing is held open."""


def _shown_people(
    looks: Sequence[Moment], key_frames: Sequence[Moment], *, every: float, num_classes: int
) -> ShownPeople:
    shown = ShownPeople(every, num_classes)
    for look in looks:
        shown.add_look(look)
    for key in key_frames:
        shown.add_key(key)
    return shown


def steady_looks(looks: Sequence[Moment]) -> list[Moment]:
    """Looks in which boxes do not tremble: each person's are smoothed over time, and short absences filled.

    A box is fitted by a line through those around it, so that who moves evenly is followed without lag. Its size
    changes more slowly than its place. Who is seen for less than half a second, looked for often, is left out: such
    people are mostly mistakes of the detector, and would flash.
    """
    times = np.array([look.seconds for look in looks])
    rows: dict[int, list[tuple[int, int]]] = {}
    for number, look in enumerate(looks):
        for row, person in enumerate(look.people.ids.tolist()):
            rows.setdefault(person, []).append((number, row))
    steady: list[list[tuple[int, NDArray[np.float32], float]]] = [[] for _ in looks]
    brief = _LEAST_SECONDS if len(looks) > 1 and float(np.median(np.diff(times))) < _LEAST_SECONDS / 2 else 0.0
    for person, seen in rows.items():
        if times[seen[-1][0]] - times[seen[0][0]] < min(brief, float(times[-1] - times[0])):
            continue
        numbers = np.array([number for number, _ in seen])
        boxes = np.stack([looks[number].people.boxes[row] for number, row in seen]).astype(np.float64)
        scores = [float(looks[number].people.scores[row]) for number, row in seen]
        gaps = np.flatnonzero(np.diff(times[numbers]) > _MOST_ABSENCE)
        for part in np.split(np.arange(len(numbers)), gaps + 1):
            present = np.arange(int(numbers[part[0]]), int(numbers[part[-1]]) + 1)
            smooth = _smooth_boxes(times[numbers[part]], boxes[part], times[present])
            for number, box in zip(present.tolist(), smooth.astype(np.float32), strict=True):
                nearest = int(part[np.abs(numbers[part] - number).argmin()])
                steady[number].append((person, box, scores[nearest]))
    return [Moment(look.seconds, _people_of(found)) for look, found in zip(looks, steady, strict=True)]


def _smooth_boxes(
    times: NDArray[np.float64], boxes: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Boxes (k, 4) xyxy seen at times (k,) to those (m, 4) at other times."""
    middles, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    middles = np.stack([_line_at(times, middles, time, _PLACE_SECONDS) for time in at.tolist()])
    sides = np.stack([_line_at(times, sides, time, _SIZE_SECONDS) for time in at.tolist()])
    sides = sides.clip(min=_LEAST_SIDE)
    return np.concatenate([middles - sides / 2, middles + sides / 2], axis=1)


def _line_at(
    times: NDArray[np.float64], values: NDArray[np.float64], time: float, width: float
) -> NDArray[np.float64]:
    """Local linear regression (Cleveland 1979) with Gaussian weights of this width in seconds: (k, d) to (d,)."""
    near = slice(*np.searchsorted(times, (time - 3 * width - _MOST_ABSENCE, time + 3 * width + _MOST_ABSENCE)))
    away, values = times[near] - time, values[near]
    weights = np.exp(-0.5 * (away / width) ** 2)
    weights /= weights.sum()
    mean_away, mean = weights @ away, weights @ values
    spread = weights @ (away - mean_away) ** 2
    if spread < 1e-9:
        return mean
    slope = (weights * (away - mean_away)) @ (values - mean) / spread
    return mean - slope * mean_away


def _people_of(found: Sequence[tuple[int, NDArray[np.float32], float]]) -> People:
    return People(
        np.array([box for _, box, _ in found], np.float32).reshape(-1, 4),
        np.array([person for person, _, _ in found], np.int64),
        np.array([score for _, _, score in found], np.float32),
        np.zeros((len(found), 0), np.float32),
    )


def paint_box(mask: Mask, box: NDArray[np.float32], choice: PeopleChoice, share: float) -> None:
    """Raise a mask (H, W) to `share` within a superellipse in the grown box, falling off over the soft edge.

    Args:
        box: x1 y1 x2 y2 as fractions of the frame.
    """
    height, width = mask.shape
    x1, y1, x2, y2 = (float(v) for v in box)
    half_w, half_h = (x2 - x1) * (0.5 + choice.grow) * width, (y2 - y1) * (0.5 + choice.grow) * height
    middle_x, middle_y = (x1 + x2) / 2 * width, (y1 + y2) / 2 * height
    reach_x, reach_y = half_w * (1 + choice.softness), half_h * (1 + choice.softness)
    left, right = max(0, int(middle_x - reach_x)), min(width, int(np.ceil(middle_x + reach_x)) + 1)
    top, bottom = max(0, int(middle_y - reach_y)), min(height, int(np.ceil(middle_y + reach_y)) + 1)
    if left >= right or top >= bottom:
        return
    across = np.abs((np.arange(left, right) + 0.5 - middle_x) / max(half_w, 1.0)) ** _SQUARENESS
    down = np.abs((np.arange(top, bottom) + 0.5 - middle_y) / max(half_h, 1.0)) ** _SQUARENESS
    radius = (across[None, :] + down[:, None]) ** (1 / _SQUARENESS)
    edge = np.clip((1 + choice.softness - radius) / choice.softness, 0, 1)
    soft = (edge * edge * (3 - 2 * edge) * share).astype(np.float32)
    part = mask[top:bottom, left:right]
    np.maximum(part, soft, out=part)
