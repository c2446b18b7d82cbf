"""Long videos and streams: one answer a window, and the spans of time that follow.

frames, read once ── windows that need them ── queue ── batches of clips ── answers a window ── spans with one label
          (a thread, with their motion)                 (the caller's thread)
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, count, pairwise
from math import inf, isinf
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from muybridge.data.clips.motion import reader_for
from muybridge.data.clips.sampling import SamplingConfig, crop_views, sample_seconds
from muybridge.decimals import SCORE, SECONDS
from muybridge.media.gaps import stretches
from muybridge.media.pipeline import prefetch
from muybridge.media.video_reader import DEFAULT_RATE, LONGEST_STILL_SECONDS, Frame
from muybridge.models.dense_motion.camera import CameraMotion
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.recognize.options import WindowConfig
from muybridge.recognize.recognizer import Prediction, Recognizer

# A rest of a video shorter than this share of a window is not looked at on its own.
_SHORTEST_REST = 0.25
# Times nearer than this are the same, in seconds.
_TOUCHING = 1e-6
# Windows that may be ready while the model is at earlier ones.
_AHEAD = 8


@dataclass(frozen=True, eq=False)
class WindowPrediction:
    """What is seen between two times, in seconds."""

    start: float
    end: float
    prediction: Prediction

    def to_json(self, *, top: int) -> dict[str, Any]:
        """With its likeliest labels, as plain data."""
        return {
            "start": round(self.start, SECONDS),
            "end": round(self.end, SECONDS),
            "top": [{"label": name, "score": round(score, SCORE)} for name, score in self.prediction.top(top)],
        }


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

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "start": round(self.start, SECONDS),
            "end": round(self.end, SECONDS),
            "label": self.label,
            "score": round(self.score, SCORE),
        }


@dataclass(eq=False)
class _Picture:
    """A frame on its way into windows: its crops (V, 3, height, width), or what the frozen blocks make of them.

    Windows that overlap share it, so that its work is done once.
    """

    crops: Tensor
    seen: Tensor | None = None  # (V, ...)


@dataclass(eq=False)
class _Pending:
    """A window whose frames are still coming."""

    start: float
    end: float
    wanted: list[float]
    pictures: list[_Picture] = field(default_factory=list[_Picture])
    motion: Tensor | None = None  # its vector, where motion is read


class _WindowMotion:
    """Vectors of how windows move."""

    def __init__(self, codebook: Codebook | CameraMotion) -> None:
        self._codebook, self._reader = codebook, reader_for(codebook)

    def see(self, frame: Frame, *, needed_from: float) -> None:
        """The next frame; no window that is still to come begins before a time."""
        self._reader.forget(needed_from)
        self._reader.see(frame)

    def of(self, window: _Pending) -> Tensor:
        """(M,) of a window of which all frames were seen, and none after it."""
        return self._codebook.vector(self._reader.between(window.start, window.end))


def window_predictions(
    recognizer: Recognizer,
    frames: Iterable[Frame],
    config: WindowConfig | None = None,
    *,
    shots: Sequence[tuple[float, float]] | None = None,
    batch_size: int = 8,
    frame_rate: float | None = None,
) -> Generator[WindowPrediction, None, None]:
    """Answers in order of time, as soon as `batch_size` windows are complete. Each frame is read once, and no more
    pictures are held than overlapping windows need, at the size that the model sees.

    The recognizer's views in space are averaged; for views in time, windows overlap.

    Args:
        frames: of one video, in order; may be endless.
        shots: (start, end) in seconds, in order; windows then lie within one shot each. A shot shorter than a window
            is one window. The end of the last may be infinite.
        frame_rate: of the video, for models that take every n-th frame of a file.
    """
    sampling = steady_sampling(recognizer.sampling, frame_rate)
    window, step = (config or WindowConfig()).resolved(sampling)
    complete: list[_Pending] = []
    for start, stretch in _from_starts(frames):
        # After a gap windows begin anew, within the shot that it lies in.
        later = [(max(first, start), last) for first, last in shots or [(0.0, inf)] if last > start]
        motion = None if recognizer.motion is None else _WindowMotion(recognizer.motion.codebook)
        plan = _plan(window, step, later)
        # In a thread of its own, beside the model.
        filled = prefetch(_filled(stretch, plan, sampling, recognizer.views.spatial, motion), depth=_AHEAD)
        with closing(filled):
            for pending in filled:
                _look_at(pending.pictures, recognizer)  # while the next one is filled
                complete.append(pending)
                if len(complete) == batch_size:
                    yield from _answers(recognizer, complete)
                    complete.clear()
    yield from _answers(recognizer, complete)


def _from_starts(frames: Iterable[Frame]) -> Iterator[tuple[float, Iterator[Frame]]]:
    """The stretches of a film between gaps, each with the time at which its windows begin: 0 for the first one."""
    for number, stretch in enumerate(stretches(frames)):
        first = next(stretch)
        late = float(first.pts_seconds)
        yield (late if number or late > LONGEST_STILL_SECONDS else 0.0), chain([first], stretch)


def _answers(recognizer: Recognizer, windows: Sequence[_Pending]) -> Iterator[WindowPrediction]:
    if not windows:
        return
    clips = torch.cat([torch.stack([cast(Tensor, p.seen) for p in w.pictures], dim=1) for w in windows])
    rows = recognizer.probabilities_of(clips).unflatten(0, (len(windows), -1)).mean(dim=1)
    if recognizer.motion is not None:
        vectors = torch.stack([cast(Tensor, window.motion) for window in windows])
        rows = recognizer.motion.joined(rows, vectors, multi_label=recognizer.multi_label)
    for window, row in zip(windows, rows, strict=True):
        yield WindowPrediction(window.start, window.end, Prediction(recognizer.labels.names, row))


def _look_at(pictures: Iterable[_Picture], recognizer: Recognizer) -> None:
    """Run the frozen blocks over the pictures that no earlier window had."""
    new = list({id(picture): picture for picture in pictures if picture.seen is None}.values())
    if not new:
        return
    seen = recognizer.each_frame(torch.stack([picture.crops for picture in new], dim=1))
    for number, picture in enumerate(new):
        picture.seen, picture.crops = seen[:, number].clone(), picture.crops[:0]


def steady_sampling(sampling: SamplingConfig, frame_rate: float | None) -> SamplingConfig:
    """The same sampling without `stride`: in a video of one rate, every n-th frame is a rate too."""
    if sampling.mode != "dense" or sampling.stride is None:
        return sampling
    return replace(sampling, stride=None, rate=(frame_rate or float(DEFAULT_RATE)) / sampling.stride)


def _plan(window: float, step: float, shots: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Bounds of all windows by their start; endless where the last shot is."""
    for start, end in shots:
        if isinf(end):
            yield from ((start + number * step, start + number * step + window) for number in count())
        whole = max(0, int((end - start - window) / step + 1e-6))
        last = start + whole * step + window
        is_covered = end - last <= _SHORTEST_REST * window  # but for a little, which the last window takes with it
        for number in range(whole):
            yield start + number * step, start + number * step + window
        yield start + whole * step, end if is_covered else last
        if not is_covered:
            yield end - window, end


