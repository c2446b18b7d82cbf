"""Frame-mAP of AVA: PASCAL VOC average precision at IoU 0.5 over the classes that occur in the ground truth.

Public evaluators of the same name differ, so each is a stated protocol, and a report prints the one it followed.
A detection goes to the ground truth of its class that it overlaps most; if a better-scored one had it before, it is a
false positive, even where another ground truth would be free. Where published code leaves an order to its sorting
routine, equal scores and equal overlaps keep the order of their file.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from muybridge.data.annotations.ava import read_ava, read_frame_list
from muybridge.data.annotations.table import Annotations
from muybridge.data.label_maps import LabelMap, read_label_map
from muybridge.errors import AnnotationError, OptionError
from muybridge.evaluation.average_precision import average_precision, descending_stable
from muybridge.evaluation.matching import first_claims

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
        iou_threshold: overlap from which on a detection has found its ground truth.
    """

    name: str
    rows_per_frame: int | None
    minimum_score: float
    uses_exclusions: bool
    unlisted_frames: UnlistedFrames
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
            "boxes without area are dropped from the predictions; equal scores keep the order of the file",
        ]


AVA_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        AvaProtocol("ava-2019", 50, -np.inf, True, "false positives"),
        AvaProtocol("activitynet-2020", 50, -np.inf, False, "ignored unless listed"),
        AvaProtocol("slowfast", None, -np.inf, True, "false positives"),
        AvaProtocol("mmaction2", None, 0.002, True, "ignored"),
    )
}
DEFAULT_AVA_PROTOCOL = "ava-2019"


@dataclass(frozen=True)
class ClassScore:
    """One line of the table.

    Attributes:
        average_precision: in [0, 1]; None where the class has no ground truth.
        num_detections: after all rules but the matching.
    """

    id: int
    name: str
    average_precision: float | None
    num_truths: int
    num_detections: int
    num_found: int


