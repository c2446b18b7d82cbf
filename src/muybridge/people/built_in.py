"""The built-in detector of people: offline, small, quick on a CPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, nms

from muybridge.artifacts import Artifact, find_model, open_model
from muybridge.devices import choose_device, is_out_of_memory
from muybridge.errors import ModelError, OptionError
from muybridge.models.boxes import clip_boxes_xyxy
from muybridge.models.person_detector import STRIDES, PersonDetector, PersonDetectorConfig
from muybridge.people.detector import (
    MIN_SCORE,
    PEOPLE,
    RGB,
    DetectionFailed,
    Detections,
    check_frames,
    detections,
    kept_classes,
)
from muybridge.schema import Fields, Within, build

TASK = "detect"
BUILT_IN = {"person": "person_detector.safetensors"}
_NMS_IOU = 0.55
# A box this much within a surer one is a part of the same body, where it is far less sure.
_NESTED, _FAR_LESS_SURE = 0.85, 0.5
_LIMITS = Fields(stem=Within(2, 512), depths=Within(1, 64), neck=Within(1, 4096), bins=Within(2, 64))
# A frame is never enlarged by more: that shows no more of it.
_MOST_ENLARGED = 1.5
_LONGEST_OVER_SHORT = 3.0
_Found = tuple[Tensor, Tensor]  # boxes (n, 4) xyxy in pixels, scores (n,)
# Where most of those who may be there (from this score on) are this small for the network, or nobody is, it looks a
# second time, at a larger size. The small ones are then those of this look, up to a size, the larger those of the
# first.
_MAY_BE, _SMALL, _NOT_LARGER = 0.2, 56.0, 72.0
# It looks so closely that they are this tall, but so many times closer at least and at most.
_WELL_SEEN, _CLOSER = 64.0, (1.5, 2.5)
_SEEN = 0.3


@dataclass(frozen=True)
class _Contract:
    classes: tuple[Literal["person"]]
    short_side: Annotated[int, Within(64, 4096)]


class BuiltInDetector:
    """`PersonDetector` on frames of any size.

    Args:
        short_side: pixels to scale frames' short side to before the network looks; larger finds smaller people and
            takes longer with its square.

    Raises:
        OptionError: short_side is under 64, or `classes` names another than person.
    """

    def __init__(
        self,
        network: PersonDetector,
        *,
        short_side: int,
        classes: Sequence[str] | None = PEOPLE,
        min_score: float = MIN_SCORE,
        device: str = "auto",
        provenance: Mapping[str, Any] | None = None,
        scores: Mapping[str, Any] | None = None,
    ) -> None:
        if short_side < 64:
            raise OptionError(f"short_side is {short_side}. Choose 64 or more.")
        self._keep = kept_classes(PEOPLE, classes, detector="The built-in detector")
        self.classes = PEOPLE
        self.network = network.to(choose_device(device)).eval()
        self.short_side, self.min_score = short_side, min_score
        self.provenance, self.scores = dict(provenance or {}), dict(scores or {})

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "person",
        *,
        short_side: int | None = None,
        classes: Sequence[str] | None = PEOPLE,
        min_score: float = MIN_SCORE,
        device: str = "auto",
    ) -> "BuiltInDetector":
        """A trained detector: "person", a model file, or OWNER/NAME on the Hugging Face hub.

        Args:
            short_side: see the class; None for that of the model file.

        Raises:
            MissingInput: no such model.
            ModelMismatch: the file is for another task.
            ModelError, UnsafeModelFile: the file cannot be read.
        """
        file = open_model(find_model(name_or_path, built_in=BUILT_IN, task=TASK), task=TASK)
        source = str(file.path)
        config = build(PersonDetectorConfig, file.architecture, source=source, at="architecture", fields=_LIMITS)
        contract = build(_Contract, file.contract, source=source, at="contract")
        if config.stem % 2:
            raise ModelError(f"{source}: its architecture.stem must be even. Copy it again")
        with torch.device("meta"):
            sketch = PersonDetector(config).state_dict()
        file.require_fit(sketch, what="the detector")
        network = PersonDetector(config)
        network.load_state_dict({name: t.float() for name, t in file.tensors().items()})
        return cls(
            network,
            short_side=short_side or contract.short_side,
            classes=classes,
            min_score=min_score,
            device=device,
            provenance=file.provenance,
            scores=file.scores,
        )

    def save(self, path: str | Path) -> None:
        """Write the model file in half precision, whole or not at all."""
        half = {name: tensor.half() for name, tensor in self.network.state_dict().items()}
        config = self.network.config
        architecture = {"stem": config.stem, "depths": config.depths, "neck": config.neck, "bins": config.bins}
        contract = {"classes": list(self.classes), "short_side": self.short_side}
        Artifact(TASK, architecture, half, self.provenance, self.scores, contract).save(path)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(self.network.parameters()).device

    @torch.inference_mode()
    def __call__(self, frames: RGB) -> list[Detections]:
        """See `muybridge.people.detector.Detector`."""
        check_frames(frames)
        if len(frames) == 0:
            return []
        height, width = frames.shape[1:3]
        pixels = torch.from_numpy(np.array(frames)).to(self.device).permute(0, 3, 1, 2)
        found: list[Detections] = []
        for number, (boxes, scores) in enumerate(self._look(pixels, self.short_side)):
            closer = self._closer_side(boxes, scores, (height, width))
            if closer > self.short_side:
                fine = self._look(pixels[number : number + 1], closer)[0]
                boxes, scores = self._both((boxes, scores), fine, (height, width))
            found.append(self._chosen(boxes, scores, (width, height)))
        return found

    def _look(self, frames: Tensor, short_side: int) -> list[_Found]:
        """What the network finds in frames (N, 3, H, W) uint8, in their pixels, after suppression."""
        height, width = frames.shape[-2:]
        rows, columns = inner_size(height, width, short_side)
        try:
            logits, boxes = self.network(self._prepare(frames, (rows, columns)))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
            raise DetectionFailed(f"the network failed on frames of {width} x {height}: {reason}") from error
        boxes = boxes * boxes.new_tensor([width / columns, height / rows]).repeat(2)
        boxes = clip_boxes_xyxy(boxes, width=width, height=height)
        # NaN is let through, to be told of; a comparison would make nobody of it.
        sure = ~(logits.sigmoid() < min(self.min_score, _MAY_BE))
        return [
            distinct(each[kept], logit.sigmoid()[kept]) for each, logit, kept in zip(boxes, logits, sure, strict=True)
        ]

    def _closer_side(self, boxes: Tensor, scores: Tensor, frame: tuple[int, int]) -> int:
        """The short side of a second look, no larger than the frame's own; 0 for none."""
        scale = inner_size(*frame, self.short_side)[0] / frame[0]
        heights = (boxes[:, 3] - boxes[:, 1])[scores >= _MAY_BE] * scale
        small = heights[heights < _SMALL]
        if len(small) * 2 < len(heights):
            return 0
        least, most = _CLOSER
        closer = least if len(small) == 0 else min(max(_WELL_SEEN / float(small.median()), least), most)
        return min(round(self.short_side * closer), min(frame))

    def _both(self, coarse: _Found, fine: _Found, frame: tuple[int, int]) -> _Found:
        """The larger people of the first look, and the small ones of the second that are no part of one of these."""
        scale = frame[0] / inner_size(*frame, self.short_side)[0]
        boxes, scores = coarse
        large = boxes[:, 3] - boxes[:, 1] >= _SMALL * scale
        boxes, scores = boxes[large], scores[large]
        added, surely = fine
        seen = boxes[scores >= _SEEN]
        part = ((shares_inside(added, seen) >= _NESTED) & (box_iou(added, seen) < 0.5)).any(1)
        kept = (added[:, 3] - added[:, 1] < _NOT_LARGER * scale) & ~part
        return distinct(torch.cat([boxes, added[kept]]), torch.cat([scores, surely[kept]]))

    def _chosen(self, boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> Detections:
        people = torch.zeros(len(scores), dtype=torch.int64)
        return detections(boxes, scores, people, keep=self._keep, size=size, min_score=self.min_score)

    @staticmethod
    def _prepare(frames: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, 3, H, W) uint8 scaled to (rows, columns), in [0, 1], filled up to multiples of the largest stride."""
        scaled = frames.float().div_(255)
        if size != tuple(frames.shape[-2:]):
            scaled = F.interpolate(scaled, size, mode="bilinear", antialias=True)
        step = STRIDES[-1]
        scaled = F.pad(scaled, (0, -size[1] % step, 0, -size[0] % step), value=0.5)
        return scaled.contiguous(memory_format=torch.channels_last)


def inner_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Rows and columns at which the network sees a frame."""
    short, long = min(height, width), max(height, width)
    factor = min(short_side / short, short_side * _LONGEST_OVER_SHORT / long, _MOST_ENLARGED)
    return max(1, round(height * factor)), max(1, round(width * factor))


def distinct(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """One box for each person, the surest first.

    Besides boxes that overlap a surer one, those go that are parts of a body whose whole is far surer, and those that
    hold two surer people.

    Args:
        boxes: (n, 4) xyxy.
        scores: (n,).
    """
    rows = nms(boxes, scores, _NMS_IOU)
    boxes, scores = boxes[rows], scores[rows]
    share = shares_inside(boxes, boxes)
    surer = torch.ones_like(share, dtype=torch.bool).tril(-1)  # [i, j]: j comes before i
    part = (share >= _NESTED) & surer & (scores[:, None] < _FAR_LESS_SURE * scores)
    group = ((share.T >= _NESTED) & surer).sum(1) >= 2
    kept = ~(part.any(1) | group)
    return boxes[kept], scores[kept]


def shares_inside(boxes: Tensor, others: Tensor) -> Tensor:
    """(n, m) which share of each of `boxes` lies in each of `others`, both xyxy."""
    sides = torch.minimum(boxes[:, None, 2:], others[:, 2:]) - torch.maximum(boxes[:, None, :2], others[:, :2])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return sides.clamp(min=0).prod(2) / areas.clamp(min=1e-6)[:, None]
