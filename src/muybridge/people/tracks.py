"""Who is who from frame to frame: boxes are linked to people, and people's actions to tubes with a start and an end.

    boxes of a frame ─┬─ sure ones ── overlap with where people should be by now (Kalman filter)
                      └─ unsure ones ── overlap with people seen the last time and not found among the sure ones

The two rounds are ByteTrack's (arXiv 2110.06864). A third round is for frames far apart, between which someone leaves
their own box: left-over boxes are matched with a margin that grows with the time gone by (after 2211.13317).

In the first two rounds boxes overlap by less the less they span the same height (after 2308.00783); in all, where
colours of what people wear are given (`colours.py`), by less the less these are alike.

`Tracker.update` is for boxes that were chosen already: each gets an identity. `Tracker.follow` is for all that a
detector has to say, down to what it hardly believes: somebody begins with a box that is sure enough and is believed
from the second on, goes on with unsure ones, and is carried on for a moment where there is none.

Letters of shapes: n boxes of a frame, T people that are followed, K moments of a tube.
"""

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from muybridge.data.annotations.table import NO_LABEL, NO_PERSON, Annotations
from muybridge.errors import AnnotationError, OptionError
from muybridge.people.colours import likeness

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_NEWEST = 0.3  # share of the newest score in a running mean
_RARE_SECONDS = 0.45
_HIDDEN = 0.6  # share of a box that lies in another's


@dataclass(frozen=True)
class TrackerConfig:
    """How boxes are linked. Lengths are in heights of the person's box, so that units and sizes do not matter.

    Attributes:
        sure_score: boxes scored so take part in the first round.
        sure_iou: least overlap there.
        unsure_iou: least overlap in the second round.
        margin_per_second: by which boxes are widened at each side in the third round.
        most_margin: at most.
        margin_iou: least overlap of the widened boxes.
        lost_seconds: how long someone not seen is remembered; at least three steps in any case.
        acceleration: how abruptly people move, per second squared.
        noise: how inexactly detectors place a box's sides.
        go_on: of `Tracker.follow`: nobody goes on with a box scored under this share of what they may begin with.
        believed: this part of the way from there to 1, a box needs no second one to be believed.
        shown: share of it that the running mean of the scores must keep, or someone is followed but not told of.
        carried_seconds: how long someone is told of, where motion takes them, without a box.
    """

    sure_score: float = 0.5
    sure_iou: float = 0.2
    unsure_iou: float = 0.5
    margin_per_second: float = 0.6
    most_margin: float = 0.5
    margin_iou: float = 0.15
    lost_seconds: float = 2.0
    acceleration: float = 3.0
    noise: float = 0.05
    go_on: float = 0.4
    believed: float = 0.3
    shown: float = 0.6
    carried_seconds: float = 0.2


@dataclass
class _People:
    """Those that are followed.

    Attributes:
        ids: (T,).
        state: (T, 4, 2) centre x, centre y, width, height; each with its speed per second.
        covariance: (T, 4, 2, 2), one for each of the four, which move independently.
        seen: (T,) seconds when last matched.
        score: (T,) running mean of their boxes' scores.
        looks: (T,) boxes that they have had.
        tracks: (T,) counted as they are first seen, believed or not.
        colours: (T, C) running mean of what they wear; C is 0 where that is not told.
    """

    ids: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    state: Floats = field(default_factory=lambda: np.zeros((0, 4, 2)))
    covariance: Floats = field(default_factory=lambda: np.zeros((0, 4, 2, 2)))
    seen: Floats = field(default_factory=lambda: np.zeros(0))
    score: Floats = field(default_factory=lambda: np.zeros(0))
    looks: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    tracks: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    colours: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def select(self, rows: NDArray[np.bool_]) -> "_People":
        return _People(*(getattr(self, each.name)[rows] for each in fields(self)))

    def joined(self, others: "_People") -> "_People":
        if not len(self.ids):
            return others
        return _People(*(np.concatenate([getattr(p, each.name) for p in (self, others)]) for each in fields(self)))

    def boxes(self) -> Floats:
        """(T, 4) xyxy."""
        centre, sides = self.state[:, :2, 0], self.state[:, 2:, 0].clip(min=1e-9)
        return np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)


