"""What finds people in frames: the built-in detector, and adapters to others by name.

    load_detector()                       built in, offline, people only
    load_detector("torchvision/NAME")     a detection model of torchvision, with its published weights
    load_detector("hf/OWNER/NAME")        object detection of the Hugging Face hub: RT-DETR, D-FINE, DETR
    load_detector("FILE.onnx")            an ONNX file of a known output layout
    load_detector("FILE.safetensors")     another model of the built-in kind

Boxes that stand in a file already are no detector's answer: `muybridge.data.annotation_files.read_boxes` reads them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muybridge.errors import InputError, MissingInput, OptionError
from muybridge.models.boxes import clip_boxes_xyxy, has_area_xyxy

RGB = NDArray[np.uint8]
BUILT_IN = {"person": "person_detector.safetensors"}
PEOPLE = ("person",)
# Low, because a tracker and the caller's own threshold want the unsure ones too.
MIN_SCORE = 0.05
_ANNOTATIONS = frozenset({".csv", ".json", ".xml", ".txt"})
_PICKLES = frozenset({".pt", ".pth", ".ckpt", ".pkl"})


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


def load_detector(
    name_or_path: str | Path = "person",
    *,
    classes: Sequence[str] | None = PEOPLE,
    min_score: float = MIN_SCORE,
    device: str = "auto",
) -> Detector:
    """A detector by name.

    The network is used only for names that begin with torchvision/ or hf/, which the user gave.

    Args:
        name_or_path: see the module's first lines. "FILE.onnx:LAYOUT" states the output layout where the file's
            outputs do not tell it: fastestdet, yolo or detr, as `muybridge.tasks.detector_onnx` describes them.
        classes: names of classes to keep; None keeps all that the detector knows.
        min_score: what scores lower is left out.
        device: auto, cpu, cuda, cuda:1, mps; ONNX files run on the CPU, or on CUDA where onnxruntime has it.

    Raises:
        MissingInput: no such detector.
        MissingExtra: its library is not installed.
        OptionError: the detector does not know a class of `classes`, or no such name or layout.
        ModelError: a file cannot be used.
    """
    name = str(name_or_path)
    if not 0 <= min_score < 1:
        raise OptionError(f"min_score is {min_score}. Choose a number from 0 to below 1.")
    kind, _, rest = name.partition("/")
    if kind == "torchvision" and rest:
        from muybridge.tasks.detector_torchvision import TorchvisionDetector

        return TorchvisionDetector.from_pretrained(rest, classes=classes, min_score=min_score, device=device)
    if kind == "hf" and rest:
        from muybridge.tasks.detector_transformers import TransformersDetector

        return TransformersDetector.from_pretrained(rest, classes=classes, min_score=min_score, device=device)
    path, _, layout = name.rpartition(":") if ".onnx:" in name else (name, "", "")
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        from muybridge.tasks.detector_onnx import OnnxDetector

        return OnnxDetector(path, layout=layout or None, classes=classes, min_score=min_score, device=device)
    if suffix in _ANNOTATIONS:
        raise OptionError(f"{name} holds boxes, it does not look for them. Give it as boxes (--boxes {name}).")
    if name in BUILT_IN or suffix == ".safetensors" or suffix in _PICKLES:
        from muybridge.tasks.detector_person import BuiltInDetector

        return BuiltInDetector.from_pretrained(name_or_path, classes=classes, min_score=min_score, device=device)
    raise MissingInput(
        f"there is no detector {name!r}. Give person (built in), torchvision/NAME, hf/OWNER/NAME, FILE.onnx or "
        "FILE.safetensors"
    )


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
