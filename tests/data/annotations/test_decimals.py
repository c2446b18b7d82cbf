"""Boxes in pixels, whatever the format: two decimals in the file, the same box and score within them when read."""

import re

import numpy as np
import pytest

from muybridge.data.annotations.coco import read_coco, write_coco
from muybridge.data.annotations.cvat import read_cvat, write_cvat
from muybridge.data.annotations.mot import read_mot, write_mot
from muybridge.data.annotations.table import Annotations
from muybridge.data.annotations.tubes import TubeSet, read_tubes, write_tubes
from muybridge.data.annotations.via import read_via, write_via
from muybridge.data.label_maps import LabelMap

LABELS = LabelMap(("walk", "sit"), (0, 1))
COUNT = 200


def coco(path, rows):
    write_coco(path, rows, LABELS)
    return read_coco(path)[0]


def cvat(path, rows):
    write_cvat(path, rows, rate_fps=4, labels=LABELS)
    return read_cvat(path, rate_fps=4, labels=LABELS)


def mot(path, rows):
    write_mot(path, rows, rate_fps=4)
    return read_mot(path, rate_fps=4)


def via_json(path, rows):
    write_via(path, rows, LABELS)
    return read_via(path, LABELS)


def via_csv(path, rows):
    return via_json(path, rows)


def tubes(path, rows):
    write_tubes(path, TubeSet(rows, LABELS), rate_fps=4)
    return read_tubes(path, rate_fps=4).annotations


@pytest.mark.parametrize(
    ("round_trip", "suffix", "keeps_scores"),
    [
        (coco, "json", True),
        (cvat, "xml", False),
        (mot, "txt", True),
        (via_json, "json", False),
        (via_csv, "csv", False),
        (tubes, "json", False),
    ],
)
def test_boxes_and_scores_are_written_short_and_read_back_equal(tmp_path, round_trip, suffix, keeps_scores) -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 1, (COUNT, 2)).astype(np.float32) * np.float32(900)  # as localizers have them
    boxes = np.concatenate([corners, corners + random.uniform(0, 900, (COUNT, 2)).astype(np.float32)], 1)
    rows = Annotations(
        ("film",),
        np.zeros(COUNT, np.int32),
        np.arange(COUNT) / 4,
        boxes.astype(np.float64),
        "pixel",
        np.arange(COUNT) % 2,
        np.zeros(COUNT, np.int64),
        random.uniform(0, 1, COUNT).astype(np.float32).astype(np.float64),
        {"film": (1920, 1080)},
    )
    path = tmp_path / f"film.{suffix}"
    again = round_trip(path, rows)
    in_time = np.argsort(again.time_seconds)
    np.testing.assert_allclose(again.boxes_xyxy[in_time], rows.boxes_xyxy, rtol=0, atol=0.005 + 1e-9)
    most = 2
    if keeps_scores:
        np.testing.assert_allclose(again.score[in_time], rows.score, rtol=0, atol=0.00005 + 1e-9)
        most = 4
    decimals = [len(found) for found in re.findall(r"\d\.(\d+)", path.read_text())]
    assert len(decimals) >= 4 * COUNT and max(decimals) <= most