@dataclass(frozen=True, eq=False)
class Seen:
    """Boxes of a frame that belong to somebody, whether they are believed yet or not.

    Attributes:
        boxes: (m, 4) xyxy.
        tracks: (m,) the same for one person over time, also before they are believed.
        ids: (m,) as `Followed.ids`; -1 for who is not believed yet.
        scores: (m,) the detector's.
    """

    boxes: NDArray[np.floating]
    tracks: Integers
    ids: Integers
    scores: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Followed:
    """Who is there now.

    Attributes:
        boxes: (n, 4) xyxy.
        ids: (n,), counted from 0 as people come to be believed.
        scores: (n,) running means of the detector's.
        seen: what all of it rests on, for those who can wait and tell better (`hindsight.py`).
    """

    boxes: Floats
    ids: Integers
    scores: Floats
    seen: Seen


class Tracker:
    """Gives boxes of successive frames of one video identities that last. One tracker a video.

    Args:
        rate: frames a second that it will be shown.

    Raises:
        OptionError: rate is not positive and finite.
    """

    def __init__(self, *, rate: float, config: TrackerConfig | None = None) -> None:
        if not 0 < rate < float("inf"):
            raise OptionError(f"rate is {rate}. It must be the positive number of frames a second shown.")
        self.config = config or TrackerConfig()
        self._step = 1 / rate
        self._now = self._last = 0.0
        self._next_id = self._next_track = 0
        self._people = _People()

    def update(
        self, boxes: NDArray[np.floating], scores: NDArray[np.floating], *, seconds: float | None = None
    ) -> Integers:
        """Identities (n,) of the next frame's boxes, all different, counted from 0 as people appear.

        Args:
            boxes: (n, 4) xyxy with area, in any unit that stays the same.
            scores: (n,) in [0, 1].
            seconds: when the frame is; None for one step after the last one. Frames left out are thus told of.

        Raises:
            OptionError: shapes disagree, a number is not finite, or time goes backward.
        """
        boxes, scores = self._step_to(boxes, scores, seconds)
        colours = np.zeros((len(boxes), 0))
        matched = self._match(boxes, scores, colours, seen_last=self._people.seen >= self._last - 1e-9)
        ids = np.full(len(boxes), -1, np.int64)
        found = matched >= 0
        ids[found] = self._people.ids[matched[found]]
        self._correct(matched[found], boxes[found], scores[found], colours[found])
        self._start(boxes[~found], scores[~found], colours[~found])
        new = self._people.ids < 0
        ids[~found] = self._people.ids[new] = self._new_ids(int(new.sum()))
        return ids

    def follow(
        self,
        boxes: NDArray[np.floating],
        scores: NDArray[np.floating],
        *,
        begin_score: float,
        seconds: float | None = None,
        colours: Floats | None = None,
    ) -> Followed:
        """Who is in the next frame, given all that a detector says of it, also what it hardly believes.

        Args:
            begin_score: nobody begins with a box scored lower.
            colours: (n, C) of what they wear, see `colours_of`; at each frame or at none.
            boxes, scores, seconds, errors: as `update`.
        """
        config = self.config
        boxes, scores = self._step_to(boxes, scores, seconds)
        colours = np.zeros((len(boxes), 0)) if colours is None else colours
        worth = scores >= config.go_on * begin_score
        boxes, scores, colours = boxes[worth], scores[worth], colours[worth]
        known = self._people.ids >= 0
        # Who was seen once only is forgotten at the first frame without them.
        self._people = self._people.select(known | (self._people.seen >= self._last - 1e-9))
        recently = self._people.seen >= self._now - max(config.carried_seconds, 1.5 * self._step)
        matched = self._match(boxes, scores, colours, seen_last=recently, least_in_margin=begin_score)
        found = matched >= 0
        self._correct(matched[found], boxes[found], scores[found], colours[found])
        new = ~found & (scores >= begin_score)
        matched[new] = len(self._people.ids) + np.arange(int(new.sum()))
        self._start(boxes[new], scores[new], colours[new])
        self._believe(begin_score + config.believed * (1 - begin_score))
        return self._told(boxes, scores, matched, config.shown * begin_score)

    def cut(self) -> None:
        """Everybody is forgotten: the next frame is of another shot."""
        self._people = _People()

    def _step_to(
        self, boxes: NDArray[np.floating], scores: NDArray[np.floating], seconds: float | None
    ) -> tuple[Floats, Floats]:
        boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
        if boxes.shape != (len(scores), 4) or not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise OptionError(f"boxes {boxes.shape} and scores {scores.shape} must be finite (n, 4) and (n,).")
        now = self._now + self._step if seconds is None else seconds
        if now < self._now:
            raise OptionError(f"seconds is {now}, before the last frame at {self._now}. Show frames in order.")
        remembered = max(self.config.lost_seconds, 3 * self._step)
        self._people = self._people.select(now - self._people.seen <= remembered + 1e-9)
        self._predict(now - self._now)
        self._last, self._now = self._now, now
        return boxes, scores

    def _believe(self, score: float) -> None:
        """Numbers for those who have had a second box, or one so sure that it needs none."""
        people = self._people
        # Of frames far apart a second one would come too late.
        enough = (people.looks >= 2) | (people.score >= score) | (self._step >= _RARE_SECONDS)
        new = np.flatnonzero((people.ids < 0) & enough)
        people.ids[new] = self._new_ids(len(new))

    def _told(self, boxes: Floats, scores: Floats, matched: Integers, least: float) -> Followed:
        """Those of this frame, and those carried on who are hidden behind none of them."""
        people, config = self._people, self.config
        now = people.boxes()
        here = np.zeros(len(people.ids), bool)
        belongs = matched >= 0
        rows = matched[belongs]
        here[rows], now[rows] = True, boxes[belongs]
        seen = Seen(boxes[belongs], people.tracks[rows], people.ids[rows], scores[belongs])
        told = (people.ids >= 0) & (people.score >= least)
        carried = told & ~here & (people.looks >= 3) & (self._now - people.seen <= config.carried_seconds + 1e-9)
        here &= told
        hidden = (_share_inside(now[carried], now[here]) >= _HIDDEN).any(1)
        carried[np.flatnonzero(carried)[hidden]] = False
        shown = here | carried
        return Followed(now[shown], people.ids[shown].copy(), people.score[shown].copy(), seen)

    def _new_ids(self, count: int) -> Integers:
        self._next_id += count
        return np.arange(self._next_id - count, self._next_id)

    def _match(
        self,
        boxes: Floats,
        scores: Floats,
        colours: Floats,
        *,
        seen_last: NDArray[np.bool_],
        least_in_margin: float = 0.0,
    ) -> Integers:
        """(n,) row of the person that each box belongs to, or -1."""
        config, people = self.config, self._people
        expected = people.boxes()
        alike = likeness(colours, people.colours)
        matched = np.full(len(boxes), -1, np.int64)
        sure = scores >= config.sure_score
        free = np.ones(len(people.ids), bool)

        def claim(candidates: Integers, rows: Integers, overlap: Floats, least: float) -> None:
            for candidate, row in _assign(overlap * alike[np.ix_(candidates, rows)], least):
                matched[candidates[candidate]] = rows[row]
                free[rows[row]] = False

        rows, candidates = np.flatnonzero(free), np.flatnonzero(sure)
        claim(candidates, rows, _upright_iou(boxes[candidates], expected[rows]), config.sure_iou)
        rows, candidates = np.flatnonzero(free & seen_last), np.flatnonzero(~sure)
        claim(candidates, rows, _upright_iou(boxes[candidates], expected[rows]), config.unsure_iou)
        rows, candidates = np.flatnonzero(free), np.flatnonzero((matched < 0) & (scores >= least_in_margin))
        gone = (self._now - people.seen[rows]) * config.margin_per_second
        margin = gone.clip(max=config.most_margin) * people.state[rows, 3, 0].clip(min=0)
        claim(candidates, rows, _widened_iou(boxes[candidates], expected[rows], margin), config.margin_iou)
        return matched

    def _predict(self, seconds: float) -> None:
        """Constant speed; the noise is that of an acceleration that is constant within a step."""
        people = self._people
        move = np.array([[1.0, seconds], [0.0, 1.0]])
        people.state = people.state @ move.T
        deviation = self.config.acceleration * people.state[:, 3, 0].clip(min=1e-9)
        gain = np.array([seconds**2 / 2, seconds])
        noise = deviation[:, None, None, None] ** 2 * np.outer(gain, gain)
        people.covariance = move @ people.covariance @ move.T + noise

    def _correct(self, rows: Integers, boxes: Floats, scores: Floats, colours: Floats) -> None:
        if not len(rows):
            return
        people = self._people
        people.seen[rows] = self._now
        people.looks[rows] += 1
        people.score[rows] += _NEWEST * (scores - people.score[rows])
        people.colours[rows] += _NEWEST * (colours - people.colours[rows])
        measured = _centre_and_sides(boxes)
        state, covariance = people.state[rows], people.covariance[rows]
        variance = (self.config.noise * measured[:, 3:]) ** 2
        gain = covariance[..., 0] / (covariance[..., 0, 0] + variance)[..., None]
        people.state[rows] = state + gain * (measured - state[..., 0])[..., None]
        people.covariance[rows] = covariance - gain[..., None] * covariance[..., :1, :]

    def _start(self, boxes: Floats, scores: Floats, colours: Floats) -> None:
        """Follow new people from here on, after the others, who have no numbers yet."""
        count = len(boxes)
        measured = _centre_and_sides(boxes)
        state = np.stack([measured, np.zeros_like(measured)], axis=-1)
        covariance = np.zeros((count, 4, 2, 2))
        covariance[..., 0, 0] = (self.config.noise * measured[:, 3:]) ** 2
        covariance[..., 1, 1] = measured[:, 3:] ** 2  # about a body height a second
        ids, looks = np.full(count, -1, np.int64), np.ones(count, np.int64)
        tracks = np.arange(self._next_track, self._next_track + count)
        self._next_track += count
        seen = np.full(count, self._now)
        new = _People(ids, state, covariance, seen, scores.copy(), looks, tracks, colours.copy())
        self._people = self._people.joined(new)


