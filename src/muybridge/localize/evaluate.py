"""How well people's actions are told: frame-mAP, video-mAP, and the worst errors as pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou

from muybridge.data.annotations.files import read_annotated_videos, read_boxes
from muybridge.data.annotations.table import NO_PERSON, AnnotationRows, Annotations
from muybridge.data.feature_bank import FeatureBank
from muybridge.data.label_maps import LabelMap
from muybridge.data.localization import (
    BankSpan,
    BoxesDataset,
    KeyFrame,
    KeyFrameSampling,
    collate_boxes,
    detected_boxes,
    key_frames,
    read_key_clip,
    why_none_detected,
)
from muybridge.data.person_motion import motion_at
from muybridge.data.sampling import Draw
from muybridge.data.video_files import VideoFile
from muybridge.errors import AnnotationError, OptionError
from muybridge.evaluation.ava import AvaReport, ava_protocol, evaluate_frames
from muybridge.evaluation.options import DEFAULT_AVA_PROTOCOL
from muybridge.evaluation.report_page import Facts, Part, Strip, Strips, Table, Text, write_report_page
from muybridge.evaluation.video_map import VideoReport, evaluate_tubes, tubes_of
from muybridge.localize.localizer import Localizer
from muybridge.localize.motion import PersonMotionReadout
from muybridge.localize.objective import batch_logits
from muybridge.localize.options import ONE_VIEW, EvaluateConfig, TestViews
from muybridge.localize.views import samplings, views_of_item
from muybridge.media.box_overlays import BoxLabel, draw_people
from muybridge.models.acar.loss import action_probabilities
from muybridge.people.tracks import Tracker
from muybridge.progress import progress_line

_SHOWN_ERRORS = 12
_ERROR_HEIGHT = 270
_MATCHING_IOU = 0.5

Logits = Callable[[Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes:
        frames: frame-mAP.
        tubes: video-mAP; None where the truth has no person ids, or too few moments for tubes.
        truth: the key frames that were measured on.
        predictions: rows of every person and class, with scores.
        boxes: whose boxes were used: "true boxes", or "detections".
    """

    frames: AvaReport
    tubes: VideoReport | None
    truth: Sequence[KeyFrame] = field(repr=False)
    predictions: Annotations = field(repr=False)
    boxes: str = "true boxes"

    def numbers(self) -> dict[str, float]:
        """The measured means by name; those that have none are left out."""
        numbers: dict[str, float] = {}
        if self.frames.mean_average_precision is not None:
            numbers["frame_mAP"] = self.frames.mean_average_precision
        if self.tubes is not None:
            for threshold, value in zip(self.tubes.thresholds, self.tubes.mean_ap, strict=True):
                if np.isfinite(value):
                    numbers[f"video_mAP@{threshold:g}"] = value
        return numbers


def truth_of(frames: Sequence[KeyFrame], labels: LabelMap) -> Annotations:
    """Key frames as rows with normalised boxes; moments without boxes are empty frames."""
    rows = AnnotationRows("normalised")
    for frame in frames:
        if not len(frame.boxes):
            rows.add_empty(frame.video, frame.seconds)
        for box, targets, person in zip(frame.boxes.tolist(), frame.targets, frame.people.tolist(), strict=True):
            for column in np.flatnonzero(targets).tolist():
                identity = None if person == NO_PERSON else person
                rows.add(frame.video, frame.seconds, box, label=labels.ids[column], person=identity)
    return rows.annotations()


