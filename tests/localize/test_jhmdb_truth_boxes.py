"""The boxes of JHMDB that were drawn by eye, and what the recipe measures by them."""

import argparse
import csv
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from muybridge.localize.clip_tubes import evaluate_clips
from muybridge.localize.results import LocalizeResult, Moment, People
from muybridge.media.video_reader import VideoReader
from muybridge.pretrained import built_in_codebook

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "recipes/jhmdb_truth_boxes.tsv"


@pytest.fixture
def recipes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    before = set(sys.modules)
    import jhmdb_truth_boxes
    import localizer_jhmdb

    yield argparse.Namespace(boxes=jhmdb_truth_boxes, measured=localizer_jhmdb)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(ROOT / "recipes")):
            del sys.modules[name]


def rows_of_table():
    with TABLE.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_table_holds_150_clips_of_21_classes_with_boxes_inside_the_frame():
    rows = rows_of_table()
    frames = {}
    for row in rows:
        x1, y1, x2, y2 = (float(row[side]) for side in ("x1", "y1", "x2", "y2"))
        assert x1 >= 0 and x1 + 10 < x2 <= 320 and y1 >= 0 and y1 + 10 < y2 <= 240, row
        frames.setdefault(row["clip"], []).append(int(row["frame"]))
    counts = Counter(clip.partition("/")[0] for clip in frames)
    assert sorted(counts.values()) == [7] * 18 + [8] * 3
    for clip, numbers in frames.items():
        assert numbers[0] == 0 and set(np.diff(numbers[:-1])) <= {10} and 5 < numbers[-1] - numbers[-2] <= 15, clip


def test_the_table_holds_the_clips_that_are_drawn_and_their_key_frames(recipes, real_data):
    keys = recipes.boxes.truth()
    assert list(keys) == recipes.boxes.drawn(real_data)
    for clip in list(keys)[::40]:
        with VideoReader(real_data / recipes.boxes.FOLDER / clip) as reader:
            assert list(keys[clip]) == recipes.boxes.key_frames(sum(1 for _ in reader))


def test_boxes_go_evenly_between_key_frames(recipes):
    keys = {0: np.array([0, 10, 20, 30]), 10: np.array([10, 10, 40, 80])}
    np.testing.assert_allclose(recipes.boxes.box_at(keys, 4), [4, 10, 28, 50])
    np.testing.assert_allclose(recipes.boxes.box_at(keys, 10), keys[10])


@pytest.mark.parametrize(("share", "frame_map"), [(1.0, 1.0), (0.6, 0.6)])
def test_true_boxes_and_classes_reach_all_by_the_protocol(recipes, tmp_path, share, frame_map):
    """Of two clips of two classes; then with the person followed for the first six of ten frames only."""
    table = tmp_path / "boxes.tsv"
    lines = ["clip\tframe\tx1\ty1\tx2\ty2"]
    for clip in ("hop/a.mp4", "skip/b.mp4"):
        lines += [f"{clip}\t0\t10\t20\t50\t90", f"{clip}\t9\t28\t20\t68\t90"]
    table.write_text("\n".join(lines) + "\n")
    module = recipes.measured
    labels = module.LabelMap(("hop", "skip"), (0, 1))
    size = np.array([100, 100, 100, 100], np.float32)
    seconds = np.arange(10) / 25
    clips, results = {}, {}
    for action, (clip, keys) in enumerate(module.truth(table).items()):
        looks = [Moment(time, module.one_person(module.box_at(keys, f) / size)) for f, time in enumerate(seconds)]
        result = LocalizeResult(clip, labels, 100, 100, 25.0, 0.4, looks, [looks[0], looks[9]], seconds)
        clips[clip] = argparse.Namespace(true=result, action=action)
        vectors = [20 * torch.eye(3)[[action]]] * 2
        head = (torch.eye(3), torch.zeros(3))
        seen = result if share == 1 else gone_after(result, 6)
        results[clip] = module.told(seen, vectors, [torch.zeros(1, 3)] * 2, head, labels)
    truth = module.tubes_of_truth(clips, ("hop", "skip"), table)
    numbers = evaluate_clips(results.__getitem__, truth, labels, clips=results, quiet=True).numbers()
    assert numbers["frame_mAP@0.5"] == pytest.approx(frame_map)
    assert numbers["video_mAP@0.5"] == 1.0  # 0.6 of the frames, each wholly
    assert numbers["video_mAP@0.75"] == (1.0 if share == 1 else 0.0)


def gone_after(result, frames):
    """The person has left by then."""
    nobody = People.nobody(1)
    looks = [look if place < frames else Moment(look.seconds, nobody) for place, look in enumerate(result.looks)]
    return replace(result, looks=looks)


def test_a_frame_counts_only_where_box_and_class_are_right(recipes, capsys):
    """Three frames of two classes: right; right class, box aside; box right, other class unless motion is heard."""
    module = recipes.measured

    def shot(action, said, moves, overlap):
        vector, motion = 20 * torch.eye(3)[said], 30 * torch.eye(3)[moves]
        alone, nobody = vector[None], torch.zeros(0, 2, 3)
        found = alone, torch.ones(1), torch.tensor([overlap])
        return module.Shot("film", action, vector, alone[:0], torch.stack([motion, motion]), nobody, *found)

    shots = [shot(0, 0, 0, 0.9), shot(0, 0, 2, 0.4), shot(1, 0, 1, 0.9)]
    readout = module.PersonMotionReadout(built_in_codebook(), torch.eye(3), torch.zeros(3), torch.ones(3))
    module.frame_figures(shots, {"film": (torch.eye(3), torch.zeros(3))}, {"film": readout}, ["hop", "skip"])
    said = capsys.readouterr().out
    assert "of 3: class of the true box right 2, with motion 3" in said
    assert "reached 2, its class right 1 without motion" in said
    assert "skip for hop 1" in said
    assert "class known: frame-mAP at IoU 0.5 75.0" in said  # hop 1 of 2, skip 1 of 1
