"""Box geometry that torchvision does not have; conversions of format are torchvision's under names that say both.

N boxes, last axis four numbers. `xyxy` is left, top, right, bottom; `xywh` left, top, width, height; `cxcywh` centre,
width, height. Units are the caller's: pixels, or shares of the picture's width and height.
"""

import torch
from torch import Tensor
from torchvision.ops import box_convert


def box_xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """(N, 4) to (N, 4)."""
    return box_convert(boxes, "xyxy", "cxcywh")


def box_cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(N, 4) to (N, 4)."""
    return box_convert(boxes, "cxcywh", "xyxy")


def box_xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """(N, 4) to (N, 4)."""
    return box_convert(boxes, "xyxy", "xywh")


def box_xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(N, 4) to (N, 4)."""
    return box_convert(boxes, "xywh", "xyxy")


def scale_boxes_xyxy(boxes: Tensor, *, width: float, height: float) -> Tensor:
    """Multiply x by `width` and y by `height`: shares of a picture to pixels, or pixels to those of another size."""
    return boxes * boxes.new_tensor([width, height, width, height])


def flip_boxes_xyxy(boxes: Tensor, *, width: float = 1.0) -> Tensor:
    """Boxes of the picture's mirror image; `width` is the picture's, 1 for shares."""
    return torch.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], dim=-1)


def jitter_boxes_xyxy(
    boxes: Tensor,
    amount: float = 0.075,
    *,
    width: float = 1.0,
    height: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Move each side on its own by up to `amount` of the box's width or height, and cut at the picture's edge.

    The augmentation of ACAR-Net's training (arXiv 2006.07976, section 4), so that a head learns to bear a detector's
    boxes.

    Args:
        boxes: (N, 4) floating, left < right and top < bottom.
        amount: in [0, 0.5), so that no box turns over.
        width, height: of the picture, 1 for shares.
        generator: on the device of `boxes`.
    """
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    shift = torch.empty_like(boxes).uniform_(-amount, amount, generator=generator)
    return clip_boxes_xyxy(boxes + shift * size, width=width, height=height)


def clip_boxes_xyxy(boxes: Tensor, *, width: float = 1.0, height: float = 1.0) -> Tensor:
    """Cut boxes at the picture's edge. What lies outside keeps no area; NaN stays NaN."""
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limit)


def has_area_xyxy(boxes: Tensor) -> Tensor:
    """(N,) bool: finite, left < right and top < bottom."""
    return (boxes[..., 2:] > boxes[..., :2]).all(-1) & boxes.isfinite().all(-1)


def paired_box_iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of corresponding boxes, (N, 4) xyxy and (N, 4) to (N,); 0 where they do not meet.

    `torchvision.ops.box_iou` gives all N x N instead.
    """
    sides = torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])
    shared = sides.clamp(min=0).prod(1)
    union = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - shared
    return torch.where(shared > 0, shared / union, 0.0)