@dataclass(frozen=True)
class AvaReport:
    """What was measured, and by which rules.

    Attributes:
        mean_average_precision: in [0, 1]; None when no class has ground truth.
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
            total = f"{self.mean_average_precision:.6f} over {present} of {len(self.classes)} classes"
        lines += ["", f"frame-mAP {total}", f"protocol {self.protocol}:"]
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
    if protocol.rows_per_frame is not None:
        kept = best_of_each_frame(
            frame, score[rows], predictions.label[rows], predictions.boxes_xyxy, rows, protocol.rows_per_frame
        )
        rows, frame = rows[kept], frame[kept]
    boxes = predictions.boxes_xyxy
    has_area = (boxes[rows, 0] < boxes[rows, 2]) & (boxes[rows, 1] < boxes[rows, 3])
    num_degenerate = int(np.count_nonzero(~has_area))
    rows, frame = rows[has_area], frame[has_area]
    column, truth_column = labels.columns(predictions.label[rows]), labels.columns(truth.label[truth_rows])
    found = first_claims(
        boxes,
        score,
        rows,
        frame * len(labels) + column,
        truth.boxes_xyxy[truth_rows],
        truth_frame * len(labels) + truth_column,
        iou_threshold=protocol.iou_threshold,
    )
    classes = _class_scores(labels, column, score[rows], found, truth_column)
    figures = [entry.average_precision for entry in classes if entry.average_precision is not None]
    return AvaReport(
        protocol=protocol.name,
        rules=tuple(protocol.rules()),
        mean_average_precision=float(np.mean(figures)) if figures else None,
        classes=classes,
        num_truth_frames=len(np.unique(truth_frame)),
        num_prediction_frames=num_frames,
        num_degenerate=num_degenerate,
        notes=_notes(truth, predictions, labels, num_degenerate, bool(excluded), protocol),
    )


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
    """Rows of the ground truth that count, and their frames."""
    rows = np.flatnonzero(np.isin(truth.label, labels.ids))
    frame = frames.of(truth.video[rows], truth.time_seconds[rows], truth.videos)
    if protocol.uses_exclusions and len(excluded_frames):
        kept = ~np.isin(frame, excluded_frames)
        rows, frame = rows[kept], frame[kept]
    return rows, frame


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


def best_of_each_frame(
    frame: Integers,
    score: NDArray[np.float64],
    label: Integers,
    boxes_xyxy: NDArray[np.float64],
    rows: NDArray[np.intp],
    limit: int,
) -> NDArray[np.intp]:
    """The places in `frame` of the `limit` best-scored rows of each frame, ascending.

    The challenge's program keeps a heap of (score, action, top, left, bottom, right): among rows that tie at the cut,
    the first `limit` rows scored that high are admitted, and of these the greatest tuples stay. So it is here.

    Args:
        frame: (R,) frame numbers.
        score: (R,).
        label: (R,) class ids.
        boxes_xyxy: (N, 4); the box of place i is row rows[i].
        rows: (R,).
        limit: at least 1.
    """
    order = np.lexsort((-score, frame))
    starts = np.flatnonzero(np.append(True, frame[order][1:] != frame[order][:-1]))[: len(order)]
    sizes = np.diff(np.append(starts, len(order)))
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    kept = rank < limit
    ordered_score = score[order]
    crowded = starts[sizes > limit]
    tied = crowded[ordered_score[crowded + limit - 1] == ordered_score[crowded + limit]]
    ends = dict(zip(starts.tolist(), (starts + sizes).tolist(), strict=True)) if len(tied) else {}
    for start in tied.tolist():
        stop = ends[start]
        cut = ordered_score[start + limit - 1]
        values = -ordered_score[start:stop]
        # The rows above the cut come first, then the tied ones in the order of the file.
        above, through = np.searchsorted(values, -cut, "left"), np.searchsorted(values, -cut, "right")
        high = np.sort(order[start : start + through])[:limit]
        admitted = high[score[high] == cut]
        box = boxes_xyxy[rows[admitted]]
        by_tuple = np.lexsort((box[:, 2], box[:, 3], box[:, 0], box[:, 1], label[admitted]))
        stay = admitted[by_tuple[len(by_tuple) - (limit - above) :]]
        kept[start + above : stop] = np.isin(order[start + above : stop], stay)
    return np.sort(order[kept])


def _class_scores(
    labels: LabelMap,
    column: Integers,
    score: NDArray[np.float64],
    found: NDArray[np.bool_],
    truth_column: Integers,
) -> tuple[ClassScore, ...]:
    num_truths = np.bincount(truth_column, minlength=len(labels))
    num_detections = np.bincount(column, minlength=len(labels))
    by_class = np.split(np.argsort(column, kind="stable"), np.cumsum(num_detections)[:-1])
    scores: list[ClassScore] = []
    for number, (name, class_id) in enumerate(zip(labels.names, labels.ids, strict=True)):
        mine = by_class[number]
        ranked = found[mine[descending_stable(score[mine])]]
        truths = int(num_truths[number])
        scores.append(
            ClassScore(
                id=class_id,
                name=name,
                average_precision=average_precision(ranked, truths) if truths else None,
                num_truths=truths,
                num_detections=len(mine),
                num_found=int(np.count_nonzero(ranked)),
            )
        )
    return tuple(scores)


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
        if len(rows) and not np.isin(rows.label, labels.ids).any():
            notes.append(f"no {name} box is of a class in the label map")
    if num_degenerate:
        notes.append(f"{num_degenerate} predicted boxes have no area and were dropped")
    if has_excluded and not protocol.uses_exclusions:
        notes.append(f"a list of excluded timestamps was given; {protocol.name} does not use one")
    strangers = sorted(set(predictions.videos) - set(truth.videos))
    if strangers:
        notes.append(f"{len(strangers)} predicted videos are not in the ground truth, {strangers[0]} among them")
    if len(truth) and len(predictions) and predictions.unit == "normalised":
        outside = float(np.abs(predictions.boxes_xyxy).max())
        if outside > 10:
            notes.append(
                f"predicted boxes reach {outside:g}: they look like pixels, and should be divided by the frame"
            )
    return tuple(notes)
