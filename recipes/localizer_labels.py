"""Who does what in the moments of `localizer_moments.py`: what sets say of their clips, and what was seen by eye.

A person's pose is one of POSES; other actions go together. What is not known of a person is not trained on: a
golfer's pose is not given, so that neither "stand" nor "sit" is right or wrong of him, but he does not walk.

With `sports`, people of ball games, races and dances come with it, those who bend in JHMDB, and what is certain of
poses beside other actions. Of whom no pose is the right word, such as one who kneels, dives or skates, it is then
known that it is none of them: UNNAMED, or "stand?" where to stand would be no error.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from localizer_moments import SPORTS, Floats, Kept, Video
from torch import Tensor
from torchvision.ops import box_iou

from muybridge.data.label_maps import LabelMap

POSES = (
    "stand", "sit", "lie", "walk", "run", "jump", "skip", "gallop sideways", "bend", "climb stairs", "sit down",
    "stand up", "turn round", "fall",
)  # fmt: skip
OTHERS = (
    "be kicked", "be punched", "be pushed", "brush hair", "catch", "clap", "golf", "hug", "jumping jack", "kick",
    "pick up", "point", "pour", "pull up", "punch", "push", "shake hands", "shoot a ball", "shoot a bow",
    "shoot a gun", "swing a bat", "throw", "wave",
)  # fmt: skip
NAMES = POSES + OTHERS
LABELS = LabelMap(NAMES, tuple(range(1, len(NAMES) + 1)), (tuple(range(len(POSES))),))
# Of whom only so much is known: they do not move from where they stand or sit.
STAYING = {"brush hair", "clap", "golf", "point", "pour", "shake hands", "shoot a bow", "shoot a gun", "wave", "hug"}
STILL = {"stand", "sit"}
# With sports: who does these has one of the named poses, if any.
SPORTS_POSES = {
    "shoot a ball": {"stand", "jump"},
    "swing a bat": {"stand"},
    "pull up": set[str](),
}
# Seen too seldom or in too few films to be learned: as labels they were never said of groups not seen.
UNNAMED = {"kneel or squat", "dive", "ride a bicycle", "none"}
HERE = Path(__file__).parent
_NEAR = 0.1  # seconds by which a moment may miss the stretch in which something is done
SAME = 0.5  # IoU from which on a box found is that of a label


@dataclass(frozen=True, eq=False)
class Moment:
    """The people of a moment.

    Attributes:
        boxes: (n, 4) fractions of the frame.
        targets, known: (n, K) of 0 and 1; what is not known does not count.
        place: among the video's kept moments.
    """

    video: Video
    place: int
    boxes: Floats
    targets: Tensor
    known: Tensor

    @property
    def group(self) -> str:
        """What must be on one side of a split."""
        return f"{self.video.set} {self.video.group}"


@cache
def _rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def moments(video: Video, kept: Kept, *, sports: bool = False) -> Iterator[Moment]:
    """Those in which something is known of somebody; others found there come with them, nothing known."""
    for place, seconds in enumerate(kept.seconds.tolist()):
        said = _said(video, kept, place, seconds, sports=sports)
        if not said:
            continue
        targets, known = (torch.zeros(len(kept.boxes[place]), len(NAMES)) for _ in range(2))
        for row, labels in said.items():
            targets[row], known[row] = targets_of(labels, sports=sports)
        yield Moment(video, place, kept.boxes[place], targets, known)


def targets_of(labels: set[str], *, sports: bool = False) -> tuple[Tensor, Tensor]:
    """(K,) what a person does, and (K,) of what it is known whether they do it.

    Args:
        labels: names; "NAME?" for what they may be doing; one of UNNAMED, or doubtful poses, for none of the others.
    """
    targets = torch.tensor([float(name in labels) for name in NAMES])
    doubtful = {label[:-1] for label in labels if label.endswith("?")}
    known = torch.tensor([float(name not in doubtful) for name in NAMES])
    if not labels & {*POSES, *UNNAMED} and not doubtful & set(POSES):
        possible = [STILL for label in labels if label in STAYING]
        if sports:
            possible += [SPORTS_POSES[label] for label in labels if label in SPORTS_POSES]
        for column, name in enumerate(POSES):
            known[column] = float(bool(possible) and not any(name in poses for poses in possible))
    return targets, known


def _said(video: Video, kept: Kept, place: int, seconds: float, *, sports: bool) -> dict[int, set[str]]:
    """Labels of people by their row."""
    boxes = kept.boxes[place]
    if not len(boxes):
        return {}
    if video.set == "ut_interaction" and video.action != "nothing":
        return _roles(video, kept, place, seconds)
    if video.set == "falls":
        name = video.name.removeprefix("clips/falls/")
        rows = [row for row in _rows("falls_actions.tsv") if row["clip"] == name]
        now = {row["label"] for row in rows if float(row["start"]) <= seconds <= float(row["end"])}
        return {acting(kept, place): now} if now else {}
    if video.action and video.action != "nothing":
        if is_wrong(video):
            return {}
        of_set = [row for row in _rows("action_labels.tsv") if row["set"] == video.set]
        labels = {row["label"] for row in of_set if row["class"] == video.action}
        if video.set == "jhmdb":
            clip = video.name.removeprefix("clips/jhmdb/train/")
            tables = ("jhmdb_poses.tsv", "jhmdb_bent_poses.tsv") if sports else ("jhmdb_poses.tsv",)
            labels |= {row["label"] for table in tables for row in _rows(table) if row["clip"] == clip}
        return {acting(kept, place): labels} if labels else {}
    said: dict[int, set[str]] = {}
    for row in _rows("sports_people.tsv" if video.set in SPORTS else "film_people.tsv"):
        if row["film"] == video.name and abs(float(row["seconds"]) - seconds) < 0.01:
            box = torch.tensor([[float(row[edge]) for edge in ("x1", "y1", "x2", "y2")]])
            overlap = box_iou(box, torch.from_numpy(boxes))[0]
            if float(overlap.max()) >= SAME:
                said[int(overlap.argmax())] = set(row["labels"].split(";"))
    return said


def _roles(video: Video, kept: Kept, place: int, seconds: float) -> dict[int, set[str]]:
    """Who acts and who is acted on, of the two largest."""
    boxes = kept.boxes[place]
    row = next((r for r in _rows("ut_interaction_roles.tsv") if video.name.endswith(r["clip"])), None)
    if row is None or not float(row["start"]) - _NEAR <= seconds <= float(row["end"]) + _NEAR:
        return {}
    name = video.action.replace("_", " ")
    two = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(1))[: 1 if row["actor"] == "alone" else 2]
    two = sorted(two.tolist(), key=lambda i: float(boxes[i, 0] + boxes[i, 2]))
    if row["actor"] in ("alone", "both"):
        return {i: {name} for i in two}
    if len(two) < 2:
        return {}
    actor, other = two if row["actor"] == "left" else two[::-1]
    done = {"kick": "be kicked", "punch": "be punched", "push": "be pushed"}[name]
    return {actor: {name}, other: {done}}


def acting(kept: Kept, place: int) -> int:
    """The one who acts in a clip of one action: sure, large, and moving."""
    boxes = kept.boxes[place]
    size = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    return int(np.argmax(kept.scores[place] ** 1.5 * size * (0.35 + kept.moving[place])))


def is_wrong(video: Video) -> bool:
    """Whether the box chosen in a clip of JHMDB, seen by eye, is of another or of nobody."""
    return video.name in _wrong_boxes()


@cache
def _wrong_boxes() -> frozenset[str]:
    lines = (HERE / "jhmdb_wrong_boxes.txt").read_text(encoding="utf-8").split("\n")
    return frozenset(f"clips/jhmdb/train/{line}" for line in lines if line)
