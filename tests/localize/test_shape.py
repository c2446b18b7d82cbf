"""Upright poses are doubted in boxes wider than high, by the frame's own measure."""

import numpy as np

from muybridge.data.label_maps import LabelMap
from muybridge.localize.shape import doubted_by_shape

LABELS = LabelMap(("stand", "sit", "walk", "wave"), (1, 2, 3, 4), ((0, 1, 2),))
SPEEDS = {"stand": (-1.9, 0.4), "sit": (-1.9, 0.4), "walk": (-1.0, 0.75)}
ACTIONS = np.array([[0.9, 0.05, 0.05, 0.8], [0.2, 0.1, 0.7, 0.3]], np.float32)


def test_only_upright_poses_of_wide_boxes_lose() -> None:
    # In a frame of 160 x 90, 0.4 x 0.5 of it is 64 x 45, and 0.4 x 0.8 is 64 x 72.
    boxes = np.array([[0.1, 0.1, 0.5, 0.6], [0.1, 0.1, 0.5, 0.9]])
    doubted = doubted_by_shape(ACTIONS, LABELS, SPEEDS, boxes, (160, 90))
    np.testing.assert_allclose(doubted[0], [0.3, 0.05, 0.05 / 3, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(doubted[1], ACTIONS[1])
    np.testing.assert_array_equal(doubted_by_shape(ACTIONS, LABELS, SPEEDS, boxes, (90, 160)), ACTIONS)


def test_labels_of_which_the_model_says_nothing_stay() -> None:
    boxes = np.array([[0.0, 0.5, 1.0, 0.9]] * 2)
    doubted = doubted_by_shape(ACTIONS, LABELS, {"sit": (-1.9, 0.4)}, boxes, (160, 90))
    np.testing.assert_array_equal(doubted, ACTIONS)


def test_who_is_not_known_stays_unknown_and_nobody_is_nobody() -> None:
    unknown = np.full((1, 4), np.nan, np.float32)
    assert np.isnan(doubted_by_shape(unknown, LABELS, SPEEDS, np.array([[0, 0, 1, 0.1]]), (160, 90))).all()
    assert doubted_by_shape(ACTIONS[:0], LABELS, SPEEDS, np.zeros((0, 4)), (160, 90)).shape == (0, 4)