def predict_key_frames(
    logits: Logits,
    frames: Sequence[KeyFrame],
    labels: LabelMap,
    sampling: KeyFrameSampling,
    *,
    banks: Mapping[str, FeatureBank] | None = None,
    span: BankSpan | None = None,
    batch_size: int = 4,
    views: TestViews = ONE_VIEW,
    motion: PersonMotionReadout | None = None,
    quiet: bool = False,
) -> list[NDArray[np.float32]]:
    """Probabilities (n, K) of the people of each key frame.

    Args:
        logits: (N, K) of a batch of `collate_boxes`.
        frames: with the boxes to use.
        views: how often and how each clip is seen.
        motion: has its say beside the logits; None where motion is not looked at.
    """
    scales = [BoxesDataset(frames, each, banks=banks, span=span) for each in samplings(views, sampling)]
    found: list[NDArray[np.float32]] = []
    with torch.no_grad(), progress_line("measuring", total=len(frames), unit="key frames", quiet=quiet) as line:
        for start in range(0, len(frames), batch_size):
            part = range(start, min(start + batch_size, len(frames)))
            seen = [
                logits(collate_boxes(items)).float().cpu()
                for data in scales
                for items in zip(*(views_of_item(views, data[Draw(index, index)]) for index in part), strict=True)
            ]
            together = torch.stack(seen).mean(0)
            if motion is not None:
                moving = [_motion_of(frames[index], motion) for index in part]
                together = motion.joined(together, torch.cat(moving))
            probabilities = action_probabilities(together, labels.exclusive).numpy()
            found += np.split(probabilities, np.cumsum([len(frames[index].boxes) for index in part])[:-1])
            line.advance(len(part))
    return found


def _motion_of(frame: KeyFrame, motion: PersonMotionReadout) -> Tensor:
    """(n, M) of the people of a key frame."""
    return motion_at(frame.file.path, frame.seconds, frame.boxes, motion.codebook)[0]


def prediction_rows(
    frames: Sequence[KeyFrame], probabilities: Sequence[NDArray[np.float32]], labels: LabelMap
) -> Annotations:
    """Rows of every person and class, in the order of key frames."""
    rows = AnnotationRows("normalised")
    for frame, each in zip(frames, probabilities, strict=True):
        for box, person, scores in zip(frame.boxes.tolist(), frame.people.tolist(), each.tolist(), strict=True):
            identity = None if person == NO_PERSON else person
            for column, score in enumerate(scores):
                rows.add(frame.video, frame.seconds, box, label=labels.ids[column], person=identity, score=score)
    found = rows.annotations()
    # Without a single row nobody can tell that these are predictions.
    return found if len(found) else replace(found, score=np.zeros(0))


def measure(
    logits: Logits,
    truth: Sequence[KeyFrame],
    labels: LabelMap,
    sampling: KeyFrameSampling,
    *,
    detections: Annotations | None = None,
    min_score: float = 0.85,
    protocol: str = DEFAULT_AVA_PROTOCOL,
    banks: Mapping[str, FeatureBank] | None = None,
    span: BankSpan | None = None,
    batch_size: int = 4,
    views: TestViews = ONE_VIEW,
    motion: PersonMotionReadout | None = None,
    quiet: bool = False,
) -> Evaluation:
    """Measure on key frames, with true boxes, or with the detections scored `min_score` or more.

    Arguments as of `predict_key_frames`.

    Raises:
        AnnotationError: there are no key frames, or detections without scores.
        OptionError: no such protocol.
    """
    if not truth:
        raise AnnotationError("There are no key frames to measure on. Give annotations of at least one moment.")
    rules = ava_protocol(protocol)
    asked, notes = list(truth), ()
    if detections is not None:
        asked = _with_boxes(truth, detected_boxes(truth, detections, min_score=min_score))
        if not any(len(frame.boxes) for frame in asked):
            notes = (why_none_detected(truth, detections, min_score=min_score),)
    found = predict_key_frames(
        logits,
        asked,
        labels,
        sampling,
        banks=banks,
        span=span,
        batch_size=batch_size,
        views=views,
        motion=motion,
        quiet=quiet,
    )
    predictions, annotated = prediction_rows(asked, found, labels), truth_of(truth, labels)
    frames = evaluate_frames(annotated, predictions, labels, protocol=rules)
    frames = replace(frames, notes=(*frames.notes, *notes))
    used = "true boxes" if detections is None else f"detections scored {min_score:g} or more"
    return Evaluation(frames, _tubes(annotated, predictions, labels), truth, predictions, used)


