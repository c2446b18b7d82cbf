"""JHMDB's protocol against a naive evaluator over dictionaries of frames, in float64."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from muybridge.data.annotations.table import AnnotationRows
from muybridge.data.annotations.tubes import TubeSet
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError
from muybridge.localize.clip_tubes import evaluate_clips, read_class_names
from muybridge.localize.results import LocalizeResult, Moment, People

ROOT = Path(__file__).parents[2]
THEIRS = LabelMap(("kick_ball", "sit", "walk"), (0, 1, 2))
OURS = LabelMap(("walk", "kick", "other", "sit"), (1, 2, 3, 4))
NAMES = {"kick_ball": "kick"}
SIZE = (320, 240)
RATE = 25
CLIPS = tuple(f"{THEIRS.names[i % 3]}/clip {i}" for i in range(9))


def clips(seed: int):
    """Boxes of one actor a clip, and of up to three people who were found in it, whose scores vary by key frame."""
    random = np.random.default_rng(seed)
    truth, found = {}, {}
    for number, name in enumerate(CLIPS):
        length = int(random.integers(6, 14))
        start = random.uniform(0.1, 0.4, 2)
        box = np.concatenate([start, start + random.uniform(0.2, 0.5, 2)])
        step = random.uniform(-0.01, 0.01, 2)
        path = np.stack([box + frame * np.tile(step, 2) for frame in range(length)])
        truth[name] = (number % 3, {frame: path[frame] for frame in range(length)})
        people = []
        for person in range(int(random.integers(0, 4))):
            shift = random.normal(0, 0.03 if person == 0 else 0.15, 4)
            seen = (path + shift).clip(0.01, 0.99).astype(np.float32)
            seen[:, 2:] = np.maximum(seen[:, 2:], seen[:, :2] + 0.01)
            people.append((person + 3, seen, random.random((3, 4)).astype(np.float32)))
        found[name] = (length, people)
    return truth, found


def result_of(name: str, length: int, people) -> LocalizeResult:
    """A look at each frame; key frames at three of them."""

    def at(frame: int, actions) -> People:
        boxes = np.array([seen[frame] for _, seen, _ in people], np.float32).reshape(-1, 4)
        ids = np.array([person for person, _, _ in people], np.int64)
        return People(boxes, ids, np.ones(len(ids), np.float32), actions)

    unknown = np.full((len(people), 4), np.nan, np.float32)
    looks = [Moment(frame / RATE, at(frame, unknown)) for frame in range(length)]
    every = (length - 1) / RATE / 2
    keys = [
        Moment(i * every, at(0, np.array([scores[i] for _, _, scores in people], np.float32).reshape(-1, 4)))
        for i in range(3)
    ]
    return LocalizeResult(name, OURS, *SIZE, RATE, every, looks, keys, np.arange(length) / RATE)


def truth_set(truth) -> TubeSet:
    rows = AnnotationRows("pixel", dict.fromkeys(truth, SIZE))
    for name, (label, boxes) in truth.items():
        for frame, box in boxes.items():
            rows.add(name, frame / RATE, box * np.array([*SIZE, *SIZE]), label=label, person=0)
    return TubeSet(rows.annotations(), THEIRS)


def iou(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if min(width, height) <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def naive_ap(hits: list[bool], count: int) -> float:
    recall = [sum(hits[: n + 1]) / count for n in range(len(hits))]
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    area, before = 0.0, 0.0
    for n, r in enumerate(recall):
        area += (r - before) * max(precision[n:])
        before = r
    return area


def naive(truth, found) -> dict[str, float]:
    ours = [OURS.names.index(NAMES.get(name, name)) for name in THEIRS.names]
    frame_ap, tube_ap = [], {t: [] for t in (0.2, 0.5, 0.75, *np.arange(0.5, 0.96, 0.05).round(2).tolist())}
    for label, column in enumerate(ours):
        true = {name: boxes for name, (its, boxes) in truth.items() if its == label}
        tubes = [
            (float(np.mean([float(s[column]) for s in scores])), name, seen.astype(np.float64))
            for name, (_, people) in found.items()
            for _, seen, scores in people
        ]
        tubes.sort(key=lambda tube: -tube[0])
        taken, hits = set(), []
        for score, name, seen in tubes:
            for frame, box in enumerate(seen):
                hit = name in true and (name, frame) not in taken and iou(box, true[name][frame]) >= 0.5
                taken |= {(name, frame)} if hit else set()
                hits.append((score, hit))
        frame_ap.append(naive_ap([hit for _, hit in hits], sum(map(len, true.values()))))
        for threshold, values in tube_ap.items():
            used, hits = set(), []
            for _, name, seen in tubes:
                overlap = np.mean([iou(b, true[name][f]) for f, b in enumerate(seen)]) if name in true else 0.0
                hit = name not in used and overlap >= threshold
                used |= {name} if hit else set()
                hits.append(hit)
            values.append(naive_ap(hits, len(true)))
    strict = [float(np.mean(tube_ap[t])) for t in np.arange(0.5, 0.96, 0.05).round(2).tolist()]
    return {
        "frame_mAP@0.5": float(np.mean(frame_ap)),
        **{f"video_mAP@{t:g}": float(np.mean(tube_ap[t])) for t in (0.2, 0.5, 0.75)},
        "video_mAP@0.5:0.95": float(np.mean(strict)),
    }


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_naive_evaluator(seed) -> None:
    truth, found = clips(seed)
    measured = evaluate_clips(
        lambda name: result_of(name, *found[name]), truth_set(truth), OURS, clips=CLIPS, classes=NAMES, quiet=True
    )
    expected = naive(truth, found)
    assert measured.numbers().keys() == expected.keys()
    for name, value in measured.numbers().items():
        assert math.isclose(value, expected[name], abs_tol=2e-3 if name.startswith("frame") else 1e-9), name
    assert 0.02 < expected["frame_mAP@0.5"] < 0.98  # the case is neither won nor lost
    assert json.loads(json.dumps(measured.to_json()))["clips"] == len(CLIPS)


def test_perfect_tracks_score_one_and_nobody_scores_none() -> None:
    truth, _ = clips(0)

    def perfect(name: str) -> LocalizeResult:
        label, boxes = truth[name]
        scores = np.zeros((3, 4), np.float32)
        scores[:, OURS.names.index(NAMES.get(THEIRS.names[label], THEIRS.names[label]))] = 1
        return result_of(name, len(boxes), [(0, np.stack(list(boxes.values())), scores)])

    measured = evaluate_clips(perfect, truth_set(truth), OURS, clips=CLIPS, classes=NAMES, quiet=True)
    assert set(measured.numbers().values()) == {1.0}
    nobody = evaluate_clips(
        lambda name: result_of(name, len(truth[name][1]), []), truth_set(truth), OURS, clips=CLIPS, classes=NAMES,
        quiet=True,
    )  # fmt: skip
    assert set(nobody.numbers().values()) == {0.0}


def test_only_the_clips_named_are_measured() -> None:
    truth, found = clips(1)
    some = CLIPS[:3]
    measured = evaluate_clips(
        lambda name: result_of(name, *found[name]), truth_set(truth), OURS, clips=some, classes=NAMES, quiet=True
    )
    expected = naive({n: truth[n] for n in some}, {n: found[n] for n in some})
    assert measured.tubes.mean_ap[0] == pytest.approx(expected["video_mAP@0.2"])


def test_a_class_that_the_model_does_not_know_is_named(tmp_path) -> None:
    truth, found = clips(1)
    with pytest.raises(AnnotationError, match=r"no label 'kick_ball'.*--classes"):
        evaluate_clips(lambda name: result_of(name, *found[name]), truth_set(truth), OURS, clips=CLIPS, quiet=True)
    (tmp_path / "names.tsv").write_text("kick_ball\tkick\n\nsit\tsit down\n")
    assert read_class_names(tmp_path / "names.tsv") == {"kick_ball": "kick", "sit": "sit down"}
    (tmp_path / "names.tsv").write_text("kick_ball kick\n")
    with pytest.raises(AnnotationError, match="line 1"):
        read_class_names(tmp_path / "names.tsv")


@pytest.mark.real_data
@pytest.mark.slow
def test_the_command_measures_the_test_part_of_a_split_on_clips(tmp_path, real_data, capsys) -> None:
    """One golfer, whose box is a guess, is of the test part; another clip, not there, is of the training part."""
    from muybridge.apps.cli import main

    names = [line.split("\t")[0] for line in (ROOT / "recipes/jhmdb_classes.tsv").read_text().splitlines()]
    clips = sorted((real_data / "clips/jhmdb/train/golf").glob("*.mp4"))
    golf = f"golf/{clips[0].stem}"
    content = {
        "labels": names,
        "gttubes": {
            golf: {str(names.index("golf")): [[[frame, 80, 40, 200, 230] for frame in range(1, 10)]]},
            "pour/none": {str(names.index("pour")): [[[1, 1, 1, 9, 9]]]},
        },
        "resolution": {golf: [240, 320], "pour/none": [240, 320]},
        "train_videos": [["pour/none"]],
        "test_videos": [[golf]],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit) as ended:
        main([
            "evaluate", "localizer", str(tmp_path / "truth.json"), "--videos", str(real_data / "clips/jhmdb/train"),
            "--protocol", "jhmdb", "--model", "people_actions", "--classes", str(ROOT / "recipes/jhmdb_classes.tsv"),
            "--out", str(tmp_path / "numbers.json"),
        ])  # fmt: skip
    assert not ended.value.code
    assert "JHMDB's protocol, 1 clip" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["clips"] == 1 and 0 <= numbers["frame_mAP@0.5"] <= 1
    golf_row = next(row for row in numbers["tubes"]["classes"] if row["name"] == "golf")
    assert golf_row["num_truth"] == 1 and golf_row["num_predictions"] >= 1
