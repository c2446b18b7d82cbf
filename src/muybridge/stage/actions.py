"""What figures do: actions as joint-angle trajectories, each with its posture before and after.

A trajectory is a handful of key poses at phases in [0, 1], joined by a monotone cubic: smooth, without overshoot. A
movement runs through once; a cycle repeats. Gestures are movements of the arms and head alone, laid over whatever the
legs do. Two actions that are each other's time reversal share one trajectory: the phase runs backwards.

Gait angles follow textbook curves of normal gait in steps of a tenth of a cycle (Winter, Biomechanics and Motor
Control of Human Movement).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from muybridge.stage.skeleton import DOF, Floats, pose

Posture = Literal["stand", "sit", "lie", "crouch"]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Key poses (K, D) at rising phases (K,) from 0 to 1, joined by monotone cubics.

    Attributes:
        phases: (K,), first 0, last 1.
        keys: (K, D) degrees and body heights.
        cyclic: the last key equals the first and phases wrap around.
    """

    phases: Floats
    keys: Floats
    cyclic: bool = False
    _slopes: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_slopes", _monotone_slopes(self.phases, self.keys, cyclic=self.cyclic))

    def __call__(self, phase: Floats) -> Floats:
        """Poses (T, D) at phases (T,); outside [0, 1] a cycle repeats and a movement holds its end."""
        phase = phase % 1.0 if self.cyclic else np.clip(phase, 0, 1)
        index = np.clip(np.searchsorted(self.phases, phase, side="right") - 1, 0, len(self.phases) - 2)
        step = self.phases[index + 1] - self.phases[index]
        u, h = ((phase - self.phases[index]) / step)[:, None], step[:, None]
        u2, u3 = u * u, u * u * u
        start, end = self.keys[index], self.keys[index + 1]
        blend = 3 * u2 - 2 * u3
        slope_in, slope_out = self._slopes[index], self._slopes[index + 1]
        return start + (end - start) * blend + h * ((u3 - 2 * u2 + u) * slope_in + (u3 - u2) * slope_out)


def _monotone_slopes(phases: Floats, keys: Floats, *, cyclic: bool) -> Floats:
    """Slopes (K, D) at the keys, by Fritsch and Carlson's harmonic mean: zero at every turning point and open end."""
    secants = np.diff(keys, axis=0) / np.diff(phases)[:, None]
    before = np.concatenate([secants[-1:], secants]) if cyclic else np.pad(secants, ((1, 0), (0, 0)))
    after = np.concatenate([secants, secants[:1]]) if cyclic else np.pad(secants, ((0, 1), (0, 0)))
    product = before * after
    total = np.where(product > 0, before + after, 1)
    return np.where(product > 0, 2 * product / total, 0)


@dataclass(frozen=True, eq=False)
class Action:
    """One thing a figure can do.

    Attributes:
        name: the label, lower case.
        trajectory: key poses.
        seconds: shortest and longest duration of the movement, or of one cycle.
        before, after: posture it starts from and ends in.
        gesture: it concerns arms and head only and goes with any standing or sitting posture.
        speed: body heights walked along the heading per cycle; negative is backwards.
        turn: degrees the heading changes by, to the figure's right.
        reversal: name of the action that is its time reversal, if any.
        prop: what it is done with, if anything.
    """

    name: str
    trajectory: Trajectory
    seconds: tuple[float, float]
    before: Posture = "stand"
    after: Posture = "stand"
    gesture: bool = False
    speed: float = 0.0
    turn: float = 0.0
    reversal: str | None = None
    prop: Literal["ball", "box", "seat", "door", "flag", "lantern"] | None = None

    @property
    def cyclic(self) -> bool:
        return self.trajectory.cyclic


def _reversed(action: Action, name: str) -> Action:
    """The time reversal of an action, under its own name."""
    path = action.trajectory
    backwards = Trajectory(1 - path.phases[::-1], path.keys[::-1], path.cyclic)
    return Action(
        name, backwards, action.seconds, before=action.after, after=action.before, gesture=action.gesture,
        speed=-action.speed, turn=-action.turn, reversal=action.name, prop=action.prop,
    )  # fmt: skip


