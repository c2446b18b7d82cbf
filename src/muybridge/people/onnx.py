"""Detectors as ONNX files, run by onnxruntime.

    layout       outputs                                                     input, (1 or N, 3, H, W) float32
    fastestdet   (N, 5 + C, h, w): objectness, x y w h, class shares         BGR in [0, 1], stretched to H x W
    yolo         (N, 4 + C, A): cx cy w h in pixels of the input, scores     RGB in [0, 1], fitted into H x W
    detr         `logits` (N, Q, C), `pred_boxes` (N, Q, 4) as fractions     RGB in [0, 1], stretched to H x W

`fastestdet` is that of the network of this name: x and y go through tanh and count from the cell's corner, w and h
through a sigmoid; score = objectness^0.6 * share^0.4. `yolo` is that of one-stage exports without objectness.
"""

import ast
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.ops import batched_nms, box_convert

from muybridge.counts import counted
from muybridge.errors import MissingExtra, MissingInput, ModelError, OptionError
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

Layout = Literal["fastestdet", "yolo", "detr"]
_COCO_91: tuple[str, ...] = tuple(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
COCO_80 = tuple(name for name in _COCO_91 if name not in ("__background__", "N/A"))
_NMS_IOU = {"fastestdet": 0.45, "yolo": 0.6}  # detr answers once for each object
_DEFAULT_SIDE = 640  # where the file leaves its input's size open
_LARGEST_SIDE = 4096
_LONGEST_NAMES = 1 << 20  # letters
# Boxes (n, 4) xyxy as fractions of the network's input, and scores (n, C).
_Raw = tuple[Tensor, Tensor]


class OnnxDetector:
    """A detector in an ONNX file.

    Args:
        layout: of its outputs, see the module's first lines; None tells it by their names and shapes.
        names: of its classes in order; None takes those in the file's metadata (`names`), or COCO's for 80 or 91.

    Raises:
        MissingExtra: onnxruntime is not installed.
        MissingInput: no such file.
        ModelError: it is no readable ONNX file, or its outputs do not have the layout.
        OptionError: no such layout, or classes without names.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        layout: str | None = None,
        names: Sequence[str] | None = None,
        classes: Sequence[str] | None = PEOPLE,
        min_score: float = MIN_SCORE,
        device: str = "auto",
    ) -> None:
        self._session = _session(Path(path), device)
        self._source = str(path)
        self._min_score = min_score
        try:
            self._layout = self._choose_layout(layout)
            self._input, self._size = self._choose_input()
            known = tuple(names) if names is not None else self._names()
        except UnicodeDecodeError as error:  # onnxruntime's strings are whatever bytes the file has
            raise ModelError(f"{path} is not a readable ONNX file: its names are no text") from error
        self._keep = kept_classes(known, classes, detector=self._source)
        self.classes = known if classes is None else tuple(classes)

    def __call__(self, frames: RGB) -> list[Detections]:
        """See `muybridge.people.detector.Detector`. Frames go through one by one, as many files fix a batch of 1."""
        check_frames(frames)
        return [self._one(frame) for frame in frames]

    def _one(self, frame: RGB) -> Detections:
        height, width = frame.shape[:2]
        picture, scale = self._prepare(frame)
        try:
            outputs = self._session.run(None, {self._input: picture})
        except _onnx_errors() as error:
            reason = str(error).strip().splitlines()[0]
            raise DetectionFailed(f"{self._source} failed on a frame of {width} x {height}: {reason}") from error
        try:
            tensors = [torch.from_numpy(np.asarray(output, np.float32)) for output in outputs]
            decode = {"fastestdet": _fastestdet, "yolo": self._yolo, "detr": self._detr}[self._layout]
            boxes, shares = decode(tensors)
            boxes = boxes * boxes.new_tensor([width / scale[0], height / scale[1]]).repeat(2)
            scores, labels = shares.max(1)
            sure = scores >= self._min_score
            boxes, scores, labels = boxes[sure], scores[sure], labels[sure]
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            shapes = [np.shape(output) for output in outputs]
            raise DetectionFailed(f"{self._source} answers {shapes}, which is not as {self._layout} does") from error
        if self._layout in _NMS_IOU:
            rows = batched_nms(boxes, scores, labels, _NMS_IOU[self._layout])
            boxes, scores, labels = boxes[rows], scores[rows], labels[rows]
        size = (width, height)
        return detections(boxes, scores, labels, keep=self._keep, size=size, min_score=self._min_score)

    def _prepare(self, frame: RGB) -> tuple[Any, tuple[float, float]]:
        """(1, 3, H, W) float32, and which share of its width and height the frame takes."""
        picture = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None].float() / 255
        if self._layout == "fastestdet":
            picture = picture.flip(1)
        height, width = self._size
        if self._layout != "yolo":
            picture = F.interpolate(picture, (height, width), mode="bilinear", antialias=True)
            return picture.numpy(), (1.0, 1.0)
        factor = min(height / frame.shape[0], width / frame.shape[1])
        inner = (max(1, round(frame.shape[0] * factor)), max(1, round(frame.shape[1] * factor)))
        fitted = F.interpolate(picture, inner, mode="bilinear", antialias=True)
        fitted = F.pad(fitted, (0, width - inner[1], 0, height - inner[0]), value=114 / 255)
        return fitted.numpy(), (inner[1] / width, inner[0] / height)

    def _yolo(self, outputs: list[Tensor]) -> _Raw:
        table = outputs[0][0].T
        height, width = self._size
        boxes = box_convert(table[:, :4], "cxcywh", "xyxy") / table.new_tensor([width, height, width, height])
        return boxes, table[:, 4:]

    def _detr(self, outputs: list[Tensor]) -> _Raw:
        by_name = dict(zip([output.name for output in self._session.get_outputs()], outputs, strict=True))
        return box_convert(by_name["pred_boxes"][0], "cxcywh", "xyxy"), by_name["logits"][0].sigmoid()

    def _choose_input(self) -> tuple[str, tuple[int, int]]:
        """The input's name, and (height, width) that pictures are brought to."""
        taken = next(iter(self._session.get_inputs()), None)
        if taken is None:
            raise ModelError(f"{self._source} takes nothing, and not pictures (N, 3, height, width)")
        shape = taken.shape
        sides = [side if isinstance(side, int) else _DEFAULT_SIDE for side in shape[2:]]
        if len(shape) != 4 or (shape[1] not in (3, None) and not isinstance(shape[1], str)):
            raise ModelError(f"{self._source} takes {shape}, and not pictures (N, 3, height, width)")
        if not all(1 <= side <= _LARGEST_SIDE for side in sides):
            raise ModelError(f"{self._source} takes pictures of {sides[1]} x {sides[0]}: 1 to {_LARGEST_SIDE} a side")
        return str(taken.name), (sides[0], sides[1])

    def _choose_layout(self, stated: str | None) -> Layout:
        outputs = {output.name: output.shape for output in self._session.get_outputs()}
        shapes = list(outputs.values())
        fits: dict[str, bool] = {
            "fastestdet": len(shapes) == 1 and len(shapes[0]) == 4,
            "yolo": len(shapes[0]) == 3 and "pred_boxes" not in outputs,
            "detr": {"logits", "pred_boxes"} <= outputs.keys(),
        }
        if stated is not None and stated not in fits:
            raise OptionError(f"layout is {stated!r}. Choose one of {', '.join(get_args(Layout))}.")
        found: list[Layout] = [layout for layout in get_args(Layout) if fits[layout] and stated in (None, layout)]
        if not found:
            raise ModelError(
                f"{self._source} has outputs {outputs}, which no layout fits: {stated or get_args(Layout)}"
            )
        return found[0]

    def _names(self) -> tuple[str, ...]:
        metadata = self._session.get_modelmeta().custom_metadata_map
        if "names" in metadata:
            return self._listed(metadata["names"])
        count = self._count_classes()
        known = {80: COCO_80, 91: _COCO_91}
        if count not in known:
            some = "classes" if count is None else counted(count, "class")
            raise OptionError(f"{self._source} has {some} without names. Pass names=[...] in their order.")
        return known[count]

    def _listed(self, text: str) -> tuple[str, ...]:
        """Names written as a Python list, or as a dictionary by number."""
        try:
            names: Any = ast.literal_eval(text) if len(text) <= _LONGEST_NAMES else None
        except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
            names = None
        names = list(names.values()) if isinstance(names, dict) else names
        if not isinstance(names, (list, tuple)) or not all(
            isinstance(n, (str, int)) for n in cast("list[Any]", names)
        ):
            raise ModelError(f"{self._source}: its metadata 'names' is not a list of class names")
        return tuple(str(name) for name in cast("list[Any]", names))

    def _count_classes(self) -> int | None:
        outputs = {output.name: output.shape for output in self._session.get_outputs()}
        columns = outputs["logits"][2] if self._layout == "detr" else next(iter(outputs.values()))[1]
        before: Callable[[int], int] = {"fastestdet": lambda n: n - 5, "yolo": lambda n: n - 4, "detr": lambda n: n}[
            self._layout
        ]
        return before(columns) if isinstance(columns, int) else None


def _fastestdet(outputs: list[Tensor]) -> _Raw:
    grid = outputs[0][0].permute(1, 2, 0)
    rows, columns = grid.shape[:2]
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centre = torch.stack([(grid[..., 1].tanh() + x) / columns, (grid[..., 2].tanh() + y) / rows], -1)
    sides = grid[..., 3:5].sigmoid()
    boxes = torch.cat([centre - sides / 2, centre + sides / 2], -1).reshape(-1, 4)
    scores = grid[..., :1] ** 0.6 * grid[..., 5:] ** 0.4
    return boxes, scores.reshape(len(boxes), -1)


def _onnx_errors() -> tuple[type[Exception], ...]:
    """onnxruntime's own errors, which have no base class of theirs."""
    state: Any = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    names = "Fail InvalidArgument InvalidGraph InvalidProtobuf NoModel NotImplemented RuntimeException EPFail"
    return tuple(getattr(state, name) for name in names.split())


def _session(path: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtra("detecting with an ONNX file", extra="onnx") from error
    if not path.is_file():
        raise MissingInput(f"there is no ONNX file {path}")
    available = onnxruntime.get_available_providers()
    providers = ["CPUExecutionProvider"]
    if device != "cpu" and "CUDAExecutionProvider" in available:
        providers.insert(0, "CUDAExecutionProvider")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except _onnx_errors() as error:
        raise ModelError(f"{path} is not a readable ONNX file: {str(error).strip().splitlines()[0]}") from error
