"""Kinematics and trajectories against geometry worked out by hand."""

import numpy as np
import pytest

from muybridge.stage.actions import ACTIONS, GESTURE_DOFS, REVERSAL_PAIRS, STAND, Trajectory
from muybridge.stage.figures import Appearance, Figure, hull_corners
from muybridge.stage.skeleton import DOF, DOFS, JOINT, Body, joint_positions, mirrored, pose
from muybridge.stage.timeline import Actor, Span

BONES = [("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("ankle", "toe")]


def joints_of(heading: float = 0.0, body: Body | None = None, **angles: float) -> dict[str, np.ndarray]:
    positions = joint_positions(pose(**angles)[None], np.array([heading]), body or Body(height=1.0))[0]
    return {name: positions[index] for name, index in JOINT.items()}


def test_bones_keep_their_length_in_any_pose() -> None:
    random = np.random.default_rng(0)
    poses = random.uniform(-120, 120, (40, len(DOFS)))
    poses[:, [DOF["lift"], DOF["forward"], DOF["planted"]]] = random.random((40, 3))
    positions = joint_positions(poses, random.uniform(0, 360, 40), Body(height=1.8))
    for start, end in BONES:
        for side in "lr":
            bone = positions[:, JOINT[f"{start}_{side}"]] - positions[:, JOINT[f"{end}_{side}"]]
            lengths = np.linalg.norm(bone, axis=1)
            np.testing.assert_allclose(lengths, lengths[0], rtol=1e-9)


def test_angles_mean_what_their_names_say() -> None:
    raised = joints_of(shoulder_r=90)
    np.testing.assert_allclose(raised["elbow_r"] - raised["shoulder_r"], (0.158, 0, 0), atol=1e-9)
    spread = joints_of(abduct=90)
    np.testing.assert_allclose(spread["elbow_r"] - spread["shoulder_r"], (0, 0, 0.158), atol=1e-9)
    np.testing.assert_allclose(spread["elbow_l"] - spread["shoulder_l"], (0, 0, -0.158), atol=1e-9)
    # Forearm up beside the head: spread, turned outwards, elbow bent.
    signal = joints_of(abduct_r=90, rotate_r=-90, elbow_r=90)
    np.testing.assert_allclose(signal["wrist_r"] - signal["elbow_r"], (0, 0.13, 0), atol=1e-9)
    step = joints_of(hip_r=90, knee_r=90)
    np.testing.assert_allclose(step["knee_r"] - step["hip_r"], (0.25, 0, 0), atol=1e-9)
    np.testing.assert_allclose(step["ankle_r"] - step["knee_r"], (0, -0.235, 0), atol=1e-9)
    bow = joints_of(spine=90)
    np.testing.assert_allclose(bow["neck"] - bow["pelvis"], (0.285, 0, 0), atol=1e-9)


def test_heading_turns_from_the_pictures_right_to_the_viewer() -> None:
    for heading, expected in ((0, (1, 0, 0)), (90, (0, 0, 1)), (180, (-1, 0, 0)), (270, (0, 0, -1))):
        figure = joints_of(heading=heading)
        nose = figure["nose"] - figure["head"]
        assert np.dot(nose / np.linalg.norm(nose), expected) > 0.98
    turned = joints_of(heading=0, yaw=90)
    assert (turned["nose"] - turned["head"])[2] > 0.05
    looking = joints_of(look=90)  # to its left, which is away from the viewer
    assert (looking["nose"] - looking["head"])[2] < -0.05


def test_soles_are_on_the_floor_unless_lifted() -> None:
    for action in ACTIONS.values():
        poses = action.trajectory(np.linspace(0, 1, 21))
        lowest = joint_positions(poses, np.zeros(21), Body(height=1.0))[:, :, 1].min(axis=1)
        np.testing.assert_allclose(lowest, 0.02 + poses[:, DOF["lift"]], atol=1e-9)


def test_planted_feet_stay_in_place() -> None:
    poses = ACTIONS["sit down"].trajectory(np.linspace(0, 1, 30))
    positions = joint_positions(poses, np.full(30, 30.0), Body())
    feet = positions[:, [JOINT["ankle_l"], JOINT["ankle_r"]]].mean(axis=1)
    np.testing.assert_allclose(feet[:, [0, 2]], 0, atol=1e-9)


def test_mirroring_exchanges_the_sides() -> None:
    one, other = pose(shoulder_l=40, abduct_r=30, twist=20, hip_r=15), None
    other = mirrored(one[None])
    a = joint_positions(one[None], np.zeros(1), Body(1.0))[0]
    b = joint_positions(other, np.zeros(1), Body(1.0))[0]
    for name in ("hand", "elbow", "knee", "toe"):
        np.testing.assert_allclose(a[JOINT[f"{name}_l"]] * (1, 1, -1), b[JOINT[f"{name}_r"]], atol=1e-9)


def test_trajectory_passes_its_keys_and_never_overshoots() -> None:
    phases = np.array([0, 0.2, 0.5, 0.9, 1.0])
    keys = np.array([[0.0], [10], [10], [-5], [0]])
    path = Trajectory(phases, keys)
    np.testing.assert_allclose(path(phases), keys, atol=1e-12)
    for low, high, a, b in zip(phases, phases[1:], keys, keys[1:], strict=False):
        values = path(np.linspace(low, high, 50))
        assert values.min() >= min(a, b) - 1e-9 and values.max() <= max(a, b) + 1e-9
    np.testing.assert_allclose(path(np.array([-3.0, 7.0])), keys[[0, -1]])


def test_cycles_close_smoothly() -> None:
    for action in ACTIONS.values():
        if action.cyclic:
            path = action.trajectory
            np.testing.assert_allclose(path(np.array([0.0])), path(np.array([1.0])), atol=1e-9)
            step = 1e-5
            before, after = (
                path(np.array([1 - step])) - path(np.array([1 - 2 * step])),
                path(np.array([step])) - path(np.array([0.0])),
            )
            np.testing.assert_allclose(before, after, atol=1e-4)


def test_actions_that_reverse_each_other_do_so_exactly() -> None:
    phase = np.linspace(0, 1, 41)
    assert len(REVERSAL_PAIRS) >= 10
    for first, second in REVERSAL_PAIRS:
        a, b = ACTIONS[first], ACTIONS[second]
        np.testing.assert_allclose(a.trajectory(phase), b.trajectory(1 - phase), atol=1e-9)
        assert (a.before, a.after, a.speed, a.turn) == (b.after, b.before, -b.speed, -b.turn)
        assert a.reversal == second and b.reversal == first


def test_gestures_leave_the_legs_alone() -> None:
    untouched = [index for index, name in enumerate(DOFS) if not GESTURE_DOFS[index]]
    names = {DOFS[index].split("_")[0] for index in untouched}
    assert {"hip", "knee", "foot", "splay", "pitch", "lift", "forward", "planted"} <= names
    assert STAND[DOF["planted"]] == 1


@pytest.mark.parametrize("name", ["walk", "run", "push"])
def test_feet_on_the_ground_hardly_slide(name: str) -> None:
    """The foot that carries the body must stand still in the world while the body passes over it."""
    action = ACTIONS[name]
    actor = Actor(0, Figure(Appearance(body=Body(1.7))), (0.0, 5.0), 0.0)
    actor.base.append(Span(action, 0.0, 10.0, 1.0))
    seconds = np.linspace(1, 3, 801)
    joints = actor.joints(seconds)[..., 0] + actor.whereabouts(seconds)[0][:, :1]
    height = actor.joints(seconds)[..., 1]
    soles = [JOINT[joint] for joint in ("heel_l", "toe_l", "heel_r", "toe_r")]
    carrying = height[:-1, soles].argmin(axis=1)
    slide = np.diff(joints[:, soles], axis=0)[np.arange(800), carrying]
    way = actor.whereabouts(seconds)[0][-1, 0] - actor.whereabouts(seconds)[0][0, 0]
    assert way == pytest.approx(2 * action.speed * 1.7)
    assert abs(slide.sum()) < 0.12 * way


def test_hull_of_discs_touches_every_extreme_point() -> None:
    """Against a dense sampling of the discs' outlines: the hull's support in any of its directions is theirs."""
    random = np.random.default_rng(3)
    centres, radii = random.uniform(-5, 5, (7, 4, 2)), random.uniform(0.1, 2, (7, 4))
    corners = hull_corners(centres, radii)
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    dense = np.linspace(0, 2 * np.pi, 2800, endpoint=False)
    outline = centres[:, :, None] + radii[:, :, None, None] * np.stack([np.cos(dense), np.sin(dense)], -1)
    for direction in np.stack([np.cos(angle), np.sin(angle)], -1):
        expected = (outline @ direction).max(axis=(1, 2))
        np.testing.assert_allclose((corners @ direction).max(axis=1), expected, atol=1e-4)
