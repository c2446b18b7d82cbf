"""Detectors by name: the built-in one, and adapters to others.

    load_detector()                       built in, offline, people only
    load_detector("torchvision/NAME")     a detection model of torchvision, with its published weights
    load_detector("hf/OWNER/NAME")        object detection of the Hugging Face hub: RT-DETR, D-FINE, DETR
    load_detector("FILE.onnx")            an ONNX file of a known output layout
    load_detector("FILE.safetensors")     another model of the built-in kind

Boxes that stand in a file already are no detector's answer: `muybridge.data.annotations.files.read_boxes` reads them.
"""

from collections.abc import Sequence
from pathlib import Path

from muybridge.errors import MissingInput, OptionError
from muybridge.people.built_in import BUILT_IN, BuiltInDetector
from muybridge.people.detector import MIN_SCORE, PEOPLE, Detector
from muybridge.people.onnx import OnnxDetector
from muybridge.people.torchvision import TorchvisionDetector
from muybridge.people.transformers import TransformersDetector

_ANNOTATIONS = frozenset({".csv", ".json", ".xml", ".txt"})
_PICKLES = frozenset({".pt", ".pth", ".ckpt", ".pkl"})


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
            outputs do not tell it: fastestdet, yolo or detr, as `muybridge.people.onnx` describes them.
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
        return TorchvisionDetector.from_pretrained(rest, classes=classes, min_score=min_score, device=device)
    if kind == "hf" and rest:
        return TransformersDetector.from_pretrained(rest, classes=classes, min_score=min_score, device=device)
    path, _, layout = name.rpartition(":") if ".onnx:" in name else (name, "", "")
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        return OnnxDetector(path, layout=layout or None, classes=classes, min_score=min_score, device=device)
    if suffix in _ANNOTATIONS:
        raise OptionError(f"{name} holds boxes, it does not look for them. Give it as boxes (--boxes {name}).")
    if name in BUILT_IN or suffix == ".safetensors" or suffix in _PICKLES:
        return BuiltInDetector.from_pretrained(name_or_path, classes=classes, min_score=min_score, device=device)
    raise MissingInput(
        f"there is no detector {name!r}. Give person (built in), torchvision/NAME, hf/OWNER/NAME, FILE.onnx or "
        "FILE.safetensors"
    )
