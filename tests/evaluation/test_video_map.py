"""Video-mAP against plain loops over frames held in dictionaries."""

import numpy as np
import pytest

from muybridge.errors import AnnotationError, OptionError
from muybridge.evaluation.video_map import COCO_THRESHOLDS, Tube, tube_iou, video_map
from tests.evaluation.test_ava import naive_ap, naive_iou


def tube(video, label, frames, boxes, score=1.0):
    return Tube(video, label, np.array(frames, np.int64), np.array(boxes, np.float64).reshape(-1, 4), score)


def naive_tube_iou(one, other):
    first = dict(zip(one.frames.tolist(), one.boxes_xyxy.tolist(), strict=True))
    second = dict(zip(other.frames.tolist(), other.boxes_xyxy.tolist(), strict=True))
    shared = first.keys() & second.keys()
    if one.video != other.video or not shared:
        return 0.0
    spatial = sum(naive_iou(first[frame], second[frame]) for frame in shared) / len(shared)
    return spatial * len(shared) / len(first.keys() | second.keys())


def naive_video_map(truth, detections, threshold):
    figures = {}
    for label in {t.label for t in truth}:
        free = [t for t in truth if t.label == label]
        count, hits = len(free), []
        for found in sorted((d for d in detections if d.label == label), key=lambda d: -d.score):
            best = max(free, key=lambda t: naive_tube_iou(found, t), default=None)
            hits.append(best is not None and naive_tube_iou(found, best) >= threshold)
            if hits[-1]:
                free.remove(best)
        figures[label] = naive_ap(hits, count)
    return figures


def random_tubes(random, count, near=None):
    tubes = []
    for _ in range(count):
        source = near[random.integers(len(near))] if near else None
        if source is None:
            frames = np.arange(random.integers(0, 5), random.integers(6, 12))
            boxes = np.tile([10.0, 10.0, 30.0, 50.0], (len(frames), 1)) + random.integers(0, 15, 2).tolist() * 2
            video, label = f"v{random.integers(3)}", int(random.integers(2))
        else:
            keep = np.sort(random.choice(len(source.frames), random.integers(1, len(source.frames) + 1), replace=False))
            frames, boxes = source.frames[keep], source.boxes_xyxy[keep] + random.normal(0, 2, (len(keep), 4))
            video, label = source.video, source.label
        tubes.append(Tube(video, label, frames, boxes, round(float(random.random()), 1)))
    return tubes


@pytest.mark.parametrize("seed", range(8))
def test_equals_plain_loops(seed):
    random = np.random.default_rng(seed)
    truth = random_tubes(random, 8)
    detections = random_tubes(random, 25, truth) + random_tubes(random, 5)
    assert tube_iou(detections[0], truth[0]) == pytest.approx(naive_tube_iou(detections[0], truth[0]), abs=1e-12)
    thresholds = (0.1, 0.2, 0.5, 0.75, *COCO_THRESHOLDS)
    for result in video_map(truth, detections, iou_thresholds=thresholds):
        expected = naive_video_map(truth, detections, result.iou_threshold)
        assert result.average_precision == pytest.approx(expected, abs=1e-9)
        assert result.mean_average_precision == pytest.approx(np.mean(list(expected.values())), abs=1e-9)


def test_half_a_tube_by_hand():
    truth = tube("v", 1, range(10), [[0, 0, 2, 2]] * 10)
    half = tube("v", 1, range(5), [[0, 0, 1, 2]] * 5, 0.9)
    assert tube_iou(truth, half) == 0.25
    assert [r.mean_average_precision for r in video_map([truth], [half])] == [1.0, 0.0, 0.0]
    assert [r.mean_average_precision for r in video_map([truth], [])] == [0.0] * 3
    assert [r.mean_average_precision for r in video_map([], [half])] == [None] * 3


def test_errors():
    with pytest.raises(AnnotationError, match="do not increase"):
        tube("v", 1, [1, 1], [[0, 0, 1, 1]] * 2)
    with pytest.raises(AnnotationError, match="one box a frame"):
        tube("v", 1, [1, 2], [[0, 0, 1, 1]])
    with pytest.raises(AnnotationError, match="NaN"):
        tube("v", 1, [1], [[0, 0, 1, np.nan]])
    with pytest.raises(OptionError, match="threshold"):
        video_map([], [], iou_thresholds=[0.0])
