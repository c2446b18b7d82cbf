"""Fitting an ACAR head, or a baseline one, to kept maps of the frozen trunk, on fewer channels first.

The trunk's 4,176 channels are projected to some hundred by a fixed linear map, the leading directions of their
variance, which becomes part of the head's first convolution in the end (`expanded`). That makes a step cheap and fits
less noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from localizer_labels import LABELS, Moment
from torch import Tensor

from muybridge.models.acar.actors import Actors, ContextMap
from muybridge.models.acar.head import ACARConfig, ACARHead, BaselineConfig, BaselineHead
from muybridge.models.acar.image_trunk import joined
from muybridge.models.acar.loss import log_probabilities
from muybridge.models.boxes import flip_boxes_xyxy, jitter_boxes_xyxy

KEPT_COARSE = 256
Head = ACARHead | BaselineHead


@dataclass(frozen=True, eq=False)
class Projection:
    """Channels of the finer and of the coarser map to fewer.

    Attributes:
        fine, coarse: (P, C) each.
    """

    fine: Tensor
    coarse: Tensor

    @property
    def width(self) -> int:
        """Channels of both together."""
        return len(self.fine) + len(self.coarse)

    def __call__(self, fine_Chw: Tensor, coarse_Chw: Tensor) -> Tensor:
        """(P, h, w) float16 at the finer map's places."""
        maps = [
            torch.einsum("pc,chw->phw", part, each.float())[None]
            for part, each in ((self.fine, fine_Chw), (self.coarse, coarse_Chw))
        ]
        return joined(*maps)[0].half()

    def weight(self) -> Tensor:
        """(P, C) of both together, as `ImageTrunk` joins its maps."""
        return torch.block_diag(self.fine, self.coarse)


def projection_of(paths: Sequence[Path], *, coarse: int = KEPT_COARSE) -> Projection:
    """The leading directions of the maps of some files, scaled to about the same size each."""
    parts: list[Tensor] = []
    for name in ("fine", "coarse"):
        columns: list[Tensor] = []
        for path in paths:
            with np.load(path) as file:
                columns.append(torch.from_numpy(file[f"{name}.0"]).float().flatten(1)[:, ::5])
        values = torch.cat(columns, dim=1)
        covariance = torch.cov(values)
        amount, directions = torch.linalg.eigh(covariance)
        kept = min(coarse, len(amount))
        amount, directions = amount[-kept:], directions[:, -kept:]
        parts.append((directions / (amount + 0.3 * amount.mean()).sqrt()).T.contiguous())
    return Projection(*parts)


@dataclass(frozen=True, eq=False)
class Item:
    """A moment ready for training: maps (P, h, w) float16, boxes, targets and what is known."""

    maps: Tensor
    boxes: Tensor
    targets: Tensor
    known: Tensor
    group: str


def item_of(path: Path, moment: Moment, projection: Projection) -> Item:
    """Read a moment's maps."""
    with np.load(path) as file:
        fine, coarse = (torch.from_numpy(file[f"{name}.{moment.place}"]) for name in ("fine", "coarse"))
    boxes = torch.from_numpy(moment.boxes)
    return Item(projection(fine, coarse), boxes, moment.targets, moment.known, moment.group)


def new_head(kind: str, width: int, *, margin: float, reduced: int = 128, hidden: int = 64) -> Head:
    """At random."""
    classes = len(LABELS)
    if kind == "baseline":
        return BaselineHead(BaselineConfig(width, classes, roi_margin=margin, bias=True))
    return ACARHead(ACARConfig(width, classes, reduced, hidden, 1, 3, roi_margin=margin, bias=True))


def fit_head(
    head: Head, items: Sequence[Item], *, epochs: int, seed: int, rate: float = 1e-3, decay: float = 0.05
) -> None:
    """AdamW on a batch of eight moments a step, cosine schedule; boxes jitter, half of the moments are mirrored."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    counts = sum((item.targets * item.known).sum(0) for item in items).clamp_min(1)  # pyright: ignore
    weights = (counts[counts > 1].median() / counts).sqrt().clamp(0.5, 2)
    steps = epochs * -(-len(items) // 8)
    optimizer = torch.optim.AdamW(head.parameters(), rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    head.train()
    for _ in range(epochs):
        order = torch.randperm(len(items), generator=generator).tolist()
        for start in range(0, len(order), 8):
            chosen = [items[i] for i in order[start : start + 8]]
            people = sum(int((item.known.amax(1) > 0).sum()) for item in chosen)
            for item in chosen:
                logits = logits_of(head, item, generator=generator)
                log_p, log_not_p = log_probabilities(logits, LABELS.exclusive)
                each = item.targets * log_p * weights + (1 - item.targets) * log_not_p
                (-(each * item.known).sum() / max(people, 1)).backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    head.eval()


def logits_of(head: Head, item: Item, *, generator: torch.Generator | None = None) -> Tensor:
    """(n, K) of an item's people; with a generator, as it is varied in training."""
    maps, boxes = item.maps.float()[None], item.boxes
    if generator is not None:
        boxes = jitter_boxes_xyxy(boxes, 0.075, generator=generator)
        if torch.rand((), generator=generator) < 0.5:
            maps, boxes = maps.flip(-1), flip_boxes_xyxy(boxes)
        maps = torch.nn.functional.dropout2d(maps, 0.1)
    return head(ContextMap(maps), Actors.from_clips([boxes]))


def expanded(head: Head, projection: Projection) -> Head:
    """The same on the trunk's own channels: the projection becomes part of the first layer."""
    weight = projection.weight()
    if isinstance(head, BaselineHead):
        raise TypeError("a baseline head takes the maximum before its only layer, which a projection cannot join")
    config = replace(head.config, context_channels=weight.shape[1])
    wide = ACARHead(config)
    state = {**head.state_dict(), "reduce.weight": (head.reduce.weight[:, :, 0, 0] @ weight)[:, :, None, None]}
    wide.load_state_dict(state)
    return wide.eval()
