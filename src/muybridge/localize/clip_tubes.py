"""The official protocol of JHMDB: trimmed clips, watched from end to end by detector and localizer.

    clip ── people found and followed, actions at key frames ── a tube for each person and class
        ├── frame-mAP at IoU .5: every box of every frame, scored as its tube
        └── video-mAP at .2, .5, .75 and .5:.95 by the ACT rules (`muybridge.evaluation.video_map`)

Truth is the published `puppet_mask` folder or the JSON form of tubes. A clip is one action, so the score of a tube is
the mean of its class's probability over the clip's key frames, and the tube is the person's whole track.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from muybridge.counts import counted
from muybridge.data.annotations.files import read_boxes
from muybridge.data.annotations.jhmdb import RATE_FPS, read_jhmdb, read_jhmdb_split
from muybridge.data.annotations.table import NO_LABEL, AnnotationRows
from muybridge.data.annotations.tubes import TubeSet
from muybridge.data.label_maps import LabelMap
from muybridge.data.text_files import read_text, shown
from muybridge.data.video_files import VideoFolder
from muybridge.errors import AnnotationError
from muybridge.evaluation.ava import AvaReport, ava_protocol, evaluate_frames
from muybridge.evaluation.video_map import Tube, VideoReport, evaluate_tubes, tubes_of
from muybridge.localize.files import boxes_of
from muybridge.localize.localizer import Localizer
from muybridge.localize.options import EvaluateConfig, LocalizeConfig
from muybridge.localize.results import LocalizeResult
from muybridge.progress import progress_line

_WHOLE_CLIP = 1 << 30  # frames that a tube may bridge: a track is one tube, whatever frames lack a box
_THRESHOLDS = (0.2, 0.5, 0.75)
_LEAST_SCORE = 0.3  # a false box costs little where it scores low
# A detection is a hit once, whoever else is in the frame; frames without truth count.
_FRAME_RULES = "slowfast"


@dataclass(frozen=True, eq=False)
class ClipEvaluation:
    """What was measured by JHMDB's protocol.

    Attributes:
        frames: frame-mAP.
        tubes: video-mAP.
        clips: how many were watched.
    """

    frames: AvaReport = field(repr=False)
    tubes: VideoReport = field(repr=False)
    clips: int

    def numbers(self) -> dict[str, float]:
        """The measured means by name, shares of 1."""
        frames = self.frames.mean_average_precision
        numbers = {} if frames is None else {"frame_mAP@0.5": frames}
        for threshold, value in zip(self.tubes.thresholds, self.tubes.mean_ap, strict=True):
            numbers[f"video_mAP@{threshold:g}"] = value
        return {**numbers, "video_mAP@0.5:0.95": self.tubes.mean_ap_strict}

    def to_text(self) -> str:
        """The means in a line each, then the classes."""
        means = [f"{name.replace('_', '-')}: {100 * value:.2f} %" for name, value in self.numbers().items()]
        return "\n".join([f"JHMDB's protocol, {counted(self.clips, 'clip')}", *means, "", self.tubes.to_text()])

    def to_json(self) -> dict[str, object]:
        """All numbers."""
        about = {name: None if np.isnan(value) else value for name, value in self.numbers().items()}
        return {
            "clips": self.clips,
            **about,
            "frames": json.loads(self.frames.to_json()),
            "tubes": json.loads(self.tubes.to_json()),
        }


def evaluate_jhmdb(config: EvaluateConfig) -> ClipEvaluation:
    """Measure a model file by JHMDB's protocol.

    Raises:
        MissingInput, AnnotationError: truth, split, boxes or clips are not there or break their format.
        ModelMismatch: the model is for another task.
    """
    truth = read_jhmdb(config.annotations)
    chosen = _of_split(truth, config)
    paths = VideoFolder(config.videos).paths(chosen)
    boxes = None if config.boxes is None else read_boxes(config.boxes, list(paths.values()))
    localizer = Localizer.from_pretrained(
        config.model,
        detector=config.detector,
        device=config.device,
        backbone_weights=config.backbone_weights,
        views=config.views,
    )
    classes = read_class_names(config.classes) if config.classes else {}
    least = _LEAST_SCORE if config.min_score is None else config.min_score
    asked = LocalizeConfig(
        every=config.every_seconds or 0.4, look_every=1 / RATE_FPS, min_score=least, skip_still=False
    )

    def watch(name: str) -> LocalizeResult:
        given = None
        if boxes is not None:
            clip = truth.annotations.frame_sizes.get(name, (1, 1))
            given = boxes_of(boxes, Path(name).name, *clip)
        return localizer(paths[name], boxes=given, config=asked)

    return evaluate_clips(watch, truth, localizer.labels, clips=chosen, classes=classes)


def _of_split(truth: TubeSet, config: EvaluateConfig) -> tuple[str, ...]:
    """Names of the clips to watch."""
    every = truth.annotations.videos
    if config.splits is not None:
        test = read_jhmdb_split(config.splits, split=config.split)[1]
    elif truth.splits:
        if not 1 <= config.split <= len(truth.splits):
            raise AnnotationError(
                f"{config.annotations} has {counted(len(truth.splits), 'split')}, not {config.split}."
            )
        test = truth.splits[config.split - 1][1]
    else:
        return every
    chosen = tuple(name for name in every if name in set(test))
    if not chosen:
        raise AnnotationError(f"{config.annotations} has none of the clips of split {config.split}'s test part.")
    return chosen


def read_class_names(path: Path) -> dict[str, str]:
    """Classes of the truth to labels of the model, from lines of both with a tab between.

    Raises:
        AnnotationError: a line has no tab, or a class stands twice.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        name, tab, label = line.partition("\t")
        if not tab or name in found:
            raise AnnotationError(f"{path}, line {number}: {shown(line)}. Write each class once: CLASS, tab, LABEL.")
        found[name] = label.strip()
    return found


