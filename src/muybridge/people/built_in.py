"""The built-in detector of people: offline, small, quick on a CPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import nms

from muybridge.artifacts import Artifact, find_model, open_model
from muybridge.devices import choose_device, is_out_of_memory
from muybridge.errors import ModelError, OptionError
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
_NMS_IOU = 0.5
_COUNTER = "num_batches_tracked"
_LIMITS = Fields(stem=Within(1, 4096), widths=Within(1, 4096), depths=Within(1, 64), neck=Within(1, 4096))
# A frame is never enlarged by more: that shows no more of it.
_MOST_ENLARGED = 1.5
_LONGEST_OVER_SHORT = 3.0


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
        if not config.stem < config.widths[0] < config.widths[1] < config.widths[2] or any(
            w % 2 for w in config.widths
        ):
            raise ModelError(
                f"{source}: its architecture.widths must be even and grow from stage to stage. Copy it again"
            )
        with torch.device("meta"):
            sketch = PersonDetector(config).state_dict()
        # Counters of batches are not kept.
        file.require_fit({n: t for n, t in sketch.items() if not n.endswith(_COUNTER)}, what="the detector")
        network = PersonDetector(config)
        counters = {name: t for name, t in network.state_dict().items() if name.endswith(_COUNTER)}
        network.load_state_dict(counters | {name: t.float() for name, t in file.tensors().items()})
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
        half = {
            name: tensor.half() for name, tensor in self.network.state_dict().items() if not name.endswith(_COUNTER)
        }
        config = self.network.config
        architecture = {"stem": config.stem, "widths": config.widths, "depths": config.depths, "neck": config.neck}
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
        pixels = torch.from_numpy(np.array(frames)).to(self.device)
        try:
            logits, boxes = self.network(self._prepare(pixels.permute(0, 3, 1, 2)))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
            raise DetectionFailed(f"the network failed on frames of {width} x {height}: {reason}") from error
        rows, columns = self._inner_size(height, width)
        boxes = boxes * boxes.new_tensor([width / columns, height / rows]).repeat(2)
        return [
            self._chosen(scores, found, (width, height))
            for scores, found in zip(logits.sigmoid(), boxes, strict=True)
        ]

    def _chosen(self, scores: Tensor, boxes: Tensor, size: tuple[int, int]) -> Detections:
        # NaN is let through, to be told of; a comparison would make nobody of it.
        sure = ~(scores < self.min_score)
        scores, boxes = scores[sure], boxes[sure]
        rows = nms(boxes, scores, _NMS_IOU)
        people = torch.zeros(len(rows), dtype=torch.int64)
        return detections(boxes[rows], scores[rows], people, keep=self._keep, size=size, min_score=self.min_score)

    def _inner_size(self, height: int, width: int) -> tuple[int, int]:
        short, long = min(height, width), max(height, width)
        factor = min(self.short_side / short, self.short_side * _LONGEST_OVER_SHORT / long, _MOST_ENLARGED)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def _prepare(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 scaled, in [0, 1], filled up to multiples of the largest stride."""
        rows, columns = self._inner_size(*frames.shape[-2:])
        scaled = frames.float().div_(255)
        if (rows, columns) != tuple(frames.shape[-2:]):
            scaled = F.interpolate(scaled, (rows, columns), mode="bilinear", antialias=True)
        step = STRIDES[-1]
        scaled = F.pad(scaled, (0, -columns % step, 0, -rows % step), value=0.5)
        return scaled.contiguous(memory_format=torch.channels_last)