def _filled(
    frames: Iterable[Frame],
    plan: Iterator[tuple[float, float]],
    sampling: SamplingConfig,
    crops: int,
    motion: _WindowMotion | None,
) -> Iterator[_Pending]:
    """Windows with their T pictures and how they move, each as soon as it is over."""
    upcoming = next(plan, None)
    waiting: deque[_Pending] = deque()
    shown: Frame | None = None
    picture: _Picture | None = None  # of the frame on display, made once, when a window first needs it
    spacing, covered = float(1 / DEFAULT_RATE), 0.0
    for frame in frames:
        seconds = float(frame.pts_seconds)
        while upcoming is not None and upcoming[0] <= seconds:
            waiting.append(_pending(upcoming, sampling))
            upcoming = next(plan, None)
        if shown is not None:
            spacing = seconds - float(shown.pts_seconds) or spacing
            picture = _hand_out(waiting, shown, seconds, sampling, crops, picture)
        while waiting and waiting[0].end <= seconds + 1e-6:
            covered = waiting[0].end
            yield _with_motion(waiting.popleft(), motion)
        if motion is not None:
            later = [seconds if upcoming is None else upcoming[0]]
            motion.see(frame, needed_from=min([each.start for each in waiting] or later))
        shown, picture = frame, None
    if shown is None:
        return
    end = float(shown.pts_seconds) + spacing
    _hand_out(waiting, shown, float("inf"), sampling, crops, picture)
    for window in waiting:
        # A window that the end of the video cuts short counts where a good part of it was not looked at yet.
        rest = end - max(covered, window.start)
        whole = window.end <= end + spacing / 2
        if whole or covered == 0 or rest > _SHORTEST_REST * (window.end - window.start):
            window.end = covered = min(window.end, end)
            yield _with_motion(window, motion)