def _path(keys: Mapping[float, Floats], *, cyclic: bool = False) -> Trajectory:
    return Trajectory(np.array(list(keys)), np.stack(list(keys.values())), cyclic)


def _but(base: Floats, **angles: float) -> Floats:
    """A pose that differs from another in the named degrees of freedom."""
    changed = base.copy()
    for name, value in angles.items():
        for full in (name,) if name in DOF else (f"{name}_l", f"{name}_r"):
            changed[DOF[full]] = value
    return changed


STAND = pose(shoulder=2, abduct=9, elbow=14, hip=2, knee=4, splay=3, spine=2)
_CROUCH = pose(pitch=12, spine=28, hip=112, knee=125, shoulder=45, elbow=40, abduct=12, splay=10, nod=-18)
_SIT = pose(hip=86, knee=86, spine=3, shoulder=24, elbow=48, abduct=12, splay=6)
_LIE = pose(pitch=-90, hip=4, knee=6, abduct=22, elbow=14, splay=7)
_PRONE = pose(pitch=88, hip=-2, knee=8, shoulder=120, elbow=70, abduct=35, splay=8, nod=-20, look=40)
CARRY = _but(STAND, shoulder=38, elbow=68, abduct=2, rotate=8)


def _gait(
    hip: Sequence[float], knee: Sequence[float], foot: Sequence[float], base: Floats, swing: float
) -> Trajectory:
    """One stride from ten samples a cycle; the left leg is half a cycle late, arms swing against the legs."""
    keys = np.repeat(base[None], 11, axis=0)
    for side, delay in (("r", 0), ("l", 5)):
        for name, curve in (("hip", hip), ("knee", knee), ("foot", foot)):
            keys[:, DOF[f"{name}_{side}"]] = np.roll(np.asarray(curve), delay)[np.arange(11) % 10]
        counter = np.roll(np.asarray(hip), delay + 5)[np.arange(11) % 10]
        keys[:, DOF[f"shoulder_{side}"]] = base[DOF[f"shoulder_{side}"]] + swing * (counter - np.mean(hip))
        keys[:, DOF[f"elbow_{side}"]] = base[DOF[f"elbow_{side}"]] + 0.35 * swing * (counter - min(hip))
    keys[:, DOF["twist"]] = 0.12 * (keys[:, DOF["shoulder_r"]] - keys[:, DOF["shoulder_l"]])
    keys[:, DOF["planted"]] = 0
    return Trajectory(np.linspace(0, 1, 11), keys, cyclic=True)


_WALK = _gait(
    (28, 25, 17, 7, -3, -10, -6, 10, 24, 30), (4, 14, 15, 9, 5, 8, 36, 60, 50, 18),
    (14, 2, 0, 0, -4, -22, -50, -32, -4, 12), _but(STAND, pitch=2, elbow=10), swing=0.75,
)  # fmt: skip
_RUN = _gait(
    (42, 34, 18, 2, -14, -20, -8, 20, 46, 52), (24, 38, 36, 22, 20, 48, 88, 108, 84, 40),
    (4, 0, -4, -16, -40, -62, -60, -40, -12, 4), _but(STAND, pitch=9, elbow=78, shoulder=4, abduct=12), swing=0.8,
)  # fmt: skip
_PUSH = _gait(
    (34, 30, 22, 12, 2, -6, 0, 18, 32, 36), (16, 24, 24, 18, 14, 18, 42, 62, 52, 28),
    (8, 0, 0, 0, -8, -24, -44, -26, -4, 8), _but(STAND, pitch=18, shoulder=78, elbow=16, abduct=2), swing=0,
)  # fmt: skip


