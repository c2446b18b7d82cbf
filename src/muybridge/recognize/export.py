"""A recognizer as one file that runs without muybridge: ONNX, or a program of torch.export.

    frames (B, T, 3, height, width) uint8 RGB ── normalise ── VideoViT ── logits, probabilities (B, K) float32

What a recognizer reads of motion is not in the file: its frames are too far apart for that.

B is free; T and the size are those of the recognizer's sampling. The file holds the frozen backbone too, and beside
the network, as JSON, labels and sampling.
"""

import io
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import ConstraintViolationError

from muybridge.data.clips.sampling import SamplingConfig, normalize
from muybridge.errors import MissingExtra, ModelError, OptionError
from muybridge.media.outputs import atomic_output, check_writable
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.recognize.recognizer import Recognizer

ExportFormat = Literal["onnx", "torch"]
SUFFIXES: Mapping[str, ExportFormat] = {".onnx": "onnx", ".pt2": "torch"}
INPUT, OUTPUTS = "frames", ("logits", "probabilities")
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# The example has two clips. A file that holds for its batch size alone is caught with other ones.
_CHECKED_BATCHES = (1, 3)

_Run = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: the file.
        largest_difference: of its logits from the recognizer's, over random clips.
        size_bytes: of the file.
    """

    path: Path
    largest_difference: float
    size_bytes: int


class _FramesToAnswers(nn.Module):
    """What is exported; normalisation included, so that nobody has to know the mean."""

    def __init__(self, model: VideoViT, sampling: SamplingConfig, *, multi_label: bool) -> None:
        super().__init__()
        self.model, self.sampling, self.multi_label = model, sampling, multi_label

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(normalize(frames, self.sampling))
        return logits, logits.sigmoid() if self.multi_label else logits.softmax(dim=-1)


def export_recognizer(recognizer: Recognizer, path: str | Path, *, tolerance: float = 1e-3) -> ExportReport:
    """Write a recognizer for other runtimes, run the file, and compare; only a file that agrees is kept.

    Args:
        path: .onnx (for ONNX Runtime), or .pt2 (for `torch.export.load`).
        tolerance: largest difference of a logit that is accepted.

    Raises:
        OptionError: another suffix.
        MissingExtra: ONNX is asked for and not installed.
        ModelError: the network cannot be exported, or the file's logits differ by more than `tolerance`.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    kind = check_export_path(path)
    # A copy on the CPU: the recognizer may be at work on a GPU meanwhile.
    model = deepcopy(recognizer.model).cpu().requires_grad_(False)
    network = _FramesToAnswers(model, recognizer.sampling, multi_label=recognizer.multi_label).eval()
    program = _program(network, _random_clips(recognizer.sampling, 2))
    facts = {name: json.dumps(value) for name, value in _facts(recognizer).items()}
    with atomic_output(path) as beside:
        run = (_write_onnx if kind == "onnx" else _write_torch)(program, beside, facts)
        difference = _largest_difference(network, run, recognizer.sampling)
        if not difference <= tolerance:
            raise ModelError(
                f"{path} gives logits that differ by {difference:.2g} from the recognizer's, more than "
                f"{tolerance:g}, and was not kept. Update torch and onnxruntime, or raise --tolerance"
            )
    return ExportReport(path, difference, path.stat().st_size)


def check_export_path(path: Path) -> ExportFormat:
    """What a path's suffix asks for, before anything is loaded; raises as `export_recognizer` does."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise OptionError(f"cannot export to {path.name!r}: end it in {' or '.join(SUFFIXES)}")
    if kind == "onnx" and any(find_spec(name) is None for name in _ONNX_PACKAGES):
        raise MissingExtra("export to ONNX", extra="onnx")
    check_writable(path)
    return kind


def _random_clips(sampling: SamplingConfig, count: int) -> Tensor:
    shape = (count, sampling.frames, 3, *sampling.size)
    return torch.from_numpy(np.random.default_rng(count).integers(0, 256, shape, np.uint8))


def _program(network: nn.Module, clips: Tensor) -> ExportedProgram:
    batch = Dim("batch", min=1, max=1 << 16)
    try:
        with torch.no_grad():
            return torch.export.export(network, (clips,), dynamic_shapes={INPUT: {0: batch}})
    except (TorchDynamoException, ConstraintViolationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"torch.export cannot take this backbone: {reason}. Choose another one") from error


def _facts(recognizer: Recognizer) -> dict[str, Any]:
    """What a program that uses the file has to know."""
    return {
        "labels": list(recognizer.labels.names),
        "multi_label": recognizer.multi_label,
        "sampling": asdict(recognizer.sampling),
        "backbone": {"name": recognizer.backbone.name, "hash": recognizer.backbone.hash},
        "without_motion": recognizer.motion is not None,
        "frames": "(batch, time, 3, height, width) uint8 RGB, scaled and cropped as sampling says, not normalised",
    }


def _write_torch(program: ExportedProgram, path: Path, facts: Mapping[str, str]) -> _Run:
    # Into memory first: what torch cannot write to a full disk ends the process.
    content = io.BytesIO()
    torch.export.save(program, content, extra_files=dict(facts))
    path.write_bytes(content.getbuffer())
    return cast(_Run, torch.export.load(path).module())


def _write_onnx(program: ExportedProgram, path: Path, facts: Mapping[str, str]) -> _Run:
    import onnx
    import onnxruntime

    try:
        exported: Any = torch.onnx.export(
            program, dynamo=True, input_names=[INPUT], output_names=OUTPUTS, verbose=False
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"ONNX cannot express this network: {reason}. Export to .pt2") from error
    model = exported.model_proto
    onnx.helper.set_model_props(model, dict(facts))
    onnx.save(model, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(clips: Tensor) -> tuple[Tensor, Tensor]:
        logits, probabilities = session.run(OUTPUTS, {INPUT: clips.numpy()})
        return torch.from_numpy(logits), torch.from_numpy(probabilities)

    return run


def _largest_difference(network: nn.Module, run: _Run, sampling: SamplingConfig) -> float:
    """Infinite where the file's answer has a NaN."""
    differences: list[Tensor] = []
    with torch.no_grad():
        for count in _CHECKED_BATCHES:
            clips = _random_clips(sampling, count)
            differences.append((network(clips)[0] - run(clips)[0]).abs().max())
    return float(torch.stack(differences).nan_to_num(nan=float("inf")).max())
