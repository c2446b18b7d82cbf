"""JHMDB's frame-mAP and video-mAP on its training part, as far as they can be told: 21 classes, five folds by group.

    python recipes/localizer_jhmdb.py

The official boxes and the test part are not at hand. A linear head, at the minimum of its loss, tells the 21 classes
and, as one more, those who do not act; it reads what the frozen image model of the built-in localizer makes of a
clip. Beside it a linear classifier tells the same from how each person moves (`localizer_motion.py`); "with motion"
its log-odds are added. Both are fitted to the middle frame of each clip, as kept by `builtin_localizer.py`, where the
box of who acts is FastestDet's, looked at on contact sheets; clips in which it was of another, or none was found, are
not fitted to.
Everybody is told by a head that has seen nobody of the group. It is measured

- on the 150 clips of `jhmdb_truth_boxes.py`, whose boxes were drawn by eye: frame by frame at their key frames, by
  all that the built-in detector finds there, or by the true box alone; and by JHMDB's own protocol, from end to end,
  by the people who are followed (`evaluate localizer --protocol jhmdb`), or along the true boxes;
- as before those boxes were there: on the middle frames that it is fitted to, by the boxes that it is fitted to. This
  flatters.

An answer's score is the class's probability times the detector's score, and the first from IoU 0.5 on is right.
"Class known" is what the boxes found would reach if the class of who acts were told of each. What the image model
makes of the key frames is worked out once and kept, a quarter of an hour of one core; following takes a third of it.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from builtin_localizer import FOLDS, MARGIN, MOTION_PENALTY, build, linear_at_minimum
from jhmdb_truth_boxes import FOLDER, TABLE, box_at, truth
from localizer_labels import SAME, acting, is_wrong
from localizer_moments import RGB, Floats, Kept, Video, kept_file, load, pictures_of, save, videos, watched
from localizer_motion import motion_of, watched_motion
from person_labels import held_out
from torch import Tensor
from torchvision.ops import box_iou

from muybridge.data.annotations.jhmdb import RATE_FPS
from muybridge.data.annotations.table import AnnotationRows
from muybridge.data.annotations.tubes import TubeSet
from muybridge.data.label_maps import LabelMap
from muybridge.localize.clip_tubes import ClipEvaluation, evaluate_clips
from muybridge.localize.motion import PersonMotionReadout, fit_person_motion
from muybridge.localize.results import LocalizeResult, Moment, People
from muybridge.localize.video_localizer import PeopleLocalizer
from muybridge.models.acar.actors import Actors
from muybridge.models.acar.head import actor_vectors
from muybridge.models.acar.image_trunk import ImageTrunk, joined
from muybridge.people.detector import Detector
from muybridge.people.detectors import load_detector
from muybridge.pretrained import built_in_codebook

RIDGE = 1e-3
LEAST = 0.05  # of the detector's score, frame by frame
FOLLOWED = 0.3  # and of people who are followed, as `evaluate localizer` has it
AWAY = 0.3  # who overlaps less with who acts is another
Head = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame of a clip.

    Attributes:
        group: film.
        action: its class, as a number.
        true: (C,) of the true box.
        others: (m, C) of people who do not act.
        true_motion: (2, M) how they move, own and in a mirror; others_motion (m, 2, M).
        found: (n, C) of the detector's boxes; scores and overlaps with the true one (n,).
    """

    group: str
    action: int
    true: Tensor
    others: Tensor
    true_motion: Tensor
    others_motion: Tensor
    found: Tensor
    scores: Tensor
    overlaps: Tensor


