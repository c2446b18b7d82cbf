"""Adapters on a real detector's file, on a torchvision model built without a download, and the built-in one."""

import numpy as np
import pytest
import torch
from torch import nn

from muybridge.errors import MissingExtra, MissingInput, ModelError, OptionError, UnsafeModelFile
from muybridge.media.video_reader import VideoReader
from muybridge.models.person_detector import PersonDetector
from muybridge.people.built_in import BuiltInDetector, distinct, shares_inside
from muybridge.people.detector import DetectionFailed, detections
from muybridge.people.detectors import load_detector
from muybridge.people.torchvision import TorchvisionDetector


@pytest.fixture(scope="module")
def standing_man(real_data):
    """A frame with one man, who stands at about a third of its width from the left."""
    with VideoReader(real_data / "people" / "S001C001P001R001A001_rgb.avi", short_side=256) as reader:
        return reader.frames_at_indices([30])[0].image


def check_finds_the_man(found, frame) -> None:
    height, width = frame.shape[:2]
    left, top, right, bottom = (found.boxes[0] / [width, height, width, height]).tolist()
    assert found.scores[0] > 0.5
    assert 0.48 < left < right < 0.62
    assert 0.2 < top < 0.32 and 0.6 < bottom < 0.75


def test_an_onnx_file_finds_the_man(real_data, standing_man) -> None:
    detector = load_detector(real_data / "weights/fastestdet/FastestDet.onnx", device="cpu")
    found = detector(np.stack([standing_man, np.zeros_like(standing_man)]))
    check_finds_the_man(found[0], standing_man)
    assert len(found) == 2 and not (found[1].scores > 0.5).any()
    everything = load_detector(
        f"{real_data}/weights/fastestdet/FastestDet.onnx:fastestdet", classes=None, device="cpu"
    )
    assert everything.classes[0] == "person" and len(everything.classes) == 80
    with pytest.raises(OptionError, match="unicorn"):
        load_detector(real_data / "weights/fastestdet/FastestDet.onnx", classes=["unicorn"])


def test_the_built_in_one_finds_the_man(standing_man) -> None:
    check_finds_the_man(load_detector(device="cpu")(standing_man[None])[0], standing_man)


def test_frames_of_any_shape_give_boxes_within_them() -> None:
    detector = load_detector(min_score=0.05, device="cpu")
    for height, width in ((1, 1), (40, 300), (301, 77)):
        frame = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        boxes = detector(frame)[0].boxes
        assert (boxes >= 0).all() and (boxes <= [width, height, width, height]).all()
    assert detector(np.zeros((0, 8, 8, 3), np.uint8)) == []


def test_a_saved_one_answers_the_same(tmp_path) -> None:
    torch.manual_seed(0)
    one = BuiltInDetector(PersonDetector(), short_side=64, min_score=0.0, device="cpu")
    one.network.half().float()
    one.save(tmp_path / "mine.safetensors")
    other = load_detector(tmp_path / "mine.safetensors", min_score=0.0, device="cpu")
    frame = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    np.testing.assert_allclose(other(frame)[0].scores, one(frame)[0].scores, atol=1e-5)


def boxes_of(*rows):
    """Boxes and scores of (x1, y1, x2, y2, score)."""
    table = torch.tensor(rows, dtype=torch.float32)
    return table[:, :4], table[:, 4]


def test_one_box_for_each_person() -> None:
    whole, again = (0, 0, 100, 200, 0.9), (4, 2, 104, 198, 0.6)
    hand, child = (70, 80, 99, 120, 0.4), (60, 100, 95, 199, 0.8)  # both within the first
    neighbour, both = (150, 0, 250, 200, 0.7), (0, 0, 250, 200, 0.5)
    boxes, scores = distinct(*boxes_of(both, hand, again, neighbour, whole, child))
    assert boxes.tolist() == [list(row[:4]) for row in (whole, child, neighbour)]
    assert scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    nobody = distinct(torch.zeros(0, 4), torch.zeros(0))
    assert len(nobody[0]) == len(nobody[1]) == 0


def test_shares_inside_are_those_of_a_count_of_pixels() -> None:
    random = np.random.default_rng(0)
    corners = random.integers(0, 20, (8, 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 20, (8, 2))], axis=1)
    grids = np.zeros((8, 40, 40), bool)
    for grid, (left, top, right, bottom) in zip(grids, boxes, strict=True):
        grid[top:bottom, left:right] = True
    counted = [[(one & other).sum() / one.sum() for other in grids] for one in grids]
    found = shares_inside(torch.from_numpy(boxes).float(), torch.from_numpy(boxes).float())
    np.testing.assert_allclose(found, counted, rtol=1e-6)


class _Once(nn.Module):
    """Finds one box of a share of the picture's height, and remembers the sizes of pictures."""

    def __init__(self, share: float, score: float) -> None:
        super().__init__()
        self.share, self.score, self.sizes = share, score, []
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, pictures):
        rows = pictures.shape[-2]
        self.sizes.append(rows)
        box = torch.tensor([[[0.1, 0.1, 0.3, 0.1 + self.share]]]) * rows
        return torch.tensor([[self.score]]).logit(), box