def evaluate_clips(
    watch: Callable[[str], LocalizeResult],
    truth: TubeSet,
    labels: LabelMap,
    *,
    clips: Collection[str],
    classes: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> ClipEvaluation:
    """Measure on clips of one action each.

    Args:
        watch: who does what in a clip, by its name.
        truth: frames numbered by `RATE_FPS`; boxes of all clips, those not named are left out.
        labels: the model's.
        classes: the model's labels for classes of the truth that are named differently.

    Raises:
        AnnotationError: the model has no label for a class.
    """
    columns = _columns(truth.labels, labels, classes or {})
    wanted = np.isin(truth.annotations.video, [i for i, name in enumerate(truth.annotations.videos) if name in clips])
    mine = truth.annotations.select(wanted)
    rows = AnnotationRows("normalised")
    tubes: list[Tube] = []
    sizes: dict[str, tuple[int, int]] = {}
    with progress_line("measuring", total=len(clips), unit="clips", quiet=quiet) as line:
        for name in clips:
            result = watch(name)
            sizes[name] = result.width, result.height
            for tube in _clip_tubes(name, result, truth.labels, columns):
                tubes.append(tube)
                for frame, box in zip(tube.frames.tolist(), tube.boxes_xyxy.tolist(), strict=True):
                    rows.add(name, float(frame), box, label=tube.label, score=tube.score)
            line.advance()
    normalised = mine.normalised(sizes)
    numbered = replace(normalised, time_seconds=np.rint(mine.time_seconds * RATE_FPS))
    predictions = rows.annotations()
    if not len(predictions):
        predictions = replace(predictions, score=np.zeros(0))
    frames = evaluate_frames(numbered, predictions, truth.labels, protocol=ava_protocol(_FRAME_RULES))
    true_tubes = tubes_of(numbered, rate=1.0, step=_WHOLE_CLIP)
    return ClipEvaluation(frames, evaluate_tubes(true_tubes, tubes, truth.labels, thresholds=_THRESHOLDS), len(clips))


def _columns(theirs: LabelMap, ours: LabelMap, classes: Mapping[str, str]) -> list[int]:
    """Of each class of the truth the model's column."""
    named = [classes.get(name, name) for name in theirs.names]
    missing = sorted(set(named) - set(ours.names))
    if missing:
        raise AnnotationError(
            f"The model has no label {shown(missing[0])}. Name its label for each class with --classes, or measure a "
            "model that was trained on them."
        )
    return [ours.names.index(name) for name in named]


def _clip_tubes(name: str, result: LocalizeResult, theirs: LabelMap, columns: list[int]) -> Iterable[Tube]:
    """One tube for each person and class: their boxes on all frames, fractions of the frame."""
    tracks = result.tracks(threshold=2.0)  # a row for each person and frame, whatever they do
    if tracks.person is None:
        return
    frames = np.rint(tracks.time_seconds * result.rate).astype(np.int64)
    size = np.array([result.width, result.height] * 2, np.float64)
    for person in np.unique(tracks.person).tolist():
        of_person = np.flatnonzero((tracks.person == person) & (tracks.label == NO_LABEL))
        scores = [key.people.actions[key.people.ids == person] for key in result.key_frames]
        known = np.concatenate([*scores, np.zeros((0, len(result.labels)), np.float32)])
        known = known[~np.isnan(known).any(axis=1)]
        if not len(known):
            continue
        mean = known.mean(axis=0)
        for label, column in zip(theirs.ids, columns, strict=True):
            yield Tube(name, label, frames[of_person], tracks.boxes_xyxy[of_person] / size, float(mean[column]))