def _with_motion(window: _Pending, motion: _WindowMotion | None) -> _Pending:
    if motion is not None:
        window.motion = motion.of(window)
    return window


def _pending(bounds: tuple[float, float], sampling: SamplingConfig) -> _Pending:
    start, end = bounds
    # The last moment belongs to what follows.
    wanted = np.minimum(sample_seconds(sampling, start, end), max(start, end - 1e-3))
    return _Pending(start, end, wanted.tolist())


def _hand_out(
    waiting: Iterable[_Pending],
    shown: Frame,
    until: float,
    sampling: SamplingConfig,
    crops: int,
    picture: _Picture | None,
) -> _Picture | None:
    """Give the frame on display until `until` to all windows that want it."""
    for window in waiting:
        while len(window.pictures) < sampling.frames and window.wanted[len(window.pictures)] < until - _TOUCHING:
            if picture is None:
                pixels = torch.from_numpy(shown.image).permute(2, 0, 1)[None]
                picture = _Picture(torch.cat(crop_views(pixels, sampling, crops)))
            window.pictures.append(picture)
    return picture


def join_spans(
    windows: Iterable[WindowPrediction], *, threshold: float = 0.0, multi_label: bool = False
) -> list[Span]:
    """Stretches of one label. Where windows overlap, their probabilities are averaged.

    Args:
        threshold: a stretch whose likeliest label is less likely than this has none; where a clip may have several
            labels, each label's stretches are those where it is at least as likely as this.
    """
    ordered = sorted(windows, key=lambda window: window.start)
    return sorted(
        iter_spans(ordered, threshold=threshold, multi_label=multi_label), key=lambda span: (span.start, span.label)
    )


def iter_spans(
    windows: Iterable[WindowPrediction], *, threshold: float = 0.0, multi_label: bool = False
) -> Iterator[Span]:
    """`join_spans` for windows that come in order of their start, each span as soon as it is over."""
    running: dict[int, Span] = {}
    for start, end, probabilities, names in _averaged(windows):
        columns = range(len(names)) if multi_label else [int(probabilities.argmax())]
        now = {column: float(probabilities[column]) for column in columns}
        now = {column: score for column, score in now.items() if score >= threshold}
        for column in [c for c, span in running.items() if c not in now or span.end < start - _TOUCHING]:
            yield running.pop(column)
        for column, score in now.items():
            before = running.get(column)
            if before is None:
                running[column] = Span(start, end, names[column], score)
                continue
            length, more = before.end - before.start, end - start
            mean = (before.score * length + score * more) / (length + more)
            running[column] = Span(before.start, end, before.label, mean)
    yield from running.values()


def _averaged(
    windows: Iterable[WindowPrediction],
) -> Iterator[tuple[float, float, Tensor, Sequence[str]]]:
    """Stretches between neighbouring starts and ends, each with the mean of the windows that cover it."""
    covering: list[WindowPrediction] = []
    clock = 0.0
    for window in windows:
        yield from _until(covering, clock, window.start)
        clock = max(clock, window.start)
        covering = [w for w in covering if w.end > clock + _TOUCHING] + [window]
    yield from _until(covering, clock, float("inf"))


def _until(
    covering: Sequence[WindowPrediction], start: float, end: float
) -> Iterator[tuple[float, float, Tensor, Sequence[str]]]:
    edges = {start, *(w.end for w in covering if start < w.end < end)}
    if not isinf(end):
        edges.add(end)
    for left, right in pairwise(sorted(edges)):
        shared = [w.prediction for w in covering if w.end >= right - _TOUCHING]
        if shared and right - left > _TOUCHING:
            yield left, right, torch.stack([p.probabilities for p in shared]).mean(dim=0), shared[0].names