def shot(
    group: str,
    action: int,
    kept: Kept,
    place: int,
    boxes: Floats,
    motion: Tensor,
    picture: RGB,
    detector: Detector,
) -> Shot:
    """All that is asked about a kept moment.

    Args:
        boxes: (1 + m, 4), fractions of the frame: the true one, and of others who do not act.
        motion: (1 + m, 2, M).
    """
    height, width = picture.shape[:2]
    seen = detector(np.ascontiguousarray(picture)[None])[0]
    fractions = (seen.boxes / np.array([width, height, width, height], np.float32)).clip(0, 1)
    real = (fractions[:, 2:] > fractions[:, :2]).all(1)
    found = fractions[real]
    return Shot(
        group,
        action,
        vectors(kept, place, boxes[:1])[0],
        vectors(kept, place, boxes[1:]),
        motion[0],
        motion[1:],
        vectors(kept, place, found),
        torch.from_numpy(seen.scores[real]),
        box_iou(torch.from_numpy(boxes[:1]), torch.from_numpy(found))[0],
    )


def middle_shot(video: Video, kept: Kept, action: int, args: argparse.Namespace, detector: Detector) -> Shot:
    """The middle frame of a clip, with FastestDet's box of who acts."""
    row = acting(kept, 0)
    boxes = torch.from_numpy(kept.boxes[0])
    away = torch.nonzero(box_iou(boxes[row : row + 1], boxes)[0] < AWAY)[:, 0].tolist()
    pictures = [picture for _, picture in pictures_of(args.data / video.name)]
    picture = pictures[len(pictures) // 2]
    kept_motion = kept_file(args.out / "motion", video)
    motion = motion_of(kept_motion, video, kept, {0: kept.boxes[0]}, args.data)[0]
    rows = [row, *away]
    return shot(video.group, action, kept, 0, kept.boxes[0][rows], motion[rows], picture, detector)


def vectors(kept: Kept, place: int, boxes: Floats) -> Tensor:
    """(n, C) of boxes in a kept moment."""
    maps = joined(kept.fine[place].float()[None], kept.coarse[place].float()[None])
    return actor_vectors(maps, Actors.from_clips([torch.from_numpy(boxes)]), 7, margin=MARGIN)


# --- clips whose boxes were drawn ---


@dataclass(frozen=True, eq=False)
class Watched:
    """A clip whose true boxes are known, from end to end.

    Attributes:
        shots: its key frames.
        found, true: people who are followed, and the one who acts, on all frames; their key frames tell no actions.
        found_vectors, true_vectors: (n, C) of the people of each key frame.
        found_motion, true_motion: (n, M) of the same.
    """

    group: str
    action: int
    shots: list[Shot]
    found: LocalizeResult
    true: LocalizeResult
    found_vectors: list[Tensor]
    true_vectors: list[Tensor]
    found_motion: list[Tensor]
    true_motion: list[Tensor]


def watch(
    video: Video, keys: Mapping[int, Floats], action: int, kept: Kept, data: Path, detector: Detector
) -> Watched:
    """Look for people at all key frames and follow them through the clip.

    Args:
        keys: box (4,) in pixels of each key frame.
        kept: of the key frames, in order.
    """
    pictures = list(pictures_of(data / video.name))
    height, width = pictures[0][1].shape[:2]
    size = np.array([width, height, width, height], np.float32)
    looked = PeopleLocalizer(detector, device="cpu")(data / video.name, look_every=1 / RATE_FPS, min_score=FOLLOWED)
    tracks = looked.tracks(threshold=0.0)
    numbers = np.rint(tracks.time_seconds * looked.rate)
    people: list[People] = []
    for frame in keys:
        rows = np.flatnonzero(numbers == frame) if len(tracks) else np.zeros(0, np.int64)
        if not len(rows) or tracks.person is None or tracks.score is None:
            people.append(People.nobody(1))
            continue
        boxes, nothing = (tracks.boxes_xyxy[rows] / size).astype(np.float32), np.zeros((len(rows), 1), np.float32)
        people.append(People(boxes, tracks.person[rows], tracks.score[rows].astype(np.float32), nothing))
    seconds = [time for time, _ in pictures]
    everybody = {
        place: (seconds[frame], np.concatenate([box[None] / size, people[place].boxes]))
        for place, (frame, box) in enumerate(keys.items())
    }
    motion = watched_motion(data / video.name, everybody)
    shots = [
        shot(video.group, action, kept, place, box[None] / size, motion[place][:1], pictures[frame][1], detector)
        for place, (frame, box) in enumerate(keys.items())
    ]
    found = replace(looked, key_frames=[Moment(seconds[f], who) for f, who in zip(keys, people, strict=True)])
    alone = [Moment(time, one_person(box_at(keys, frame) / size)) for frame, time in enumerate(seconds)]
    true = replace(looked, looks=alone, key_frames=[alone[frame] for frame in keys])
    return Watched(
        video.group,
        action,
        shots,
        found,
        true,
        [vectors(kept, place, who.boxes) for place, who in enumerate(people)],
        [each.true[None] for each in shots],
        [motion[place][1:, 0].float() for place in range(len(keys))],
        [motion[place][:1, 0].float() for place in range(len(keys))],
    )


def one_person(box: Floats) -> People:
    """Somebody who is there for certain."""
    return People(box[None], np.zeros(1, np.int64), np.ones(1, np.float32), np.zeros((1, 1), np.float32))


def told(
    result: LocalizeResult, of_people: Sequence[Tensor], odds: Sequence[Tensor], head: Head, labels: LabelMap
) -> LocalizeResult:
    """With the actions of its key frames, by the vectors (n, C) and log-odds of motion (n, K) of their people."""
    weight, bias = head
    keys: list[Moment] = []
    for key, inputs, more in zip(result.key_frames, of_people, odds, strict=True):
        chances = (inputs @ weight.T + bias + more).softmax(1)[:, :-1].numpy()
        keys.append(Moment(key.seconds, replace(key.people, actions=chances * key.people.scores[:, None])))
    return replace(result, labels=labels, key_frames=keys)


def watch_all(args: argparse.Namespace, names: Sequence[str], detector: Detector) -> dict[str, Watched]:
    """By name; maps of key frames that are not kept yet are worked out and kept."""
    of_name = {video.name: video for video in near_clips(args.data)}
    folder = args.out / "jhmdb_truth"
    built = None
    found: dict[str, Watched] = {}
    for clip, keys in truth(args.truth).items():
        video = of_name[f"{FOLDER}/{clip}"]
        path = kept_file(folder, video)
        if not path.exists():
            built = built or build("baseline")
            assert isinstance(built.network.trunk, ImageTrunk)
            times = [time for time, _ in pictures_of(args.data / video.name)]
            moments = replace(video, seconds=tuple(times[frame] for frame in keys))
            save(path, watched(moments, args.data, built.network.trunk, built.sampling, detector))
        found[clip] = watch(video, keys, names.index(video.action), load(path), args.data, detector)
    return found


def tubes_of_truth(clips: Mapping[str, Watched], names: Sequence[str], table: Path) -> TubeSet:
    """Boxes of who acts on every frame, as `evaluate_clips` takes them."""
    rows = AnnotationRows("pixel")
    for clip, keys in truth(table).items():
        result = clips[clip].true
        rows.frame_sizes[clip] = result.width, result.height
        for frame in range(len(result.frame_seconds)):
            box = box_at(keys, frame).tolist()
            rows.add(clip, frame / RATE_FPS, box, label=clips[clip].action, person=0)
    return TubeSet(rows.annotations(), LabelMap(tuple(names), tuple(range(len(names)))))


# --- fitting and measuring ---


def fit(shots: Sequence[Shot], count: int) -> Head:
    """Weights (count + 1, C) and bias of multinomial regression with a ridge, the last for those who do not act."""
    inputs = torch.cat([part for each in shots for part in (each.true[None], each.others)])
    classes = torch.tensor([which for each in shots for which in (each.action, *[count] * len(each.others))])
    return linear_at_minimum(
        inputs,
        count + 1,
        lambda logits: torch.nn.functional.cross_entropy(logits, classes),
        ridge=RIDGE,
        iterations=100,
        tolerance=1e-9,
    )


def fit_motion(shots: Sequence[Shot], count: int) -> PersonMotionReadout:
    """Of the same people, as seen and in a mirror."""
    motion = torch.cat([part for each in shots for part in (each.true_motion[None], each.others_motion)])
    classes = torch.tensor([which for each in shots for which in (each.action, *[count] * len(each.others))])
    told = motion[:, 0].any(dim=1)
    motion, classes = motion[told], classes[told].repeat(2)
    return fit_person_motion(
        built_in_codebook(),
        torch.cat([motion[:, 0], motion[:, 1]]),
        torch.nn.functional.one_hot(classes, count + 1).float(),
        lambda logits: torch.nn.functional.cross_entropy(logits, classes),
        exclusive=[range(count + 1)],
        penalty=MOTION_PENALTY,
    )


def average_precision(scores: Sequence[float], right: Sequence[bool], positives: int) -> float:
    """Area under the precision envelope of answers, of which some positives may lack."""
    hits = torch.tensor(right, dtype=torch.float)[torch.tensor(scores).argsort(descending=True)]
    at = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    envelope = at.flip(0).cummax(0).values.flip(0)
    return float((envelope * hits).sum() / positives)


def folds(groups: Iterable[str]) -> dict[str, int]:
    """Of each group."""
    names = sorted(set(groups))
    order = np.random.default_rng(0).permutation(len(names)).tolist()
    return {names[index]: place % FOLDS for place, index in enumerate(order)}


def near_clips(data: Path) -> list[Video]:
    """All clips of JHMDB, as they are."""
    return [video for video in videos(data) if video.set == "jhmdb" and not video.far]


def frame_figures(
    shots: Sequence[Shot],
    heads: Mapping[str, Head],
    readouts: Mapping[str, PersonMotionReadout],
    names: Sequence[str],
) -> None:
    """Print frame-mAP at IoU 0.5, and what is missed.

    Args:
        heads, readouts: of each group, those that have not seen it.
    """
    count = len(names)
    answered: dict[str, list[tuple[list[float], list[bool]]]] = {
        kind: [([], []) for _ in names]
        for kind in ("true boxes", "true boxes, with motion", "detector's boxes", "class known")
    }
    right, right_by_motion, reached, both = 0, 0, 0, 0
    taken_for: Counter[tuple[str, str]] = Counter()
    for each in shots:
        weight, bias = heads[each.group]
        logits = each.true @ weight.T + bias
        of_true = logits[:-1].softmax(0)
        with_motion = (logits + readouts[each.group].log_odds(each.true_motion[:1].float())[0])[:-1].softmax(0)
        right_by_motion += int(with_motion.argmax() == each.action)
        right += int(of_true.argmax() == each.action)
        of_found = (each.found @ weight.T + bias).softmax(1)[:, :-1]
        if bool((each.overlaps >= SAME).any()):
            reached += 1
            said = int(of_found[each.overlaps.argmax()].argmax())
            both += int(said == each.action)
            if said != each.action:
                taken_for[names[each.action], names[said]] += 1
        known = torch.nn.functional.one_hot(torch.tensor(each.action), count).float()
        for kind, chances, overlaps in (
            ("true boxes", of_true[None], torch.ones(1)),
            ("true boxes, with motion", with_motion[None], torch.ones(1)),
            ("detector's boxes", of_found * each.scores[:, None], each.overlaps),
            ("class known", known * each.scores[:, None], each.overlaps),
        ):
            for column in range(count):
                hit_before = False
                for row in chances[:, column].argsort(descending=True).tolist():
                    hit = column == each.action and not hit_before and float(overlaps[row]) >= SAME
                    hit_before = hit_before or hit
                    answered[kind][column][0].append(float(chances[row, column]))
                    answered[kind][column][1].append(hit)
    counts = Counter(each.action for each in shots)
    for kind, of_classes in answered.items():
        aps = [average_precision(*of_class, counts[column]) for column, of_class in enumerate(of_classes)]
        print(f"  {kind}: frame-mAP at IoU 0.5 {100 * np.mean(aps):.1f}")
        if kind != "class known":
            print("    ", {name: round(100 * value) for name, value in zip(names, aps, strict=True)})
    print(f"  of {len(shots)}: class of the true box right {right}, with motion {right_by_motion}")
    print(f"  reached {reached}, its class right {both} without motion")
    print("  taken for another most:", [f"{a} for {b} {n}" for (a, b), n in taken_for.most_common(12)])


def protocol_figures(title: str, evaluation: ClipEvaluation) -> None:
    print(f"  {title}:", {name: round(100 * value, 1) for name, value in evaluation.numbers().items()})
    per_class = {
        one.name: round(100 * one.ap[evaluation.tubes.thresholds.index(0.5)]) for one in evaluation.tubes.classes
    }
    print("     video AP at 0.5", per_class)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/localizer_moments"))
    parser.add_argument(
        "--truth", type=Path, default=TABLE, help="boxes of who acts, as `jhmdb_truth_boxes.py` reads"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    with Path(__file__).with_name("jhmdb_classes.tsv").open(encoding="utf-8") as file:
        names = [row[0] for row in csv.reader(file, delimiter="\t")]
    detector = load_detector("person", min_score=LEAST, device="cpu")
    fold = folds(video.group for video in near_clips(args.data))
    shots: list[Shot] = []
    for video in near_clips(args.data):
        kept = load(kept_file(args.out, video))
        if len(kept.boxes[0]) and not is_wrong(video):
            shots.append(middle_shot(video, kept, names.index(video.action), args, detector))
    seen = [[each for each in shots if fold[each.group] != number] for number in range(FOLDS)]
    of_fold = [fit(part, len(names)) for part in seen]
    motion_of_fold = [fit_motion(part, len(names)) for part in seen]
    heads = {group: of_fold[number] for group, number in fold.items()}
    readouts = {group: motion_of_fold[number] for group, number in fold.items()}

    clips = watch_all(args, names, detector)
    print(f"{len(clips)} clips with boxes drawn by eye, {len({each.group for each in clips.values()})} groups")
    drawn = [each for clip in clips.values() for each in clip.shots]
    frame_figures(drawn, heads, readouts, names)
    unseen = [each for each in drawn if held_out(f"jhmdb/{each.group}")]
    reached = sum(bool((each.overlaps >= SAME).any()) for each in unseen)
    print(f"  of {len(unseen)} in films that the detector was not trained on it reaches {reached}")
    true_tubes = tubes_of_truth(clips, names, args.truth)
    kinds = [(of_truth, moving) for of_truth in (False, True) for moving in (False, True)]
    for of_truth, moving in kinds:
        title = "along the true boxes" if of_truth else "people who are followed"
        title += ", with motion" if moving else ""
        results: dict[str, LocalizeResult] = {}
        for name, clip in clips.items():
            part = (clip.true_vectors, clip.true_motion) if of_truth else (clip.found_vectors, clip.found_motion)
            odds = [readouts[clip.group].log_odds(each) * moving for each in part[1]]
            result = clip.true if of_truth else clip.found
            results[name] = told(result, part[0], odds, heads[clip.group], true_tubes.labels)
        evaluation = evaluate_clips(results.__getitem__, true_tubes, true_tubes.labels, clips=results, quiet=True)
        protocol_figures(title, evaluation)
    left_out = len(near_clips(args.data)) - len(shots)
    print(f"{len(shots)} middle frames with the boxes that heads are fitted to; {left_out} clips have none")
    frame_figures(shots, heads, readouts, names)


if __name__ == "__main__":
    main()
