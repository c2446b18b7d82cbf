"""One figure's part in a scene: spans of actions, and where they have brought it at any time.

Everything is a function of time alone, so that any frame can be had without those before it, at any frame rate, and
backwards as well as forwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from muybridge.stage.actions import ACTIONS, GESTURE_DOFS, Action
from muybridge.stage.figures import Figure
from muybridge.stage.skeleton import Floats, joint_positions, mirrored

BLEND_SECONDS = 0.18  # from one action's pose into the next one's


@dataclass(frozen=True)
class Span:
    """One action from `start` to `end` (seconds, half open).

    Attributes:
        action: what is done.
        start, end: seconds.
        period: seconds of one cycle, or of the whole movement.
        left_handed: the mirrored pose.
        label: what it is called in the annotations; None is the action's name, "" is nothing.
        offset: phase at the start.
    """

    action: Action
    start: float
    end: float
    period: float
    left_handed: bool = False
    label: str | None = None
    offset: float = 0.0

    @property
    def name(self) -> str:
        return self.action.name if self.label is None else self.label

    def phase(self, seconds: Floats) -> Floats:
        return (seconds - self.start) / self.period + self.offset

    def poses(self, seconds: Floats) -> Floats:
        """(T,) seconds to (T, D); a movement holds its first and last pose outside the span."""
        poses = self.action.trajectory(self.phase(seconds))
        return mirrored(poses) if self.left_handed else poses

    def progress(self, seconds: Floats) -> Floats:
        """How many cycles of way were made by then, eased for a movement that runs once: (T,)."""
        inside = np.clip(seconds, self.start, self.end)
        if self.action.cyclic:
            return (inside - self.start) / self.period
        u = np.clip(self.phase(inside), 0, 1)
        return u * u * (3 - 2 * u)

    def turned(self, seconds: Floats) -> Floats:
        """Degrees turned by then, to the figure's right: (T,)."""
        return self.progress(seconds) * self.action.turn * (-1 if self.left_handed else 1)


def span(name: str, start: float, end: float, random: np.random.Generator, **options: bool | str | None) -> Span:
    """A span of the named action; a cycle's period is drawn from the action's range, a movement fills the span."""
    action = ACTIONS[name]
    period = random.uniform(*action.seconds)
    offset = random.random()
    left_handed = bool(options.get("left_handed", False))
    label = options.get("label")
    assert label is None or isinstance(label, str)
    if not action.cyclic:
        return Span(action, start, end, end - start, left_handed, label)
    return Span(action, start, end, period, left_handed, label, offset)


def hold(part: Span, start: float, end: float, label: str | None) -> Span:
    """A span that keeps the last pose of a movement, without its way or turn."""
    still = replace(part.action, speed=0.0, turn=0.0)
    return Span(still, start, end, 1e-3, part.left_handed, label, offset=1.0)


@dataclass
class Actor:
    """A figure, its place and its spans.

    Attributes:
        track_id: unique in the scene, from 0.
        figure: how it looks.
        place: x to the right of the picture's middle and distance from the camera, metres, at time 0.
        heading: degrees, 0 faces the picture's right side, 90 the viewer.
        base: spans of the whole body, in order and without gaps; the first holds before and the last holds after.
        gestures: spans of arms and head laid over them, not overlapping each other.
    """

    track_id: int
    figure: Figure
    place: tuple[float, float]
    heading: float
    base: list[Span] = field(default_factory=list)
    gestures: list[Span] = field(default_factory=list)

    def poses(self, seconds: Floats) -> Floats:
        """(T, D) at (T,) seconds."""
        starts = np.array([part.start for part in self.base])
        current = np.clip(np.searchsorted(starts, seconds, side="right") - 1, 0, len(starts) - 1)
        poses = np.zeros((len(seconds), len(GESTURE_DOFS)))
        for index in np.unique(current):
            chosen = current == index
            part, times = self.base[index], seconds[chosen]
            result = part.poses(times)
            if index:
                weight = _smooth((times - part.start) / BLEND_SECONDS)[:, None]
                result = weight * result + (1 - weight) * self.base[index - 1].poses(times)
            poses[chosen] = result
        for gesture in self.gestures:
            near = (seconds > gesture.start) & (seconds < gesture.end)
            if near.any():
                times = seconds[near]
                ramp = min(0.3, (gesture.end - gesture.start) / 3)
                weight = _smooth((times - gesture.start) / ramp) * _smooth((gesture.end - times) / ramp)
                mixed = weight[:, None] * GESTURE_DOFS
                poses[near] = poses[near] * (1 - mixed) + gesture.poses(times) * mixed
        return poses

    def whereabouts(self, seconds: Floats) -> tuple[Floats, Floats]:
        """Place (T, 2) in metres and heading (T,) in degrees at (T,) seconds."""
        heading = np.full(len(seconds), self.heading)
        place = np.tile(np.array(self.place), (len(seconds), 1))
        facing = self.heading
        for part in self.base:
            way = part.action.speed * self.figure.look.body.height
            if way:
                angle = np.deg2rad(facing)
                place += (way * part.progress(seconds))[:, None] * (np.cos(angle), -np.sin(angle))
            if part.action.turn:
                heading += part.turned(seconds)
                facing += part.turned(np.array([part.end]))[0]
        return place, heading

    def joints(self, seconds: Floats) -> Floats:
        """Joint positions (T, J, 3), metres from the place on the floor."""
        return joint_positions(self.poses(seconds), self.whereabouts(seconds)[1], self.figure.look.body)

    def doing(self, second: float) -> list[str]:
        """Names of the actions at one time, the whole body's first."""
        begun = [part for part in self.base if part.start <= second]
        base = begun[-1] if begun else self.base[0]
        gestures = [part.name for part in self.gestures if part.start <= second < part.end]
        return [name for name in (*_whole_body(base), *gestures) if name]

    def spans(self) -> Iterator[tuple[Span, str]]:
        """Every span with each of its labels."""
        for part in self.base:
            yield from ((part, name) for name in _whole_body(part) if name)
        yield from ((part, part.name) for part in self.gestures if part.name)


def _whole_body(part: Span) -> tuple[str, ...]:
    """Labels of a span of the base: someone who only gestures stands as well."""
    named = ACTIONS.get(part.name)
    return (named.before, part.name) if named and named.gesture else (part.name,)


def _smooth(u: Floats) -> Floats:
    u = np.clip(u, 0, 1)
    return u * u * (3 - 2 * u)