def _centre_and_sides(boxes: Floats) -> Floats:
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def _share_inside(one: Floats, other: Floats) -> Floats:
    """(n, T) which share of each of the first lies in each of the others."""
    sides = np.minimum(one[:, None, 2:], other[None, :, 2:]) - np.maximum(one[:, None, :2], other[None, :, :2])
    areas = (one[:, 2:] - one[:, :2]).prod(-1)
    return sides.clip(min=0).prod(-1) / areas.clip(min=1e-12)[:, None]


def _iou(one: Floats, other: Floats) -> Floats:
    """(n, 4) and (T, 4) xyxy to (n, T)."""
    return _overlap(one[:, None], other[None])


def _upright_iou(one: Floats, other: Floats) -> Floats:
    """(n, 4) and (T, 4) xyxy to (n, T): IoU times the square of that of the spans from head to feet.

    Feet tell who is nearer, and nobody grows: whoever passes behind somebody overlaps their box, but not its span.
    """
    first, second = one[:, None], other[None]
    shared = np.minimum(first[..., 3], second[..., 3]) - np.maximum(first[..., 1], second[..., 1])
    whole = np.maximum(first[..., 3], second[..., 3]) - np.minimum(first[..., 1], second[..., 1])
    alike = np.divide(shared.clip(min=0), whole, out=np.zeros_like(shared), where=whole > 0)
    return _iou(one, other) * alike**2