def _with_boxes(truth: Sequence[KeyFrame], boxes: Sequence[NDArray[np.float32]]) -> list[KeyFrame]:
    """The same moments with other boxes, tracked within each video."""
    result: list[KeyFrame] = []
    tracker, video = Tracker(rate=1.0), None
    for frame, each in zip(truth, boxes, strict=True):
        if frame.video != video:
            tracker, video = Tracker(rate=1.0), frame.video
        size = np.array([frame.file.width, frame.file.height] * 2, np.float32)
        people = tracker.update(each * size, np.ones(len(each), np.float32), seconds=frame.seconds)
        targets = np.zeros((len(each), frame.targets.shape[1]), np.float32)
        result.append(replace(frame, boxes=each, targets=targets, people=people))
    return result


def _tubes(truth: Annotations, predictions: Annotations, labels: LabelMap) -> VideoReport | None:
    if truth.person is None or predictions.person is None:
        return None
    steps = [np.diff(np.unique(truth.time_seconds[truth.video == video])) for video in range(len(truth.videos))]
    every = np.concatenate([*steps, np.zeros(0)])
    if not len(every):
        return None
    rate = 1 / float(np.median(every))
    return evaluate_tubes(tubes_of(truth, rate=rate), tubes_of(predictions, rate=rate), labels)


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Measure a model file on annotated videos.

    Raises:
        AnnotationError: a file breaks its format, names an unknown class, or a video that is not there.
        ModelMismatch: the model is for another task, or a bank is by another model.
    """
    if config.protocol == "jhmdb":
        raise OptionError("protocol=jhmdb watches whole clips: use muybridge.localize.clip_tubes.evaluate_jhmdb.")
    localizer = Localizer.from_pretrained(
        config.model,
        device=config.device,
        backbone_weights=config.backbone_weights,
        bank_writer=config.bank_writer,
    )
    labels = localizer.labels
    annotated, files = read_annotated_videos(config.annotations, labels, config.videos)
    truth = key_frames(annotated, labels, files, min_step_seconds=config.every_seconds)
    detections = None if config.boxes is None else read_boxes(config.boxes, [file.path for file in files.values()])
    opened = None if localizer.bank_span is None else open_banks(config.banks, files, localizer.bank_model)
    evaluation = measure(
        logits_of(localizer),
        truth,
        labels,
        localizer.sampling,
        detections=detections,
        min_score=0.85 if config.min_score is None else config.min_score,
        protocol=config.protocol,
        banks=opened,
        span=localizer.bank_span,
        batch_size=config.batch_size,
        views=config.views,
        motion=localizer.motion,
    )
    if config.report is not None:
        about = [("model", config.model), ("key frames", str(len(truth))), ("boxes", evaluation.boxes)]
        sides = ", ".join(map(str, config.views.scales or (localizer.sampling.short_side,)))
        about.append(("short sides seen", sides + (", each mirrored too" if config.views.flip else "")))
        parts = [*evaluation_parts(evaluation, labels), Facts("Measured on", about)]
        title = f"How well {Path(config.model).name} localizes {config.annotations.name}"
        write_report_page(config.report, title, parts)
    return evaluation


def open_banks(folder: Path | None, videos: Mapping[str, VideoFile], model: str | None) -> dict[str, FeatureBank]:
    """The feature bank of each video by its name.

    Raises:
        MissingInput: a video's bank is not there.
        ModelMismatch: a bank was written by another model.
        AnnotationError: no folder.
    """
    if folder is None:
        raise AnnotationError("This model reads feature banks. Give the folder that write-bank made with --banks.")
    return {name: FeatureBank(folder / f"{file.path.stem}.safetensors", model=model) for name, file in videos.items()}


def logits_of(localizer: Localizer) -> Logits:
    """A localizer as `measure` takes it."""

    def logits(batch: Mapping[str, Tensor]) -> Tensor:
        moved = {name: value.to(localizer.device) for name, value in batch.items()}
        return batch_logits(localizer.network, localizer.sampling, moved)

    return logits


def evaluation_parts(evaluation: Evaluation, labels: LabelMap) -> list[Part]:
    """The numbers, the protocol, a table of classes with bars, and the worst errors as pictures."""
    report, tubes = evaluation.frames, evaluation.tubes
    names = {"frame_mAP": "frame-mAP"}
    facts = [(names.get(n, n.replace("_", "-")), f"{100 * value:.2f} %") for n, value in evaluation.numbers().items()]
    if report.lowest is not None and report.highest is not None and report.lowest != report.highest:
        span = f"{100 * report.lowest:.2f} to {100 * report.highest:.2f} %"
        facts.append(("frame-mAP that the order of equal scores allows", span))
    by_class = {} if tubes is None else {one.id: one for one in tubes.classes}
    rows: list[list[str]] = []
    for one in sorted(report.classes, key=lambda c: (c.average_precision is None, c.average_precision or 0.0)):
        if one.average_precision is None and not one.num_truths:
            continue
        value = one.average_precision or 0.0
        bar = "█" * round(20 * value) + "░" * (20 - round(20 * value))
        row = [
            one.name,
            f"{100 * value:.1f} %",
            bar,
            str(one.num_truths),
            str(one.num_found),
            str(one.num_detections),
        ]
        if tubes is not None:
            row += [f"{100 * ap:.1f} %" if np.isfinite(ap) else "–" for ap in by_class[one.id].ap]
        rows.append(row)
    headers = ["class", "AP", "", "truths", "found", "predictions"]
    headers += [] if tubes is None else [f"video-AP@{threshold:g}" for threshold in tubes.thresholds]
    rules = [*report.rules, f"boxes: {evaluation.boxes}"]
    strips = worst_errors(evaluation, labels)
    return [
        Facts("Scores", facts or [("frame-mAP", "none: no class has ground truth")]),
        Table("Classes, worst first", headers, rows),
        *([Strips("Worst errors", strips)] if strips else []),
        *([Text("Notes", list(report.notes))] if report.notes else []),
        Text(f"Protocol {report.protocol}", rules),
    ]


def worst_errors(evaluation: Evaluation, labels: LabelMap) -> list[Strip]:
    """Pictures of those whose true action was thought least likely, with what was said instead."""
    predictions = evaluation.predictions
    if not len(predictions) or predictions.score is None:
        return []
    count = len(labels)
    moments: dict[tuple[str, float], list[int]] = {}
    for row in range(0, len(predictions), count):  # one person a stretch of K rows
        name = predictions.videos[predictions.video[row]]
        moments.setdefault((name, float(predictions.time_seconds[row])), []).append(row)
    errors: list[tuple[float, int, int, int, int]] = []
    for number, frame in enumerate(evaluation.truth):
        rows = moments.get((frame.video, frame.seconds), [])
        if not rows or not len(frame.boxes):
            continue
        boxes = torch.from_numpy(predictions.boxes_xyxy[rows].astype(np.float32))
        overlap, place = box_iou(torch.from_numpy(frame.boxes), boxes).max(1)
        for person in np.flatnonzero((overlap >= _MATCHING_IOU).numpy()).tolist():
            row = rows[int(place[person])]
            scores = predictions.score[row : row + count]
            wrong = int(np.where(frame.targets[person] > 0, -1, scores).argmax())
            done = np.flatnonzero(frame.targets[person]).tolist()
            errors += [(float(scores[column]), number, person, column, wrong) for column in done]
    strips: list[Strip] = []
    for score, number, person, column, wrong in sorted(errors)[:_SHOWN_ERRORS]:
        frame = evaluation.truth[number]

        image = _picture(frame, person, labels.names[column], score)
        caption = f"{frame.video} at {frame.seconds:.2f} s: {labels.names[column]} ({score:.2f}), "
        strips.append(Strip(caption + f"said sooner: {labels.names[wrong]}", image[None], height=image.shape[0]))
    return strips


def _picture(frame: KeyFrame, person: int, name: str, score: float) -> NDArray[np.uint8]:
    file = frame.file
    size = max(2, round(file.width * _ERROR_HEIGHT / file.height)), _ERROR_HEIGHT
    image = read_key_clip(file, np.array([frame.seconds]), size)[0].permute(1, 2, 0).numpy()
    left, top, right, bottom = (frame.boxes[person] * np.array([*size, *size], np.float32)).tolist()
    return draw_people(image, [BoxLabel((left, top, right, bottom), int(frame.people[person]), [(name, score)])])
