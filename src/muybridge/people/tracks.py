"""Who is who from frame to frame: boxes are linked to people, and people's actions to tubes with a start and an end.

    boxes of a frame ─┬─ sure ones ── overlap with where people should be by now (Kalman filter)
                      └─ unsure ones ── overlap with people seen the last time and not found among the sure ones

The two rounds are ByteTrack's (arXiv 2110.06864). A third round is for frames far apart, between which someone leaves
their own box: left-over boxes are matched with a margin that grows with the time gone by (after 2211.13317). Every
box gets an identity; ByteTrack would drop unsure ones that nobody claims, but here the caller has dropped what is
too unsure already.

Letters of shapes: n boxes of a frame, T people that are followed, K moments of a tube.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from muybridge.data.annotations.table import NO_LABEL, NO_PERSON, Annotations
from muybridge.errors import AnnotationError, OptionError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


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


@dataclass
class _People:
    """Those that are followed.

    Attributes:
        ids: (T,).
        state: (T, 4, 2) centre x, centre y, width, height; each with its speed per second.
        covariance: (T, 4, 2, 2), one for each of the four, which move independently.
        seen: (T,) seconds when last matched.
    """

    ids: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    state: Floats = field(default_factory=lambda: np.zeros((0, 4, 2)))
    covariance: Floats = field(default_factory=lambda: np.zeros((0, 4, 2, 2)))
    seen: Floats = field(default_factory=lambda: np.zeros(0))

    def select(self, rows: NDArray[np.bool_]) -> "_People":
        return _People(self.ids[rows], self.state[rows], self.covariance[rows], self.seen[rows])

    def boxes(self) -> Floats:
        """(T, 4) xyxy."""
        centre, sides = self.state[:, :2, 0], self.state[:, 2:, 0].clip(min=1e-9)
        return np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)


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
        self._now = 0.0
        self._next_id = 0
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
        boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
        if boxes.shape != (len(scores), 4) or not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise OptionError(f"boxes {boxes.shape} and scores {scores.shape} must be finite (n, 4) and (n,).")
        now = self._now + self._step if seconds is None else seconds
        if now < self._now:
            raise OptionError(f"seconds is {now}, before the last frame at {self._now}. Show frames in order.")
        remembered = max(self.config.lost_seconds, 3 * self._step)
        self._people = self._people.select(now - self._people.seen <= remembered + 1e-9)
        self._predict(now - self._now)
        last, self._now = self._now, now
        matched = self._match(boxes, scores, seen_last=self._people.seen >= last - 1e-9)
        ids = np.full(len(boxes), -1, np.int64)
        found = matched >= 0
        ids[found] = self._people.ids[matched[found]]
        self._correct(matched[found], boxes[found])
        ids[~found] = self._start(boxes[~found])
        return ids

    def _match(self, boxes: Floats, scores: Floats, *, seen_last: NDArray[np.bool_]) -> Integers:
        """(n,) row of the person that each box belongs to, or -1."""
        config, people = self.config, self._people
        expected = people.boxes()
        matched = np.full(len(boxes), -1, np.int64)
        sure = scores >= config.sure_score
        free = np.ones(len(people.ids), bool)

        def claim(candidates: Integers, rows: Integers, overlap: Floats, least: float) -> None:
            for candidate, row in _assign(overlap, least):
                matched[candidates[candidate]] = rows[row]
                free[rows[row]] = False

        rows, candidates = np.flatnonzero(free), np.flatnonzero(sure)
        claim(candidates, rows, _iou(boxes[candidates], expected[rows]), config.sure_iou)
        rows, candidates = np.flatnonzero(free & seen_last), np.flatnonzero(~sure)
        claim(candidates, rows, _iou(boxes[candidates], expected[rows]), config.unsure_iou)
        rows, candidates = np.flatnonzero(free), np.flatnonzero(matched < 0)
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

    def _correct(self, rows: Integers, boxes: Floats) -> None:
        people = self._people
        people.seen[rows] = self._now
        measured = _centre_and_sides(boxes)
        state, covariance = people.state[rows], people.covariance[rows]
        variance = (self.config.noise * measured[:, 3:]) ** 2
        gain = covariance[..., 0] / (covariance[..., 0, 0] + variance)[..., None]
        people.state[rows] = state + gain * (measured - state[..., 0])[..., None]
        people.covariance[rows] = covariance - gain[..., None] * covariance[..., :1, :]

    def _start(self, boxes: Floats) -> Integers:
        """Follow new people from here on; their ids."""
        count = len(boxes)
        ids = np.arange(self._next_id, self._next_id + count)
        self._next_id += count
        measured = _centre_and_sides(boxes)
        state = np.stack([measured, np.zeros_like(measured)], axis=-1)
        covariance = np.zeros((count, 4, 2, 2))
        covariance[..., 0, 0] = (self.config.noise * measured[:, 3:]) ** 2
        covariance[..., 1, 1] = measured[:, 3:] ** 2  # about a body height a second
        people = self._people
        self._people = _People(
            np.concatenate([people.ids, ids]),
            np.concatenate([people.state, state]),
            np.concatenate([people.covariance, covariance]),
            np.concatenate([people.seen, np.full(count, self._now)]),
        )
        return ids


def _centre_and_sides(boxes: Floats) -> Floats:
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def _iou(one: Floats, other: Floats) -> Floats:
    """(n, 4) and (T, 4) xyxy to (n, T)."""
    return _overlap(one[:, None], other[None])


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
