"""Box geometry against plain Python, one box at a time, and torchvision's all-pairs IoU."""

import math

import pytest
import torch
from torchvision.ops import box_iou

from muybridge.models.boxes import (
    box_cxcywh_to_xyxy,
    box_xywh_to_xyxy,
    box_xyxy_to_cxcywh,
    box_xyxy_to_xywh,
    clip_boxes_xyxy,
    flip_boxes_xyxy,
    has_area_xyxy,
    jitter_boxes_xyxy,
    paired_box_iou,
    scale_boxes_xyxy,
)


def boxes(count=40, seed=0):
    corners = torch.rand(count, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.cat([corners.amin(1), corners.amax(1)], dim=1)


def test_formats_by_hand():
    box = torch.tensor([[1.0, 2.0, 5.0, 10.0]])
    assert box_xyxy_to_xywh(box).tolist() == [[1, 2, 4, 8]]
    assert box_xyxy_to_cxcywh(box).tolist() == [[3, 6, 4, 8]]


@pytest.mark.parametrize(
    ("there", "back"), [(box_xyxy_to_xywh, box_xywh_to_xyxy), (box_xyxy_to_cxcywh, box_cxcywh_to_xyxy)]
)
def test_round_trip(there, back):
    torch.testing.assert_close(back(there(boxes())), boxes())


def test_scale_by_hand():
    assert scale_boxes_xyxy(torch.tensor([[0.5, 0.5, 1.0, 1.0]]), width=200, height=100).tolist() == [
        [100, 50, 200, 100]
    ]


def test_flip_by_hand_and_twice():
    assert flip_boxes_xyxy(torch.tensor([[1.0, 2.0, 5.0, 10.0]]), width=20).tolist() == [[15, 2, 19, 10]]
    torch.testing.assert_close(flip_boxes_xyxy(flip_boxes_xyxy(boxes())), boxes())


def test_jitter_moves_each_side_on_its_own_within_its_share():
    inner = boxes() * 0.5 + 0.25
    moved = jitter_boxes_xyxy(inner, 0.1, generator=torch.Generator().manual_seed(1))
    share = (moved - inner) / (inner[:, 2:] - inner[:, :2]).repeat(1, 2)
    assert share.abs().max() <= 0.1 + 1e-9
    assert (share.amax(0) > 0.05).all() and (share.amin(0) < -0.05).all()
    correlation = torch.corrcoef(share.T) - torch.eye(4)
    assert correlation.abs().max() < 0.6
    assert has_area_xyxy(moved).all()


def test_jitter_of_nothing_and_of_a_whole_picture():
    assert jitter_boxes_xyxy(torch.empty(0, 4)).shape == (0, 4)
    whole = torch.tensor([[0.0, 0.0, 64.0, 48.0]]).repeat(50, 1)
    moved = jitter_boxes_xyxy(whole, width=64, height=48)
    assert moved[:, :2].min() == 0 and moved[:, 2].max() == 64 and moved[:, 3].max() == 48


def test_clip():
    cut = clip_boxes_xyxy(torch.tensor([[-3.0, 1.0, 90.0, 70.0], [70.0, 0.0, 80.0, 5.0]]), width=64, height=48)
    assert cut.tolist() == [[0, 1, 64, 48], [64, 0, 64, 5]]
    assert has_area_xyxy(cut).tolist() == [True, False]


def test_area_of_bad_boxes():
    bad = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 1, 1], [0, 0, math.nan, 1], [0, 0, math.inf, 1]])
    assert has_area_xyxy(bad).tolist() == [True, False, False, False, False]


def test_paired_iou_is_the_diagonal_of_all_pairs():
    one, other = boxes(seed=2), boxes(seed=3)
    torch.testing.assert_close(paired_box_iou(one, other), box_iou(one, other).diagonal())


def test_paired_iou_of_points_is_zero():
    point = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    assert paired_box_iou(point, point).tolist() == [0.0]
