"""Frame-mAP of AVA: PASCAL VOC average precision at IoU 0.5 over the classes that occur in the ground truth.

Public evaluators of the same name differ, so each is a stated protocol, and a report prints the one it followed.
A detection goes to the ground truth of its class that it overlaps most; if a better-scored one had it before, it is a
false positive, even where another ground truth would be free. Equal scores stand in the order that the published code
gives them (`muybridge.evaluation.row_order`); what any other order could have made of them is reported beside.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from muybridge.counts import counted
from muybridge.data.annotations.ava import read_ava, read_frame_list
from muybridge.data.annotations.table import NO_PERSON, Annotations, look_like_pixels
from muybridge.data.label_maps import LabelMap, read_label_map
from muybridge.errors import AnnotationError, OptionError
from muybridge.evaluation.average_precision import (
    average_precision,
    average_precision_bounds,
    descending_as_published,
)
from muybridge.evaluation.matching import best_overlaps, first_claims
from muybridge.evaluation.options import DEFAULT_AVA_PROTOCOL
from muybridge.evaluation.row_order import WithinFrame, listed_rows

Integers = NDArray[np.int64]
UnlistedFrames = Literal["false positives", "ignored", "ignored unless listed"]


@dataclass(frozen=True)
class AvaProtocol:
    """What one public evaluator does with rows before it counts them.

    Attributes:
        name: as given on the command line.
        rows_per_frame: the best-scored rows kept of a frame, all classes together; None keeps all.
        minimum_score: rows below it are dropped.
        uses_exclusions: whether excluded timestamps are removed.
        unlisted_frames: what detections are in a frame that has no ground truth box; "ignored unless listed" counts
            them where the frame has any row in the ground truth, be it a two-column one.
        within_frame: how equal scores of a frame follow each other, see `muybridge.evaluation.row_order`.
        iou_threshold: overlap from which on a detection has found its ground truth.
    """

    name: str
    rows_per_frame: int | None
    minimum_score: float
    uses_exclusions: bool
    unlisted_frames: UnlistedFrames
    within_frame: WithinFrame
    iou_threshold: float = 0.5

    def rules(self) -> list[str]:
        """The protocol in words, one rule each."""
        return [
            f"average precision at IoU {self.iou_threshold}, mean over the classes with ground truth",
            "all rows of a frame count"
            if self.rows_per_frame is None
            else f"the {self.rows_per_frame} best-scored rows of a frame count, all classes together",
            *([f"rows scored under {self.minimum_score} are dropped"] if self.minimum_score > -np.inf else []),
            "excluded timestamps are removed" if self.uses_exclusions else "excluded timestamps are not used",
            f"detections where a frame has no ground truth: {self.unlisted_frames}",
            "boxes without area are dropped from the predictions",
            "equal scores stand as numpy's sort of the scores, reversed, leaves them, frames in the order of the file"
            + (", their rows as in the program's heap" if self.within_frame == "heap" else ""),
        ]


AVA_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        AvaProtocol("ava-2019", 50, -np.inf, True, "false positives", "heap"),
        AvaProtocol("activitynet-2020", 50, -np.inf, False, "ignored unless listed", "heap"),
        AvaProtocol("slowfast", None, -np.inf, True, "false positives", "file"),
        AvaProtocol("mmaction2", None, 0.002, True, "ignored", "file"),
    )
}


@dataclass(frozen=True)
class ClassScore:
    """One line of the table.

    Attributes:
        average_precision: in [0, 1]; None where the class has no ground truth.
        num_detections: after all rules but the matching.
        lowest, highest: what the average precision can be at the least and at the most, whatever the order of equal
            scores in the file.
    """

    id: int
    name: str
    average_precision: float | None
    num_truths: int
    num_detections: int
    num_found: int
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class AvaReport:
    """What was measured, and by which rules.

    Attributes:
        mean_average_precision: in [0, 1]; None when no class has ground truth.
        lowest, highest: what it can be at the least and at the most, whatever the order of equal scores in the file.
            Where they tie at the limit of a frame, the bounds are a little wider than what can be reached.
        classes: in the order of the label map.
        num_degenerate: predictions dropped for want of area.
        notes: what a reader of the figure should know about the files.
    """

    protocol: str
    rules: tuple[str, ...]
    mean_average_precision: float | None
    classes: tuple[ClassScore, ...]
    num_truth_frames: int
    num_prediction_frames: int
    num_degenerate: int
    lowest: float | None
    highest: float | None
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """All of it as one JSON object."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        """A plain-text table."""
        width = max((len(entry.name) for entry in self.classes), default=5)
        lines = [f"{'id':>4}  {'class':<{width}}  {'AP':>8}  {'truths':>7}  {'found':>7}  {'detections':>10}"]
        for entry in self.classes:
            figure = "-" if entry.average_precision is None else f"{entry.average_precision:.4f}"
            lines.append(
                f"{entry.id:>4}  {entry.name:<{width}}  {figure:>8}  {entry.num_truths:>7}"
                f"  {entry.num_found:>7}  {entry.num_detections:>10}"
            )
        total = "none: no class has ground truth"
        if self.mean_average_precision is not None:
            present = sum(entry.num_truths > 0 for entry in self.classes)
            total = f"{self.mean_average_precision:.6f} over {present} of {counted(len(self.classes), 'class')}"
        lines += ["", f"frame-mAP {total}"]
        if self.lowest != self.highest:
            lines.append(f"the order of equal scores allows {self.lowest:.6f} to {self.highest:.6f}")
        lines += [f"protocol {self.protocol}:"]
        lines += [f"  - {rule}" for rule in self.rules]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def evaluate_ava(
    truth: Path,
    predictions: Path,
    labels: Path,
    excluded: Path | None = None,
    protocol: str = DEFAULT_AVA_PROTOCOL,
) -> AvaReport:
    """Score a CSV of predictions against a CSV of ground truth, both in AVA's format.

    Args:
        truth: rows with 7 or 8 columns, two-column rows for frames with nobody.
        predictions: rows with the score in the eighth column.
        labels: label map; rows of classes that it lacks are left out.
        excluded: `video,seconds` rows.
        protocol: one of AVA_PROTOCOLS.

    Raises:
        MissingInput: a file is not there.
        AnnotationError: a file breaks its format.
        OptionError: no such protocol.
    """
    chosen = ava_protocol(protocol)
    return evaluate_frames(
        read_ava(truth, eighth="person"),
        read_ava(predictions, eighth="score"),
        read_label_map(labels),
        excluded=[] if excluded is None else read_frame_list(excluded),
        protocol=chosen,
    )


def ava_protocol(name: str) -> AvaProtocol:
    """The protocol of that name, or OptionError."""
    if name not in AVA_PROTOCOLS:
        raise OptionError(f"protocol is {name!r}. Choose one of {', '.join(AVA_PROTOCOLS)}.")
    return AVA_PROTOCOLS[name]


def evaluate_frames(
    truth: Annotations,
    predictions: Annotations,
    labels: LabelMap,
    *,
    excluded: list[tuple[str, float]] | None = None,
    protocol: AvaProtocol = AVA_PROTOCOLS[DEFAULT_AVA_PROTOCOL],
) -> AvaReport:
    """Frame-mAP of predictions, which must have scores; times are compared to the microsecond.

    Raises:
        AnnotationError: predictions without scores, or boxes in different units.
    """
    if predictions.score is None:
        raise AnnotationError("The predictions have no scores, so they cannot be ranked. Give each row one.")
    if truth.unit != predictions.unit:
        raise AnnotationError(f"Truth boxes are {truth.unit}, predicted ones {predictions.unit}. Make them alike.")
    frames = _FrameNumbers(truth, predictions, excluded or [])
    excluded_frames = frames.of_list(excluded or [])
    truth_rows, truth_frame = _truth_rows(truth, labels, frames, excluded_frames, protocol)
    score = predictions.score
    rows, frame = _candidate_rows(truth, predictions, labels, frames, truth_frame, excluded_frames, protocol)
    num_frames = len(np.unique(frame))
    boxes = predictions.boxes_xyxy
    listed = listed_rows(
        frame,
        score[rows],
        predictions.label[rows],
        boxes[rows],
        limit=protocol.rows_per_frame,
        within=protocol.within_frame,
    )
    # Spare rows come last, so that they claim what no counted one does.
    places = np.concatenate([listed.counted, listed.spare])
    is_counted = np.arange(len(places)) < len(listed.counted)
    is_certain = np.append(~listed.undecided, np.zeros(len(listed.spare), bool))
    has_area = (boxes[rows[places], :2] < boxes[rows[places], 2:]).all(axis=1)
    num_degenerate = int(np.count_nonzero(~has_area & is_counted))
    places, is_counted, is_certain = places[has_area], is_counted[has_area], is_certain[has_area]
    rows, frame = rows[places], frame[places]
    column, truth_column = labels.columns(predictions.label[rows]), labels.columns(truth.label[truth_rows])
    found = first_claims(
        boxes,
        rows,
        frame * len(labels) + column,
        truth.boxes_xyxy[truth_rows],
        truth_frame * len(labels) + truth_column,
        iou_threshold=protocol.iou_threshold,
    )
    notes = [*_notes(truth, predictions, labels, num_degenerate, bool(excluded), protocol)]
    reason = None if found.any() else why_nothing_matches(truth, predictions, iou_threshold=protocol.iou_threshold)
    notes += [] if reason is None else [reason]
    classes = _class_scores(labels, _Ranked(column, score[rows], found, is_counted, is_certain), truth_column)
    return AvaReport(
        protocol=protocol.name,
        rules=tuple(protocol.rules()),
        mean_average_precision=_mean([entry.average_precision for entry in classes]),
        classes=classes,
        num_truth_frames=len(np.unique(truth_frame)),
        num_prediction_frames=num_frames,
        num_degenerate=num_degenerate,
        lowest=_mean([entry.lowest for entry in classes]),
        highest=_mean([entry.highest for entry in classes]),
        notes=tuple(notes),
    )


def _mean(figures: list[float | None]) -> float | None:
    present = [figure for figure in figures if figure is not None]
    return float(np.mean(present)) if present else None


class _FrameNumbers:
    """Numbers every (video, microsecond) that occurs, without gaps between the times, so that nothing collides."""

    def __init__(self, truth: Annotations, predictions: Annotations, excluded: list[tuple[str, float]]) -> None:
        names = dict.fromkeys((*truth.videos, *predictions.videos))
        self._videos = {name: number for number, name in enumerate(names)}
        listed = np.array([time for _, time in excluded], np.float64)
        columns = (truth.time_seconds, truth.empty_time_seconds, predictions.time_seconds, listed)
        # Rows of one frame mostly stand together: dropping repeats first spares sorting millions of rows.
        runs = [
            times[np.append(True, times[1:] != times[:-1])[: len(times)]] for times in map(_microseconds, columns)
        ]
        self._times = np.unique(np.concatenate(runs))

    def of(self, video: NDArray[np.int32], time_seconds: NDArray[np.float64], videos: tuple[str, ...]) -> Integers:
        """(N,) frame numbers; `videos` are the names that `video` points into."""
        numbers = np.array([self._videos[name] for name in videos], np.int64)
        place = np.searchsorted(self._times, _microseconds(time_seconds))
        return numbers[video] * len(self._times) + place if len(video) else place

    def of_list(self, frames: list[tuple[str, float]]) -> Integers:
        """Frame numbers of those whose video occurs."""
        known = [(name, time) for name, time in frames if name in self._videos]
        video = np.arange(len(known), dtype=np.int32)
        return self.of(video, np.array([time for _, time in known], np.float64), tuple(name for name, _ in known))


def _microseconds(time_seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.rint(time_seconds * 1e6)


def _truth_rows(
    truth: Annotations, labels: LabelMap, frames: _FrameNumbers, excluded_frames: Integers, protocol: AvaProtocol
) -> tuple[NDArray[np.intp], Integers]:
    """Rows of the ground truth that count, as the evaluator lists them, and their frames."""
    rows = np.flatnonzero(np.isin(truth.label, labels.ids))
    frame = frames.of(truth.video[rows], truth.time_seconds[rows], truth.videos)
    if protocol.uses_exclusions and len(excluded_frames):
        kept = ~np.isin(frame, excluded_frames)
        rows, frame = rows[kept], frame[kept]
    # The programs take the eighth column, a person, for a score here too.
    score = np.ones(len(rows)) if truth.person is None else truth.person[rows].astype(np.float64)
    score[score == NO_PERSON] = 1.0
    listed = listed_rows(
        frame, score, truth.label[rows], truth.boxes_xyxy[rows], limit=None, within=protocol.within_frame
    )
    return rows[listed.counted], frame[listed.counted]


def _candidate_rows(
    truth: Annotations,
    predictions: Annotations,
    labels: LabelMap,
    frames: _FrameNumbers,
    truth_frame: Integers,
    excluded_frames: Integers,
    protocol: AvaProtocol,
) -> tuple[NDArray[np.intp], Integers]:
    """Rows of the predictions that the protocol looks at, before the limit a frame, and their frames."""
    assert predictions.score is not None
    rows = np.flatnonzero(np.isin(predictions.label, labels.ids) & (predictions.score >= protocol.minimum_score))
    frame = frames.of(predictions.video[rows], predictions.time_seconds[rows], predictions.videos)
    kept = np.ones(len(rows), bool)
    if protocol.uses_exclusions and len(excluded_frames):
        kept &= ~np.isin(frame, excluded_frames)
    if protocol.unlisted_frames == "ignored":
        kept &= np.isin(frame, truth_frame)
    elif protocol.unlisted_frames == "ignored unless listed":
        # Listed is a frame with any row: of a class outside the label map too.
        listed = frames.of(truth.video, truth.time_seconds, truth.videos)
        empty = frames.of(truth.empty_video, truth.empty_time_seconds, truth.videos)
        kept &= np.isin(frame, np.concatenate([listed, empty]))
    return rows[kept], frame[kept]


@dataclass(frozen=True)
class _Ranked:
    """Detections in the evaluator's order: their columns, scores and whether they found a ground truth (all (R,)).

    `is_counted` is false where only the order of equal scores kept a row out, `is_certain` where it could.
    """

    column: Integers
    score: NDArray[np.float64]
    found: NDArray[np.bool_]
    is_counted: NDArray[np.bool_]
    is_certain: NDArray[np.bool_]

    def of(self, rows: NDArray[np.intp]) -> "_Ranked":
        return _Ranked(
            self.column[rows], self.score[rows], self.found[rows], self.is_counted[rows], self.is_certain[rows]
        )


def _class_scores(labels: LabelMap, ranked: _Ranked, truth_column: Integers) -> tuple[ClassScore, ...]:
    num_truths = np.bincount(truth_column, minlength=len(labels))
    ends = np.cumsum(np.bincount(ranked.column, minlength=len(labels)))
    by_class = np.split(np.argsort(ranked.column, kind="stable"), ends[:-1])
    scores: list[ClassScore] = []
    for number, (name, class_id) in enumerate(zip(labels.names, labels.ids, strict=True)):
        mine = ranked.of(by_class[number])
        counted = mine.of(np.flatnonzero(mine.is_counted))
        truths = int(num_truths[number])
        lowest, highest = _bounds(mine, truths)
        ap = average_precision(counted.found[descending_as_published(counted.score)], truths)
        scores.append(
            ClassScore(
                id=class_id,
                name=name,
                average_precision=ap if truths else None,
                num_truths=truths,
                num_detections=len(counted.score),
                num_found=int(np.count_nonzero(counted.found)),
                lowest=lowest if truths else None,
                highest=highest if truths else None,
            )
        )
    return tuple(scores)


def _bounds(mine: _Ranked, num_truths: int) -> tuple[float, float]:
    """Lowest and highest AP: at the limit of a frame, none or all of the rows that can find something count."""
    lowest, _ = average_precision_bounds(mine.score, mine.found & mine.is_certain, num_truths)
    useful = mine.is_certain | mine.found
    _, highest = average_precision_bounds(mine.score[useful], mine.found[useful], num_truths)
    return lowest, highest


def _notes(
    truth: Annotations,
    predictions: Annotations,
    labels: LabelMap,
    num_degenerate: int,
    has_excluded: bool,
    protocol: AvaProtocol,
) -> tuple[str, ...]:
    notes: list[str] = []
    for name, rows in (("true", truth), ("predicted", predictions)):
        beyond = (rows.label < min(labels.ids)) | (rows.label > max(labels.ids))
        if len(rows) and not np.isin(rows.label, labels.ids).any():
            notes.append(
                f"no {name} box is of a class in the label map: its ids are {_span(np.array(labels.ids))}, "
                f"those of the boxes {_span(rows.label)}"
            )
        elif beyond.any():
            notes.append(
                f"of classes beyond the label map's ids, {_span(np.array(labels.ids))}: "
                f"{counted(int(beyond.sum()), f'{name} box')}, such as of "
                f"{rows.label[beyond][0]}"
            )
    if num_degenerate:
        notes.append(f"dropped: {counted(num_degenerate, 'predicted box')} without area")
    if has_excluded and not protocol.uses_exclusions:
        notes.append(f"a list of excluded timestamps was given; {protocol.name} does not use one")
    strangers = sorted(set(predictions.videos) - set(truth.videos))
    if strangers:
        notes.append(
            f"not in the ground truth: {counted(len(strangers), 'predicted video')}, such as {strangers[0]!r}"
        )
    reach = [look_like_pixels(rows) for rows in (truth, predictions)]
    if len(truth) and len(predictions) and (reach[0] is None) != (reach[1] is None):
        name, far = ("true", reach[0]) if reach[0] is not None else ("predicted", reach[1])
        notes.append(
            f"{name} boxes reach {far:g}: they look like pixels; divide them by the frame, as the others are"
        )
    return tuple(notes)


def _span(numbers: NDArray[np.int64] | NDArray[np.float64]) -> str:
    return f"{numbers.min():g} to {numbers.max():g}"


def why_nothing_matches(
    truth: Annotations, predictions: Annotations, *, iou_threshold: float = AvaProtocol.iou_threshold
) -> str | None:
    """What was compared with what, where no prediction found anything, in a sentence; None where a side is empty."""
    if not len(truth) or not len(predictions):
        return None
    seen = [{rows.videos[index] for index in np.unique(rows.video).tolist()} for rows in (truth, predictions)]
    both = sorted(seen[0] & seen[1])
    if not both:
        named = [", ".join(map(repr, sorted(names)[:3])) for names in seen]
        return f"nothing matches: the truth is of the videos {named[0]}, the predictions of {named[1]}"
    frames = _FrameNumbers(truth, predictions, [])
    true_frame = frames.of(truth.video, truth.time_seconds, truth.videos)
    frame = frames.of(predictions.video, predictions.time_seconds, predictions.videos)
    if not np.isin(frame, true_frame).any():
        spans = [_span(rows.of_video(both[0]).time_seconds) for rows in (truth, predictions)]
        return (
            f"nothing matches: no predicted second is one of the truth, which has {both[0]!r} at {spans[0]} s, "
            f"the predictions at {spans[1]} s. Equal frames must have equal times, to the microsecond"
        )
    best, iou = best_overlaps(predictions.boxes_xyxy, frame, truth.boxes_xyxy, true_frame)
    covers = iou >= iou_threshold
    if not covers.any():
        row = int(np.flatnonzero(best >= 0)[0])
        boxes = [np.round(box, 3).tolist() for box in (truth.boxes_xyxy[best[row]], predictions.boxes_xyxy[row])]
        return (
            f"nothing matches: no predicted box overlaps a true one of its frame by {iou_threshold:g}; "
            f"{predictions.videos[predictions.video[row]]!r} has at {predictions.time_seconds[row]:g} s the true box "
            f"{boxes[0]}, predicted is {boxes[1]}"
        )
    given, right = predictions.label[covers], truth.label[best[covers]]
    if (given == right).any():
        return (
            f"nothing matches: of {counted(int((given == right).sum()), 'predicted box')} over a true one of "
            "the same class, the frame is excluded, the class is not in the label map, or the protocol drops them"
        )
    shifted = {shift: int(np.count_nonzero(given + shift == right)) for shift in (1, -1)}
    shift = max(shifted, key=lambda each: shifted[each])
    hint = f"; ids {'one higher' if shift > 0 else 'one lower'} would fit {shifted[shift]} of them"
    return (
        f"nothing matches: {counted(len(given), 'predicted box')} over a true one of another class; the truth has "
        f"the ids {_span(truth.label)}, the predictions {_span(predictions.label)}{hint if shifted[shift] else ''}"
    )
