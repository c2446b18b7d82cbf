"""Long videos and streams: one answer a window, and the spans of time that follow.

frames, read once ── windows that need them ── batches of clips ── answers a window ── spans with one label
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from muybridge.data.clip_sampling import SamplingConfig, crop_views, sample_seconds
from muybridge.errors import MissingExtra, OptionError
from muybridge.media.video_reader import Frame
from muybridge.tasks.recognize import Prediction, Recognizer

# A rest of a video shorter than this share of a window is not looked at on its own.
_SHORTEST_REST = 0.25


@dataclass(frozen=True)
class WindowConfig:
    """How a long video is cut.

    Attributes:
        window_seconds: length of a window; None for that of the clips the model was trained on, or 2 s.
        step_seconds: from one window's start to the next's; None for half a window.
    """

    window_seconds: float | None = None
    step_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("window_seconds", "step_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OptionError(f"{name}={value} must be above 0, such as 2")
        if self.window_seconds and self.step_seconds and self.step_seconds > self.window_seconds:
            raise OptionError(
                f"step_seconds={self.step_seconds} passes over what lies between windows of {self.window_seconds} s. "
                "Choose at most the window"
            )

    def resolved(self, sampling: SamplingConfig) -> tuple[float, float]:
        """(window, step) in seconds for a model."""
        window = self.window_seconds or sampling.span_seconds or 2.0
        return window, min(self.step_seconds or window / 2, window)


@dataclass(frozen=True, eq=False)
class WindowPrediction:
    """What is seen between two times, in seconds."""

    start: float
    end: float
    prediction: Prediction


@dataclass(frozen=True)
class Span:
    """A stretch of time with one label.

    Attributes:
        start, end: seconds.
        label: of the class.
        score: mean of its probability over the stretch.
    """

    start: float
    end: float
    label: str
    score: float


@dataclass(eq=False)
class _Pending:
    """A window whose frames are still coming."""

    start: float
    end: float
    wanted: list[float]
    pictures: list[Tensor] = field(default_factory=list[Tensor])


def window_predictions(
    recognizer: Recognizer,
    frames: Iterable[Frame],
    config: WindowConfig | None = None,
    *,
    shots: Sequence[tuple[float, float]] | None = None,
    batch_size: int = 8,
) -> Iterator[WindowPrediction]:
    """Answers in order of time, as soon as `batch_size` windows are complete. Each frame is read once.

    Args:
        frames: of one video, in order; may be endless.
        shots: (start, end) in seconds; windows then lie within one shot each. A shot shorter than a window is one
            window.
    """
    window, step = (config or WindowConfig()).resolved(recognizer.sampling)
    complete: list[_Pending] = []
    for pending in _filled(frames, _plan(window, step, shots), recognizer.sampling, open_ended=shots is None):
        complete.append(pending)
        if len(complete) == batch_size:
            yield from _answers(recognizer, complete)
            complete.clear()
    yield from _answers(recognizer, complete)


def _answers(recognizer: Recognizer, windows: Sequence[_Pending]) -> Iterator[WindowPrediction]:
    if not windows:
        return
    clips = torch.stack([torch.stack(w.pictures) for w in windows])
    for window, row in zip(windows, recognizer.probabilities(clips), strict=True):
        yield WindowPrediction(window.start, window.end, Prediction(recognizer.labels.names, row))


def _plan(window: float, step: float, shots: Sequence[tuple[float, float]] | None) -> Iterator[tuple[float, float]]:
    """Bounds of all windows by their start; endless without shots."""
    if shots is None:
        yield from ((number * step, number * step + window) for number in count())
        return
    for start, end in shots:
        whole = max(0, int((end - start - window) / step + 1e-6))
        for number in range(whole + 1):
            yield start + number * step, min(start + number * step + window, end)
        rest = start + whole * step + window
        if end - rest > _SHORTEST_REST * window:
            yield end - window, end


def _filled(
    frames: Iterable[Frame], plan: Iterator[tuple[float, float]], sampling: SamplingConfig, *, open_ended: bool
) -> Iterator[_Pending]:
    """Windows with their T pictures (3, height, width), each as soon as it is over."""
    upcoming = next(plan, None)
    waiting: deque[_Pending] = deque()
    shown: Frame | None = None
    crop: Tensor | None = None  # of the frame on display, made once, when a window first needs it
    spacing, covered = 0.04, 0.0
    for frame in frames:
        seconds = float(frame.pts_seconds)
        while upcoming is not None and upcoming[0] <= seconds:
            waiting.append(_pending(upcoming, sampling))
            upcoming = next(plan, None)
        if shown is not None:
            spacing = seconds - float(shown.pts_seconds) or spacing
            crop = _hand_out(waiting, shown, seconds, sampling, crop)
        while waiting and waiting[0].end <= seconds + 1e-6:
            covered = waiting[0].end
            yield waiting.popleft()
        shown, crop = frame, None
    if shown is None:
        return
    end = float(shown.pts_seconds) + spacing
    _hand_out(waiting, shown, float("inf"), sampling, crop)
    for window in waiting:
        # A window that the end of the video cuts short counts where a good part of it was not looked at yet.
        rest = end - max(covered, window.start)
        whole = window.end <= end + spacing / 2
        if whole or window.start == 0 or not open_ended or rest > _SHORTEST_REST * (window.end - window.start):
            window.end = covered = min(window.end, end)
            yield window


def _pending(bounds: tuple[float, float], sampling: SamplingConfig) -> _Pending:
    start, end = bounds
    # The last moment belongs to what follows.
    wanted = np.minimum(sample_seconds(sampling, start, end), max(start, end - 1e-3))
    return _Pending(start, end, wanted.tolist())


def _hand_out(
    waiting: Iterable[_Pending], shown: Frame, until: float, sampling: SamplingConfig, crop: Tensor | None
) -> Tensor | None:
    """Give the frame on display until `until` to all windows that want it."""
    for window in waiting:
        while len(window.pictures) < sampling.frames and window.wanted[len(window.pictures)] < until:
            if crop is None:
                crop = crop_views(torch.from_numpy(shown.image).permute(2, 0, 1)[None], sampling)[0][0]
            window.pictures.append(crop)
    return crop


def join_spans(
    windows: Iterable[WindowPrediction], *, threshold: float = 0.0, multi_label: bool = False
) -> list[Span]:
    """Stretches of one label. Where windows overlap, their probabilities are averaged.

    Args:
        threshold: a stretch whose likeliest label is less likely than this has none; where a clip may have several
            labels, each label's stretches are those where it is at least as likely as this.
    """
    listed = list(windows)
    if not listed:
        return []
    cuts = sorted({edge for w in listed for edge in (w.start, w.end)})
    names = listed[0].prediction.names
    cells: list[tuple[float, float, Tensor]] = []
    coming, open_now = deque(sorted(listed, key=lambda w: w.start)), list[WindowPrediction]()
    for start, end in pairwise(cuts):
        while coming and coming[0].start <= start:
            open_now.append(coming.popleft())
        open_now = [w for w in open_now if w.end >= end]
        if open_now and end - start > 1e-6:
            cells.append((start, end, torch.stack([w.prediction.probabilities for w in open_now]).mean(dim=0)))
    columns = range(len(names)) if multi_label else [None]
    spans = [span for column in columns for span in _spans_of(cells, names, column, threshold)]
    return sorted(spans, key=lambda span: (span.start, span.label))


def _spans_of(
    cells: Sequence[tuple[float, float, Tensor]], names: Sequence[str], only: int | None, threshold: float
) -> list[Span]:
    spans: list[Span] = []
    for start, end, probabilities in cells:
        column = int(probabilities.argmax()) if only is None else only
        score = float(probabilities[column])
        if score < threshold:
            continue
        last = spans[-1] if spans else None
        if last is not None and last.label == names[column] and abs(last.end - start) < 1e-6:
            length, more = last.end - last.start, end - start
            mean = (last.score * length + score * more) / (length + more)
            spans[-1] = Span(last.start, end, last.label, mean)
        else:
            spans.append(Span(start, end, names[column], score))
    return spans


def find_shots(path: Path) -> list[tuple[float, float]]:
    """(start, end) in seconds of the shots of a video, by PySceneDetect's adaptive detector.

    Raises:
        MissingExtra: PySceneDetect is not installed.
    """
    try:
        from scenedetect import AdaptiveDetector, detect  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra("finding shots", extra="shots") from error
    found = detect(str(path), AdaptiveDetector(), start_in_scene=True)
    return [(start.seconds, end.seconds) for start, end in found]