def _base_actions() -> list[Action]:
    """Actions of the whole body."""
    reach = _but(_CROUCH, pitch=26, spine=30, hip=108, knee=96, shoulder=58, elbow=8, abduct=2, nod=-8)
    hop = _but(STAND, hip=10, knee=8, shoulder=120, elbow=20, foot=-40, lift=0.16)
    sink = _but(STAND, pitch=14, spine=18, hip=66, knee=76, shoulder=-38, elbow=12)
    squat_back = pose(pitch=-18, spine=30, hip=118, knee=112, shoulder=-30, elbow=10, abduct=24, splay=8)
    sit_floor = pose(pitch=-14, spine=14, hip=82, knee=52, shoulder=-36, elbow=8, abduct=20, splay=8)
    door_reach = _but(STAND, shoulder_r=66, elbow_r=22, pitch=3, look=-8)
    door_pulled = _but(STAND, shoulder_r=14, elbow_r=92, abduct_r=30, pitch=-5, spine=-3, twist=-22)
    return [
        Action("stand", _path({0: STAND, 0.5: _but(STAND, spine=4, nod=3, roll=1.2), 1: STAND}, cyclic=True), (3, 5)),
        Action("sit", _path({0: _SIT, 0.5: _but(_SIT, spine=6, nod=4), 1: _SIT}, cyclic=True), (3, 5), "sit", "sit",
               prop="seat"),
        Action("lie", _path({0: _LIE, 0.5: _but(_LIE, spine=-1.5), 1: _LIE}, cyclic=True), (3, 5), "lie", "lie"),
        Action("crouch", _path({0: _CROUCH, 0.5: _but(_CROUCH, spine=31), 1: _CROUCH}, cyclic=True), (3, 5), "crouch",
               "crouch"),
        Action("walk", _WALK, (1.0, 1.3), speed=0.744, reversal="walk backwards"),
        Action("run", _RUN, (0.62, 0.78), speed=1.25),
        Action("push", _PUSH, (0.8, 1.1), speed=0.36, reversal="pull", prop="box"),
        Action("jump", _path({0: STAND, 0.32: sink, 0.44: _but(hop, lift=0), 0.57: hop, 0.7: _but(hop, lift=0),
                              0.8: sink, 1: STAND}), (1.0, 1.4)),
        Action("fall", _path({0: STAND, 0.25: _but(STAND, pitch=14, spine=12, shoulder=40, elbow=30, knee=22, hip=24),
                              0.7: _but(_PRONE, pitch=66, knee=30, hip=10, foot=-20), 1: _PRONE}), (0.8, 1.1),
               "stand", "lie"),
        Action("sit down", _path({0: STAND, 0.45: _but(_SIT, pitch=22, spine=18, hip=64, knee=52, shoulder=38),
                                  0.85: _but(_SIT, pitch=4, spine=10), 1: _SIT}), (1.2, 1.8), "stand", "sit",
               reversal="stand up", prop="seat"),
        Action("lie down", _path({0: STAND, 0.35: squat_back, 0.6: sit_floor, 1: _LIE}), (2.2, 3.0), "stand", "lie",
               reversal="get up"),
        Action("crouch down", _path({0: STAND, 1: _CROUCH}), (0.8, 1.3), "stand", "crouch", reversal="rise"),
        Action("pick up", _path({0: STAND, 0.5: reach, 1: CARRY}), (1.5, 2.2), reversal="put down", prop="box"),
        Action("bow", _path({0: STAND, 0.4: _but(STAND, pitch=16, spine=48, hip=18, nod=16, abduct=4),
                             0.6: _but(STAND, pitch=16, spine=48, hip=18, nod=16, abduct=4), 1: STAND}), (1.4, 2.0)),
        Action("turn right", _path({0: STAND, 0.3: _but(STAND, hip_r=26, knee_r=38, look=-14),
                                    0.7: _but(STAND, hip_l=22, knee_l=34, look=-6), 1: STAND}), (0.9, 1.3),
               turn=180, reversal="turn left"),
        Action("open door", _path({0: STAND, 0.3: door_reach, 0.8: door_pulled, 1: _but(STAND, shoulder_r=10)}),
               (1.4, 2.0), reversal="close door", prop="door"),
    ]  # fmt: skip


