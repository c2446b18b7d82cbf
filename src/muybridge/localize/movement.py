"""How people move against the camera's own movement, and what it says of their poses.

looks of the last second ── velocity in the frame ─┬─ heights a second over the ground ── walk or stand doubted
clip ── shifts of the camera ──────────────────────┤
                                                   └─ the clip as a camera at rest would have filmed it
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from muybridge.data.label_maps import LabelMap
from muybridge.localize.results import Moment, People

Floats = NDArray[np.floating]
SECONDS = 0.8  # by how people moved so long, they are judged
_LEAST_SECONDS = 0.35
_ADDED = 0.1  # heights a second: slower is all the same
# Nobody is doubted more: people also walk on the spot, or towards the camera.
_LEAST_SHARE = 0.125
# Whose body is taller, as a share of the frame, is near, often cut off by its edge, and walks in place of its box.
_NEAR = 0.5


def with_velocity(people: People, looks: Sequence[Moment], seconds: float) -> People:
    """The same with their velocity up to a time, from the looks before it; NaN for who was not there long enough."""
    recent = [look for look in looks if seconds - SECONDS - 1e-3 <= look.seconds <= seconds + 1e-3]
    velocity = np.full((len(people), 2), np.nan, np.float32)
    for row, person in enumerate(people.ids.tolist()):
        seen = [
            (look.seconds, (look.people.boxes[place, :2] + look.people.boxes[place, 2:]) / 2)
            for look in recent
            for place in np.flatnonzero(look.people.ids == person)
        ]
        if len(seen) >= 3 and seen[-1][0] - seen[0][0] >= _LEAST_SECONDS:
            velocity[row] = _slope(np.array([time for time, _ in seen]), np.array([centre for _, centre in seen]))
    return replace(people, velocity=velocity)


def boxes_over_time(people: People, times: Floats) -> Floats:
    """(T, n, 4) where people are at times (T,) from now, by their velocity; where they are now if it is not known."""
    velocity = np.zeros((len(people), 2)) if people.velocity is None else np.nan_to_num(people.velocity)
    return people.boxes + times[:, None, None] * np.tile(velocity, 2)


def ground_speeds(people: People, times: Floats, shifts: Floats, size: tuple[int, int]) -> Floats:
    """(n,) heights a second at which people move against what lies behind them.

    NaN where it is not known, and of people so near that it says little.

    Args:
        people: with their velocity.
        times: (T,) seconds of a clip's pictures from its key picture on, which is at 0.
        shifts: (T, 2) of the camera, see `camera_shifts`.
        size: (width, height) of the clip in pixels.
    """
    if people.velocity is None or not len(people):
        return np.full(len(people), np.nan)
    past = (times >= -SECONDS - 1e-3) & (times <= 1e-3)
    camera = _slope(times[past], shifts[past]) if past.sum() >= 2 else np.zeros(2)
    heights = (people.boxes[:, 3] - people.boxes[:, 1]) * size[1]
    speeds = np.linalg.norm(people.velocity * np.array(size) - camera, axis=1) / heights
    return np.where(heights < _NEAR * size[1], speeds, np.nan)


def doubted_by_speed(
    actions: NDArray[np.float32], labels: LabelMap, usual: Mapping[str, tuple[float, float]], speeds: Floats
) -> NDArray[np.float32]:
    """Probabilities (n, K), less of those poses that the speeds (n,) speak against; none becomes likelier.

    Each is multiplied by how well its speed explains what was seen, as a share of how well the best of them does.

    Args:
        usual: by label, mean and deviation of the logarithm of a tenth plus the speed.
    """
    doubted = actions.copy()
    told = [column for column, name in enumerate(labels.names) if name in usual]
    known = np.flatnonzero(~np.isnan(speeds))
    if len(told) < 2 or not len(known):
        return doubted
    mean, deviation = np.array([usual[labels.names[column]] for column in told]).T
    density = np.exp(-(((np.log(_ADDED + speeds[known])[:, None] - mean) / deviation) ** 2) / 2) / deviation
    share = density / density.max(1, keepdims=True).clip(min=1e-300)
    doubted[np.ix_(known, np.array(told))] *= share.clip(min=_LEAST_SHARE).astype(np.float32)
    return doubted


def _slope(times: Floats, places: Floats) -> Floats:
    """(2,) change of places (T, 2) a second, by least squares."""
    away = times - times.mean()
    return (away[:, None] * places).sum(0) / max(1e-9, float((away**2).sum()))