@pytest.mark.parametrize(
    ("share", "score", "frame", "looks"),
    [
        (0.5, 0.9, (480, 640), [128]),  # large: one look
        (0.25, 0.9, (480, 640), [128, 256]),  # 32 rows tall: until they are 64
        (0.05, 0.9, (480, 640), [128, 320]),  # not closer than two and a half times
        (0.5, 0.1, (480, 640), [128, 192]),  # nobody: a little closer
        (0.25, 0.9, (160, 224), [128, 160]),  # not larger than the frame
        (0.25, 0.9, (128, 160), [128]),
    ],
)
def test_small_people_are_looked_at_more_closely(share, score, frame, looks) -> None:
    network = _Once(share, score)
    detector = BuiltInDetector(network, short_side=128, device="cpu")
    found = detector(np.zeros((1, *frame, 3), np.uint8))[0]
    assert network.sizes == looks
    assert len(found) == 1


class _TwoSizes(nn.Module):
    """Someone large, and two small ones who at a first look are one loose box."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, pictures):
        rows = pictures.shape[-2]
        large, small = [0.1, 0.1, 0.4, 0.9], [0.8, 0.1, 0.9, 0.3]
        if rows > 128:
            return torch.tensor([[0.3, 0.7, 0.6]]).logit(), torch.tensor(
                [[large, small, [1.0, 0.1, 1.1, 0.3]]]
            ) * rows
        loose = [[0.8, 0.1, 1.1, 0.35], [0.6, 0.7, 0.7, 0.9], [0.4, 0.7, 0.5, 0.9]]
        return torch.tensor([[0.9, 0.8, 0.1, 0.1]]).logit(), torch.tensor([[large, *loose]]) * rows


def test_of_two_looks_each_tells_of_its_sizes() -> None:
    found = BuiltInDetector(_TwoSizes(), short_side=128, device="cpu")(np.zeros((1, 480, 640, 3), np.uint8))[0]
    # The small ones side by side were one box at first.
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.6], atol=1e-6)
    expected = np.array([[0.1, 0.1, 0.4, 0.9], [0.8, 0.1, 0.9, 0.3], [1.0, 0.1, 1.1, 0.3]]) * 480
    np.testing.assert_allclose(found.boxes, expected, atol=1)  # 128 rows are 171 columns, rounded


def test_a_network_gone_to_nan_is_told_of() -> None:
    network = PersonDetector()
    network.stem[0].weight.data.fill_(float("nan"))
    detector = BuiltInDetector(network, short_side=64, device="cpu")
    with pytest.raises(DetectionFailed, match="NaN"):
        detector(np.zeros((1, 64, 64, 3), np.uint8))


def test_an_onnx_file_that_is_none(tmp_path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"not a network at all")
    with pytest.raises(ModelError, match=r"noise\.onnx is not a readable ONNX file"):
        load_detector(tmp_path / "noise.onnx")
    with pytest.raises(MissingInput, match=r"nowhere\.onnx"):
        load_detector(tmp_path / "nowhere.onnx")


class _Fixed(nn.Module):
    """Answers as torchvision's detection models do."""

    def __init__(self, fail: bool = False) -> None:
        super().__init__()
        self.fail = fail

    def forward(self, pictures):
        if self.fail:
            raise RuntimeError("a kernel broke")
        boxes = torch.tensor([[-5.0, 2, 8, 9], [1, 1, 4, 5], [0, 0, 3, 3], [5, 5, 4, 9]])
        scores, labels = torch.tensor([0.4, 0.9, 0.8, 0.7]), torch.tensor([1, 1, 2, 1])
        return [{"boxes": boxes, "scores": scores, "labels": labels} for _ in pictures]


def test_a_torchvision_model_in_the_common_form() -> None:
    detector = TorchvisionDetector(_Fixed(), ["__background__", "person", "dog"], device="cpu")
    found = detector(np.zeros((2, 10, 12, 3), np.uint8))
    assert len(found) == 2
    np.testing.assert_array_equal(found[1].boxes, [[1, 1, 4, 5], [0, 2, 8, 9]])
    assert found[1].class_ids.tolist() == [0, 0]
    broken = TorchvisionDetector(_Fixed(fail=True), ["__background__", "person"], device="cpu")
    with pytest.raises(DetectionFailed, match="a kernel broke"):
        broken(np.zeros((1, 10, 12, 3), np.uint8))


def test_nan_is_never_nobody() -> None:
    with pytest.raises(DetectionFailed):
        detections(
            torch.tensor([[0, 0, 1, float("nan")]]),
            torch.ones(1),
            torch.zeros(1, dtype=torch.int64),
            keep={0: 0},
            size=(4, 4),
            min_score=0.0,
        )


def test_names_that_are_none(tmp_path) -> None:
    with pytest.raises(MissingInput, match="no detector 'dog'"):
        load_detector("dog")
    with pytest.raises(OptionError, match="--boxes"):
        load_detector("boxes.csv")
    with pytest.raises(MissingInput, match="torchvision has no detection model"):
        load_detector("torchvision/nothing")
    with pytest.raises(OptionError, match="min_score"):
        load_detector(min_score=1.5)
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(UnsafeModelFile):
        load_detector(tmp_path / "model.pt")


def test_a_missing_library_is_named(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"muybridge\[transformers\]"):
        load_detector("hf/somebody/detector")