def _gesture_actions() -> list[Action]:
    """Actions of the right arm, or of both; the left-handed form is the mirrored pose."""
    up = _but(STAND, shoulder_r=165, elbow_r=8, abduct_r=12, look=6)
    greet = _but(STAND, shoulder_r=38, abduct_r=84, rotate_r=-78, elbow_r=104)
    ahead = _but(STAND, shoulder_r=88, elbow_r=2, abduct_r=2, twist=12)
    back = _but(STAND, shoulder_r=-30, elbow_r=34, pitch=-6, twist=-34, shoulder_l=46, abduct_r=26)
    release = _but(STAND, shoulder_r=118, elbow_r=6, pitch=8, twist=26, shoulder_l=-16, abduct_r=10)
    follow = _but(STAND, shoulder_r=84, elbow_r=24, pitch=10, twist=30, shoulder_l=-20, abduct_r=4)
    clap_open = _but(STAND, shoulder=62, elbow=54, abduct=34, rotate=20)
    clap_shut = _but(STAND, shoulder=62, elbow=54, abduct=-2, rotate=38)
    overhead = _but(STAND, shoulder=162, elbow=18, abduct=6, nod=-12)
    low = _but(CARRY, shoulder=36, elbow=58, nod=8)
    toss_low = _but(STAND, shoulder_r=22, elbow_r=66, abduct_r=6, nod=-2)
    toss_high = _but(STAND, shoulder_r=72, elbow_r=54, abduct_r=4, nod=-22)
    flag_l = _but(STAND, shoulder_r=128, abduct_r=-14, elbow_r=16, rotate_r=-10)
    flag_r = _but(STAND, shoulder_r=96, abduct_r=54, elbow_r=10, rotate_r=-40)
    swing_out = _but(STAND, shoulder_r=16, abduct_r=68, elbow_r=8)
    swing_in = _but(STAND, shoulder_r=16, abduct_r=-16, elbow_r=8)
    gestures = [
        Action("raise arm", _path({0: STAND, 1: up}), (0.7, 1.2), reversal="lower arm"),
        Action("wave", _path({0: greet, 0.5: _but(greet, elbow_r=46), 1: greet}, cyclic=True), (0.5, 0.8)),
        Action("point", _path({0: STAND, 0.3: ahead, 0.7: ahead, 1: STAND}), (1.4, 2.2)),
        Action("throw", _path({0: STAND, 0.35: back, 0.6: release, 0.75: follow, 1: STAND}), (1.2, 1.7),
               reversal="catch", prop="ball"),
        Action("clap", _path({0: clap_open, 0.5: clap_shut, 1: clap_open}, cyclic=True), (0.4, 0.6)),
        Action("phone", _path({0: _but(STAND, shoulder_r=44, elbow_r=138, abduct_r=26, rotate_r=16, nod=6, look=-8),
                               1: _but(STAND, shoulder_r=44, elbow_r=138, abduct_r=26, rotate_r=16, nod=6, look=-8)},
                              cyclic=True), (2, 3)),
        Action("carry", _path({0: CARRY, 1: CARRY}, cyclic=True), (1, 1.5), prop="box"),
        Action("lift box", _path({0: low, 0.45: overhead, 0.6: overhead, 1: low}, cyclic=True), (1.5, 2.1),
               prop="box"),
        Action("toss ball", _path({0: toss_low, 0.24: toss_high, 0.5: toss_low, 1: toss_low}, cyclic=True),
               (0.9, 1.2), prop="ball"),
        Action("wave flag", _path({0: flag_l, 0.5: flag_r, 1: flag_l}, cyclic=True), (0.9, 1.3), prop="flag"),
        Action("swing lantern", _path({0: swing_out, 0.5: swing_in, 1: swing_out}, cyclic=True), (1.1, 1.6),
               prop="lantern"),
    ]  # fmt: skip
    return [Action(a.name, a.trajectory, a.seconds, gesture=True, reversal=a.reversal, prop=a.prop) for a in gestures]


def _catalogue() -> dict[str, Action]:
    actions: dict[str, Action] = {}
    for action in (*_base_actions(), *_gesture_actions()):
        actions[action.name] = action
        if action.reversal:
            actions[action.reversal] = _reversed(action, action.reversal)
    return actions


ACTIONS: Mapping[str, Action] = _catalogue()
REVERSAL_PAIRS: tuple[tuple[str, str], ...] = tuple(
    (action.name, action.reversal)
    for action in (*_base_actions(), *_gesture_actions())
    if action.reversal is not None
)
# The degrees of freedom that a gesture takes over; hips, knees and place stay with the action beneath it.
GESTURE_DOFS: NDArray[np.bool_] = np.array(
    [name.startswith(("shoulder", "abduct", "rotate", "elbow", "look", "nod", "twist")) for name in DOF]
)
GET_UP_FROM_FALL = _reversed(ACTIONS["fall"], "get up")