def _widened_iou(one: Floats, other: Floats, margin: Floats) -> Floats:
    """Overlap after both boxes of a pair grew at each side by the person's margin (T,): (n, T)."""
    grow = margin[None, :, None] * np.array([-1.0, -1.0, 1.0, 1.0])
    return _overlap(one[:, None] + grow, other[None] + grow)


def _overlap(one: Floats, other: Floats) -> Floats:
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = sides.clip(min=0).prod(-1)
    union = (one[..., 2:] - one[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _assign(overlap: Floats, least: float) -> list[tuple[int, int]]:
    """Pairs of the assignment with the most overlap in all, those under `least` left out."""
    if overlap.size == 0:
        return []
    # What may not be matched is worth nothing, so that it never displaces a match that counts.
    worth = np.where(overlap >= least, overlap, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if worth[i, j] > 0]


@dataclass(frozen=True, eq=False)
class ActionTube:
    """One person doing one thing for a while.

    Attributes:
        video, person, label: as in `Annotations`.
        times: (K,) seconds, increasing.
        boxes: (K, 4) xyxy at these times, in the annotations' unit.
        score: mean of the rows that it was linked from.
    """

    video: str
    person: int
    label: int
    times: Floats
    boxes: Floats
    score: float

    @property
    def start(self) -> float:
        """Seconds of its first box."""
        return float(self.times[0])

    @property
    def end(self) -> float:
        """Seconds of its last box."""
        return float(self.times[-1])


def action_tubes(
    annotations: Annotations, *, threshold: float = 0.0, most_gap: float = 1.5, least_seconds: float = 0.0
) -> list[ActionTube]:
    """Rows with person ids linked to tubes, ordered by video, person, label and start.

    Args:
        threshold: rows scored lower do not count.
        most_gap: seconds without a row that a tube bridges.
        least_seconds: tubes from first to last box shorter than this are left out.

    Raises:
        AnnotationError: no ids are known, or a person has two boxes at one time for one label.
    """
    if annotations.person is None:
        raise AnnotationError("The annotations have no person ids, so there is nothing to link. Track them first.")
    scores = np.ones(len(annotations)) if annotations.score is None else annotations.score
    counts = (annotations.label != NO_LABEL) & (annotations.person != NO_PERSON) & (scores >= threshold)
    rows = np.flatnonzero(counts)
    times = annotations.time_seconds
    order = np.lexsort([times[rows], annotations.label[rows], annotations.person[rows], annotations.video[rows]])
    rows = rows[order]
    keys = np.stack([annotations.video[rows], annotations.person[rows], annotations.label[rows]], axis=1)
    same = (keys[1:] == keys[:-1]).all(1)
    gaps = np.diff(times[rows])
    doubled = np.flatnonzero(same & (gaps <= 0))
    if len(doubled):
        video, person, label = keys[doubled[0]].tolist()
        raise AnnotationError(
            f"video {annotations.videos[video]!r}: person {person} has two boxes of label {label} at "
            f"{times[rows[doubled[0]]]:g} s. Give each person one."
        )
    tubes: list[ActionTube] = []
    for part in np.split(np.arange(len(rows)), np.flatnonzero(~same | (gaps > most_gap + 1e-6)) + 1):
        mine = rows[part]
        if not len(mine) or times[mine[-1]] - times[mine[0]] < least_seconds:
            continue
        video, person, label = keys[part[0]].tolist()
        name, score = annotations.videos[video], float(scores[mine].mean())
        tubes.append(ActionTube(name, person, label, times[mine], annotations.boxes_xyxy[mine], score))
    return tubes
