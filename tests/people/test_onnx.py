"""ONNX detectors of strangers: whatever such a file says of itself, it is one line, or boxes."""

import math
from pathlib import Path

import numpy as np
import pytest

from muybridge.errors import ModelError, MuybridgeError
from muybridge.people.detector import DetectionFailed
from muybridge.people.detectors import load_detector

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")

YOLO = {"output0": [1, 5, 10]}


def constant_detector(path: Path, *, takes=(1, 3, 64, 48), answers=YOLO, names: str | None = "['person']") -> Path:
    """A file that answers .9 everywhere, whatever it is shown."""
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        make.make_node("Constant", [], [name], value=make.make_tensor(name, kind, shape, [0.9] * math.prod(shape)))
        for name, shape in answers.items()
    ]
    gives = [make.make_tensor_value_info(name, kind, shape) for name, shape in answers.items()]
    graph = make.make_graph(nodes, "graph", [make.make_tensor_value_info("images", kind, list(takes))], gives)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)])
    model.ir_version = 8
    if names is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "names", names
    onnx.save(model, path)
    return path


def test_boxes_are_where_the_file_says(tmp_path: Path) -> None:
    detector = load_detector(constant_detector(tmp_path / "d.onnx"), device="cpu", min_score=0.5)
    (found,) = detector(np.zeros((1, 64, 48, 3), np.uint8))
    # cx cy w h of .9 pixels of a picture of the network's own size; ten equal ones are one.
    np.testing.assert_allclose(found.boxes, [[0.45, 0.45, 1.35, 1.35]], atol=1e-4)
    np.testing.assert_allclose(found.scores, 0.9, atol=1e-6)


@pytest.mark.parametrize(
    "names", ["5", "None", "-" * 100_000 + "1", "[" * 5000 + "]" * 5000, "[['person']]", "{'a': {}}", "'person'", "x"]
)
def test_names_that_are_no_list_of_names(tmp_path: Path, names: str) -> None:
    with pytest.raises(ModelError, match=r"d\.onnx: its metadata 'names' is not a list"):
        load_detector(constant_detector(tmp_path / "d.onnx", names=names), device="cpu")


@pytest.mark.parametrize("names", ["['person']", "('person',)", "{0: 'person'}"])
def test_names_that_are_a_list_of_names(tmp_path: Path, names: str) -> None:
    assert load_detector(constant_detector(tmp_path / "d.onnx", names=names), device="cpu").classes == ("person",)


@pytest.mark.parametrize(
    "takes",
    [(1, 64), (1, 3, 64), (1, 3, 0, 0), (1, 3, 60_000, 60_000), (1, 1, 64, 64), (1, 64, 64, 3), (1, 3, 4, 64, 64)],
)
def test_pictures_of_a_strange_shape(tmp_path: Path, takes: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"d\.onnx takes") as caught:
        load_detector(constant_detector(tmp_path / "d.onnx", takes=takes), device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "answers",
    [
        {"logits": [1, 5, 1], "pred_boxes": [1, 3, 4]},
        {"logits": [1, 5, 1], "pred_boxes": [1, 5, 3]},
        {"logits": [1, 5], "pred_boxes": [1, 5, 4]},
        {"output0": [1, 3, 10]},
        {"output0": [1, 4, 10]},
        {"output0": [0, 5, 10]},
        {"output0": [1, 4, 3, 3]},
        {"output0": [1, 5, 3, 3]},
        {"output0": [5, 10]},
        {},
    ],
    ids=str,
)
def test_answers_of_a_strange_shape(tmp_path: Path, answers: dict[str, list[int]]) -> None:
    with pytest.raises((MuybridgeError, DetectionFailed), match=r"d\.onnx") as caught:
        detector = load_detector(constant_detector(tmp_path / "d.onnx", answers=answers), device="cpu")
        detector(np.zeros((1, 64, 48, 3), np.uint8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", [b"images", b"output0", b"names", b"['person']"])
def test_names_that_are_no_text(tmp_path: Path, place: bytes) -> None:
    path = constant_detector(tmp_path / "d.onnx")
    path.write_bytes(path.read_bytes().replace(place, b"\x8c" + place[1:]))
    with pytest.raises(MuybridgeError, match=r"d\.onnx") as caught:
        detector = load_detector(path, device="cpu")
        detector(np.zeros((1, 64, 48, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_a_file_that_takes_nothing(tmp_path: Path) -> None:
    path = constant_detector(tmp_path / "d.onnx")
    model = onnx.load(path)
    del model.graph.input[:]
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"d\.onnx takes nothing"):
        load_detector(path, device="cpu")
