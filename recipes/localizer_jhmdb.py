"""JHMDB's frame-mAP on its training part, as far as it can be told: 21 classes, five folds by group.

    python recipes/localizer_jhmdb.py

The official boxes are not at hand, so that truth is the box of FastestDet of who acts in the middle frame of a clip,
each looked at on contact sheets; clips in which it was of another, or none was found, are left out. A linear head, at
the minimum of its loss, tells the 21 classes and, as one more, those who do not act; it reads what the frozen image
model of the built-in localizer makes of the clip (kept by `builtin_localizer.py`).

"True boxes" asks it of the true box alone. "Detector's boxes" asks it of all that the built-in detector finds there:
the score is the class's probability times the detector's, and the first from IoU 0.5 on is right.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from builtin_localizer import FOLDS, MARGIN, linear_at_minimum
from localizer_labels import SAME, acting, is_wrong
from localizer_moments import Floats, Kept, Video, kept_file, load, pictures_of, videos
from torch import Tensor
from torchvision.ops import box_iou

from muybridge.models.acar.actors import Actors
from muybridge.models.acar.head import actor_vectors
from muybridge.models.acar.image_trunk import joined
from muybridge.people.detector import Detector
from muybridge.people.detectors import load_detector

RIDGE = 1e-3
LEAST = 0.05  # of the detector's score
AWAY = 0.3  # who overlaps less with who acts is another


@dataclass(frozen=True, eq=False)
class Clip:
    """The middle frame of a clip.

    Attributes:
        group: film.
        action: its class, as a number.
        true: (C,) of the true box.
        others: (m, C) of people who do not act.
        found: (n, C) of the detector's boxes; scores and overlaps with the true one (n,).
    """

    group: str
    action: int
    true: Tensor
    others: Tensor
    found: Tensor
    scores: Tensor
    overlaps: Tensor


def clip_of(video: Video, kept: Kept, action: int, data: Path, detector: Detector) -> Clip:
    """All that is asked about it."""
    row = acting(kept, 0)
    boxes = torch.from_numpy(kept.boxes[0])
    pictures = [picture for _, picture in pictures_of(data / video.name)]
    picture = pictures[len(pictures) // 2]
    height, width = picture.shape[:2]
    seen = detector(np.ascontiguousarray(picture)[None])[0]
    fractions = (seen.boxes / np.array([width, height, width, height], np.float32)).clip(0, 1)
    real = (fractions[:, 2:] > fractions[:, :2]).all(1)
    found = torch.from_numpy(fractions[real])
    away = box_iou(boxes[row : row + 1], boxes)[0] < AWAY
    return Clip(
        video.group,
        action,
        vectors(kept, kept.boxes[0][row : row + 1])[0],
        vectors(kept, kept.boxes[0][away.numpy()]),
        vectors(kept, fractions[real]),
        torch.from_numpy(seen.scores[real]),
        box_iou(boxes[row : row + 1], found)[0],
    )


def vectors(kept: Kept, boxes: Floats) -> Tensor:
    """(n, C) of boxes in the only moment."""
    maps = joined(kept.fine[0].float()[None], kept.coarse[0].float()[None])
    return actor_vectors(maps, Actors.from_clips([torch.from_numpy(boxes)]), 7, margin=MARGIN)


def fit(inputs: Tensor, classes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Weights (count, C) and bias of multinomial regression with a ridge."""
    return linear_at_minimum(
        inputs,
        count,
        lambda logits: torch.nn.functional.cross_entropy(logits, classes),
        ridge=RIDGE,
        iterations=100,
        tolerance=1e-9,
    )


def average_precision(scores: Sequence[float], right: Sequence[bool], positives: int) -> float:
    """Area under the precision envelope of answers, of which some positives may lack."""
    hits = torch.tensor(right, dtype=torch.float)[torch.tensor(scores).argsort(descending=True)]
    at = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    envelope = at.flip(0).cummax(0).values.flip(0)
    return float((envelope * hits).sum() / positives)


def folds(groups: Sequence[str]) -> dict[str, int]:
    """Of each group."""
    names = sorted(set(groups))
    order = np.random.default_rng(0).permutation(len(names)).tolist()
    return {names[index]: place % FOLDS for place, index in enumerate(order)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/localizer_moments"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    with Path(__file__).with_name("jhmdb_classes.tsv").open(encoding="utf-8") as file:
        names = [row[0] for row in csv.reader(file, delimiter="\t")]
    detector = load_detector("person", min_score=LEAST, device="cpu")
    clips: list[Clip] = []
    left_out = 0
    for video in videos(args.data):
        if video.set != "jhmdb" or video.far:
            continue
        kept = load(kept_file(args.out, video))
        if not len(kept.boxes[0]) or is_wrong(video):
            left_out += 1
            continue
        clips.append(clip_of(video, kept, names.index(video.action), args.data, detector))
    fold = folds([clip.group for clip in clips])
    print(f"{len(clips)} clips of {len(fold)} groups; {left_out} have no true box")
    boxed: dict[str, tuple[list[float], list[bool]]] = defaultdict(lambda: ([], []))
    right, reached = 0, 0
    for number in range(FOLDS):
        seen = [clip for clip in clips if fold[clip.group] != number]
        inputs = torch.cat([part for clip in seen for part in (clip.true[None], clip.others)])
        classes = [each for clip in seen for each in (clip.action, *[len(names)] * len(clip.others))]
        weight, bias = fit(inputs, torch.tensor(classes), len(names) + 1)
        for clip in (clip for clip in clips if fold[clip.group] == number):
            chances = (clip.true @ weight.T + bias)[:-1].softmax(0)
            right += int(chances.argmax() == clip.action)
            for column, name in enumerate(names):
                boxed[f"true {name}"][0].append(float(chances[column]))
                boxed[f"true {name}"][1].append(column == clip.action)
            reached += int(bool((clip.overlaps >= SAME).any()))
            answers = (clip.found @ weight.T + bias).softmax(1)[:, :-1] * clip.scores[:, None]
            for column, name in enumerate(names):
                taken = False
                for row in answers[:, column].argsort(descending=True).tolist():
                    hit = column == clip.action and not taken and float(clip.overlaps[row]) >= SAME
                    taken = taken or hit
                    boxed[f"found {name}"][0].append(float(answers[row, column]))
                    boxed[f"found {name}"][1].append(hit)
    counts = [sum(clip.action == column for clip in clips) for column in range(len(names))]
    for kind, title in (("true", "true boxes"), ("found", "detector's boxes")):
        each = [average_precision(*boxed[f"{kind} {name}"], counts[column]) for column, name in enumerate(names)]
        print(f"{title}: frame-mAP at IoU 0.5 {100 * np.mean(each):.1f}")
        print("  ", {name: round(100 * value) for name, value in zip(names, each, strict=True)})
    print(
        f"class of the true box right {100 * right / len(clips):.1f}; detector reaches it {reached} of {len(clips)}"
    )


if __name__ == "__main__":
    main()
