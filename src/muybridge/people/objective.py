"""What the person detector is trained for: which cells answer for whom, and the loss.

A person's cells are those whose centre lies in the box and within 1.5 strides of its middle, on the level that fits
the box's size (FCOS, arXiv 1904.01355). Logits are drawn to the overlap of the box found with the true one (quality
focal loss, arXiv 2006.04388), so that a score tells how well the box sits; boxes by generalised IoU (1902.09630).

Letters of shapes: N frames, A cells, P people.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from muybridge.models.boxes import paired_box_iou
from muybridge.models.person_detector import STRIDES, PersonDetector, cell_centres

# Longest sides in pixels that a level answers for; the ranges overlap, so that sizes in between are learned twice.
LEVEL_SIDES = ((0.0, 72.0), (56.0, 160.0), (128.0, float("inf")))
_CENTRE_STRIDES = 1.5
_NOBODY, _UNSURE = -1, -2


@dataclass(frozen=True)
class DetectorLoss:
    """Weights of the loss.

    Attributes:
        focus: exponent by which the loss of cells that are nearly right is lowered.
        box: weight of the boxes' loss beside the logits'.
    """

    focus: float = 2.0
    box: float = 2.0


def assign_cells(boxes: Tensor, sure: Tensor, size: tuple[int, int]) -> Tensor:
    """Which person each cell answers for.

    Args:
        boxes: (P, 4) xyxy in pixels.
        sure: (P,) bool; the others are regions where nothing is learned.
        size: (H, W) of the frame.

    Returns:
        (A,) int64: a row of `boxes`, -1 for nobody, -2 where the cell lies in an unsure box and in no sure one's
        middle. Of several people, the smallest.
    """
    centres, strides = cell_centres(size, device=boxes.device)
    if len(boxes) == 0:
        return torch.full((len(centres),), _NOBODY)
    x, y = centres[:, :1], centres[:, 1:]
    inside = (x > boxes[:, 0]) & (y > boxes[:, 1]) & (x < boxes[:, 2]) & (y < boxes[:, 3])
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = (centres[:, None] - middle).abs().amax(-1)
    longest = (boxes[:, 2:] - boxes[:, :2]).amax(1)
    least, most = (
        torch.tensor([sides[end] for sides in LEVEL_SIDES], device=boxes.device)[
            torch.bucketize(strides, strides.new_tensor(STRIDES))
        ]
        for end in (0, 1)
    )
    fits = (longest >= least[:, None]) & (longest <= most[:, None])
    answers = inside & fits & (away <= _CENTRE_STRIDES * strides[:, None]) & sure
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    areas = torch.where(answers, areas, torch.inf)
    area, person = areas.min(1)
    unsure = (inside & ~sure).any(1)
    nobody = torch.where(unsure, _UNSURE, _NOBODY)
    return torch.where(area.isfinite(), person, nobody)


class PersonDetectorObjective(nn.Module):
    """`muybridge.training.fit.Objective` of the person detector.

    A batch has `frames` (N, 3, H, W) uint8 RGB, `boxes` (N, P, 4) xyxy in pixels, padded with zeros, and `kind` (N,
    P): 1 a person, 0 a region to leave out, -1 padding.

    Parts of the network whose parameters are all frozen keep their running statistics too.
    """

    def __init__(self, network: PersonDetector, loss: DetectorLoss | None = None) -> None:
        super().__init__()
        self.network = network
        self.loss = loss or DetectorLoss()

    def train(self, mode: bool = True) -> "PersonDetectorObjective":
        """As of any module, but what is frozen stays as in use."""
        super().train(mode)
        for module in self.network.children():
            if not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()
        return self

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        frames: Tensor = batch["frames"]
        logits, found = self.network(frames.float().div(255).contiguous(memory_format=torch.channels_last))
        size = (frames.shape[-2], frames.shape[-1])
        answers: list[Tensor] = []
        true: list[Tensor] = []
        for boxes, kind in zip(batch["boxes"], batch["kind"], strict=True):
            real = kind >= 0
            assigned = assign_cells(boxes[real], kind[real] == 1, size)
            answers.append(assigned)
            padded = torch.cat([boxes[real], boxes.new_zeros(1, 4)])
            true.append(padded[assigned.clamp(min=-1)])
        cells, targets = torch.stack(answers), torch.stack(true)
        positive = cells >= 0
        count = positive.sum().clamp(min=1)
        box_loss = generalized_box_iou_loss(found[positive], targets[positive], reduction="sum") / count
        quality = torch.zeros_like(logits)
        quality[positive] = paired_box_iou(found[positive].detach(), targets[positive])
        weight = (quality - logits.sigmoid()).abs() ** self.loss.focus * (cells != _UNSURE)
        score_loss = (F.binary_cross_entropy_with_logits(logits, quality, reduction="none") * weight).sum() / count
        return {"loss": score_loss + self.loss.box * box_loss, "score_loss": score_loss, "box_loss": box_loss}
