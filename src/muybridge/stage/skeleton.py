"""The skeleton of a stage figure: joint angles in, joint positions out.

A pose is a vector of the degrees of freedom named in `DOFS`: angles in degrees, lengths in body heights. Body axes
are x forward, y up, z to the figure's right. World axes are x to the picture's right, y up, z towards the viewer, in
metres; a figure with heading 0 faces the picture's right side, with heading 90 the viewer.

Shapes: T poses, J joints, D degrees of freedom.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_PAIRED = ("shoulder", "abduct", "rotate", "elbow", "hip", "splay", "knee", "foot")
DOFS: tuple[str, ...] = (
    "pitch",  # the whole body, forward
    "roll",  # the whole body, to its right
    "yaw",  # added to the heading, to its right
    "spine",  # chest against pelvis, forward
    "twist",  # chest against pelvis, to its left
    "nod",  # head, forward
    "look",  # head, to its left
    *(f"{name}_{side}" for name in _PAIRED for side in ("l", "r")),
    "lift",  # both feet off the ground, body heights
    "forward",  # displacement along the heading, body heights
    "planted",  # 1: the feet stay in place and the body moves over them; 0: the pelvis keeps its place
)
DOF = {name: index for index, name in enumerate(DOFS)}

JOINTS: tuple[str, ...] = (
    "pelvis", "neck", "head", "nose", "crown", "nape", "eye_l", "eye_r",
    *(f"{name}_{side}" for name in ("shoulder", "elbow", "wrist", "hand") for side in ("l", "r")),
    *(f"{name}_{side}" for name in ("hip", "knee", "ankle", "heel", "toe") for side in ("l", "r")),
)  # fmt: skip
JOINT = {name: index for index, name in enumerate(JOINTS)}


@dataclass(frozen=True)
class Body:
    """Proportions of one figure.

    Attributes:
        height: metres, from 0.8 (child) to 2.1.
        girth: thickness of trunk and limbs, 1 is average, about 0.8 to 1.4.
        head: size of the head, 1 is an adult's, a child's is about 1.35.
        legs: length of the legs, 1 is average.
    """

    height: float = 1.7
    girth: float = 1.0
    head: float = 1.0
    legs: float = 1.0


def pose(**angles: float) -> Floats:
    """A pose vector (D,) from named degrees of freedom; a paired name without its side sets both sides.

    Zero everywhere is standing upright with hanging arms; `planted` is 1 unless given.
    """
    vector = np.zeros(len(DOFS))
    vector[DOF["planted"]] = 1
    for name, value in angles.items():
        if name in _PAIRED:
            vector[DOF[f"{name}_l"]] = vector[DOF[f"{name}_r"]] = value
        else:
            vector[DOF[name]] = value
    return vector


def mirrored(poses: Floats) -> Floats:
    """The same poses with left and right exchanged, (..., D) to (..., D)."""
    result = poses.copy()
    for name in _PAIRED:
        left, right = DOF[f"{name}_l"], DOF[f"{name}_r"]
        result[..., [left, right]] = poses[..., [right, left]]
    for name in ("roll", "yaw", "twist", "look"):
        result[..., DOF[name]] *= -1
    return result


def _rotation(axis: int, degrees: Floats) -> Floats:
    """Rotations about one body axis: (T,) degrees to (T, 3, 3)."""
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1
    matrix[:, first, first] = matrix[:, second, second] = cosine
    matrix[:, first, second], matrix[:, second, first] = -sine, sine
    return matrix


def _level(shin: Floats) -> Floats:
    """How far a foot keeps level though its shin leans by (T,) degrees: 1 up to 50, 0 from 85."""
    return np.clip((85 - np.abs(shin)) / 35, 0, 1)


def joint_positions(poses: Floats, heading: Floats, body: Body) -> Floats:
    """Forward kinematics.

    Args:
        poses: (T, D).
        heading: (T,) degrees.
        body: proportions.

    Returns:
        (T, J, 3) metres relative to the figure's place on the floor; the lowest point of every pose without `lift`
        touches y = 0.
    """
    get = {name: poses[:, index] for name, index in DOF.items()}
    points = np.zeros((len(poses), len(JOINTS), 3))
    pelvis = _rotation(1, -heading - get["yaw"]) @ _rotation(2, -get["pitch"]) @ _rotation(0, get["roll"])
    chest = pelvis @ _rotation(2, -get["spine"]) @ _rotation(1, get["twist"])
    skull = chest @ _rotation(2, -get["nod"]) @ _rotation(1, get["look"])

    def put(name: str, parent: str, frame: Floats, offset: tuple[float, float, float]) -> None:
        points[:, JOINT[name]] = points[:, JOINT[parent]] + frame @ np.array(offset)

    put("neck", "pelvis", chest, (0, 0.285, 0))
    put("head", "neck", skull, (0.012, 0.055 + 0.058 * body.head, 0))
    put("nose", "head", skull, (0.072 * body.head, -0.012 * body.head, 0))
    put("crown", "head", skull, (-0.012 * body.head, 0.022 * body.head, 0))
    put("nape", "head", skull, (-0.045 * body.head, -0.055 * body.head, 0))
    for side, sign in (("l", -1.0), ("r", 1.0)):
        put(f"eye_{side}", "head", skull, (0.054 * body.head, 0.012 * body.head, sign * 0.028 * body.head))
        put(f"shoulder_{side}", "neck", chest, (0, -0.028, sign * 0.098 * (0.6 + 0.4 * body.girth)))
        upper = (
            chest
            @ _rotation(0, -sign * get[f"abduct_{side}"])
            @ _rotation(2, get[f"shoulder_{side}"])
            @ _rotation(1, sign * get[f"rotate_{side}"])
        )
        fore = upper @ _rotation(2, get[f"elbow_{side}"])
        put(f"elbow_{side}", f"shoulder_{side}", upper, (0, -0.158, 0))
        put(f"wrist_{side}", f"elbow_{side}", fore, (0, -0.13, 0))
        put(f"hand_{side}", f"wrist_{side}", fore, (0, -0.032, 0))

        put(f"hip_{side}", "pelvis", pelvis, (0, -0.01, sign * 0.05 * (0.6 + 0.4 * body.girth)))
        splay = pelvis @ _rotation(0, -sign * get[f"splay_{side}"])
        thigh = splay @ _rotation(2, get[f"hip_{side}"])
        shin = thigh @ _rotation(2, -get[f"knee_{side}"])
        lean = get[f"hip_{side}"] - get[f"knee_{side}"] - get["pitch"]
        foot = shin @ _rotation(2, get[f"foot_{side}"] - lean * _level(lean))
        put(f"knee_{side}", f"hip_{side}", thigh, (0, -0.25 * body.legs, 0))
        put(f"ankle_{side}", f"knee_{side}", shin, (0, -0.235 * body.legs, 0))
        put(f"heel_{side}", f"ankle_{side}", foot, (-0.018, -0.018, 0))
        put(f"toe_{side}", f"ankle_{side}", foot, (0.085, -0.024, 0))
    return _set_on_floor(points, get, heading, body)


def _set_on_floor(points: Floats, get: dict[str, Floats], heading: Floats, body: Body) -> Floats:
    """Body heights to metres, with the lowest point on the floor and the feet, where planted, in place."""
    # How far the skin is from a joint differs little between joints; a sole's thickness serves for all.
    low = points[:, :, 1].min(axis=1) - 0.02
    points[:, :, 1] -= (low - get["lift"])[:, None]
    feet = points[:, [JOINT["ankle_l"], JOINT["ankle_r"]]].mean(axis=1)
    points[:, :, 0] -= (get["planted"] * feet[:, 0])[:, None]
    points[:, :, 2] -= (get["planted"] * feet[:, 2])[:, None]
    direction = np.deg2rad(heading)
    points[:, :, 0] += (get["forward"] * np.cos(direction))[:, None]
    points[:, :, 2] += (get["forward"] * np.sin(direction))[:, None]
    return points * body.height
