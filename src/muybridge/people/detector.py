"""What a detector is: frames in, boxes out, whatever network stands behind it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muybridge.errors import InputError, OptionError
from muybridge.models.boxes import clip_boxes_xyxy, has_area_xyxy

RGB = NDArray[np.uint8]
PEOPLE = ("person",)
# Low, because a tracker and the caller's own threshold want the unsure ones too.
MIN_SCORE = 0.05


class DetectionFailed(InputError):
    """A detector could not bear one frame, or answered with NaN. The next frame may do."""


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one frame, the surest first.

    Attributes:
        boxes: (n, 4) float32, x1 y1 x2 y2 in pixels, within the frame and with area.
        scores: (n,) float32 in [0, 1].
        class_ids: (n,) int64, places in the detector's `classes`.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


class Detector(Protocol):
    """Finds objects in frames.

    Attributes:
        classes: names of what it looks for.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    def __call__(self, frames: RGB) -> list[Detections]:
        """What is in each of the frames (N, H, W, 3), uint8 RGB, upright.

        Raises:
            DetectionFailed: it could not tell.
        """
        ...


def kept_classes(known: Sequence[str], wanted: Sequence[str] | None, *, detector: str) -> dict[int, int]:
    """A detector's own class numbers to places in `classes`, for those that are wanted.

    Args:
        known: the detector's names in the order of its numbers.

    Raises:
        OptionError: it does not know one that is wanted.
    """
    if wanted is None:
        return {number: number for number in range(len(known))}
    lower = [name.lower() for name in known]
    for name in wanted:
        if name.lower() not in lower:
            some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
            raise OptionError(f"{detector} does not find {name!r}. It knows {some}.")
    return {lower.index(name.lower()): place for place, name in enumerate(wanted)}


def detections(
    boxes_xyxy: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    keep: dict[int, int],
    size: tuple[int, int],
    min_score: float,
) -> Detections:
    """One frame's answer in the common form: wanted classes, sure enough, cut at the frame's edge, surest first.

    Args:
        boxes_xyxy: (n, 4) in pixels of the frame.
        labels: (n,) class numbers as the detector counts.
        keep: see `kept_classes`.
        size: (width, height) of the frame.

    Raises:
        DetectionFailed: a number is not finite.
    """
    boxes_xyxy, scores, labels = boxes_xyxy.detach().float().cpu(), scores.detach().float().cpu(), labels.cpu()
    if not (boxes_xyxy.isfinite().all() and scores.isfinite().all()):
        raise DetectionFailed("the detector answered with NaN or infinity. Try --device cpu, or another detector")
    places = torch.tensor([keep.get(label, -1) for label in labels.tolist()], dtype=torch.int64)
    boxes_xyxy = clip_boxes_xyxy(boxes_xyxy, width=size[0], height=size[1])
    sound = (places >= 0) & (scores >= min_score) & has_area_xyxy(boxes_xyxy)
    rows = torch.nonzero(sound)[:, 0]
    rows = rows[torch.argsort(scores[rows], descending=True, stable=True)]
    return Detections(boxes_xyxy[rows].numpy(), scores[rows].numpy(), places[rows].numpy())


def labelled_detections(
    answers: Iterable[Mapping[str, Tensor]], *, keep: dict[int, int], size: tuple[int, int], min_score: float
) -> list[Detections]:
    """`detections` of answers that hold "boxes", "scores" and "labels", as torchvision and transformers give them."""
    return [
        detections(each["boxes"], each["scores"], each["labels"], keep=keep, size=size, min_score=min_score)
        for each in answers
    ]


def check_frames(frames: RGB) -> None:
    """Raise OptionError unless frames are (N, H, W, 3) uint8."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise OptionError(f"frames are {frames.shape} {frames.dtype}. They must be (N, H, W, 3) uint8 RGB.")
    if 0 in frames.shape[1:3]:
        raise OptionError(f"frames are {frames.shape}. They must have at least one pixel.")
