"""From a file to spans of time, and to the same video with what was recognized written over it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from muybridge.errors import OptionError
from muybridge.media.films import open_source
from muybridge.media.frame_folder import FrameFolder
from muybridge.media.outputs import check_writable
from muybridge.media.overlays import draw_scores
from muybridge.media.pipeline import BackgroundWriter, prefetch
from muybridge.media.shots import SHORT_SIDE, ShotDetector
from muybridge.media.sources import Source
from muybridge.media.video_reader import Frame, VideoReader
from muybridge.media.video_writer import rewriting
from muybridge.memory import check_fits, main_memory_bytes
from muybridge.progress import ProgressLine, progress_line
from muybridge.recognize.recognizer import Recognizer
from muybridge.recognize.windows import (
    Span,
    WindowConfig,
    WindowPrediction,
    iter_spans,
    window_predictions,
)

# A batch's pixels alone: as bytes, and as numbers of 32 bits on their way into the model.
_BYTES_A_VALUE = 1 + 4


@dataclass(frozen=True, eq=False)
class RecognizeJob:
    """What is the same for every input of a batch.

    Attributes:
        windows: how long videos are cut.
        shots: cut at shot boundaries first.
        threshold: least probability of a span.
        top: how many labels an answer names.
        batch_size: windows that run through the model at once.
    """

    recognizer: Recognizer
    windows: WindowConfig
    shots: bool = False
    threshold: float = 0.0
    top: int = 5
    batch_size: int = 8

    def __post_init__(self) -> None:
        for name in ("top", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)} must be 1 or more")
        if not 0 <= self.threshold <= 1:
            raise OptionError(f"threshold={self.threshold} is no probability. Choose 0 (all spans) to 1")
        sampling = self.recognizer.sampling
        clip = sampling.frames * 3 * sampling.size[0] * sampling.size[1] * _BYTES_A_VALUE
        available = main_memory_bytes()
        check_fits(
            f"batch_size={self.batch_size} windows at once",
            needed=self.batch_size * clip,
            available=available,
            remedy=f"Choose much less than {(available or 0) // clip}, such as 8",
        )


@dataclass(frozen=True, eq=False)
class FileAnswer:
    """What a file shows.

    Attributes:
        source: as the user named it.
        num_windows: how many answers there were.
        windows: answers in order of time; the first one alone where the others were not asked for.
        spans: stretches of one label.
        notes: what was lost or guessed while reading.
    """

    source: str
    num_windows: int
    windows: Sequence[WindowPrediction]
    spans: Sequence[Span]
    notes: Sequence[str] = ()


def recognize_file(
    job: RecognizeJob, source: Source, *, keep_windows: bool = True, quiet: bool = False
) -> FileAnswer:
    """Read a video once, however long, and say what it shows, window by window.

    Args:
        keep_windows: False keeps the spans alone and the first window, which for days of video saves memory.

    Raises:
        InputError: the file cannot be read, or is a still picture.
        MissingExtra: shots were asked for without the extra that finds them.
    """
    kept: list[WindowPrediction] = []
    count = 0

    def noted(windows: Iterable[WindowPrediction]) -> Iterator[WindowPrediction]:
        nonlocal count
        for count, window in enumerate(windows, 1):  # noqa: B007 - read below
            if keep_windows or not kept:
                kept.append(window)
            yield window

    multi_label = job.recognizer.multi_label
    with ExitStack() as stack:
        reader = stack.enter_context(open_source(source))
        windows = noted(recognize_stream(job, source, reader, stack, quiet=quiet))
        spans = list(iter_spans(windows, threshold=job.threshold, multi_label=multi_label))
        notes = tuple(reader.notes)
    spans.sort(key=lambda span: (span.start, span.label))
    return FileAnswer(source.location, count, kept, spans, notes)


def recognize_stream(
    job: RecognizeJob,
    source: Source,
    reader: VideoReader | FrameFolder,
    stack: ExitStack,
    *,
    quiet: bool = False,
) -> Iterator[WindowPrediction]:
    """Answers as they come; a live stream has one as soon as a window is over.

    Args:
        stack: ends the reading.
    """
    live = source.kind == "stream"
    info = reader.info
    total = None if live else info.num_frames
    shots: list[tuple[float, float]] | None = None
    if job.shots and not live:
        shots = _find_shots(source, quiet=quiet)
    elif info.duration_seconds and not live:
        # Windows end with the video; where it goes on after the end that it states, so do they.
        shots = [(0.0, float(info.duration_seconds)), (float(info.duration_seconds), float("inf"))]
    line = stack.enter_context(progress_line(source.relative.name, total=total, unit="frames", quiet=quiet))
    # Of most films a few frames a second are looked at.
    read = reader.convertible() if isinstance(reader, VideoReader) else reader
    frames = prefetch(_counted(read, line), depth=4)
    stack.callback(frames.close)
    windows = window_predictions(
        job.recognizer,
        frames,
        job.windows,
        shots=shots,
        batch_size=1 if live else job.batch_size,
        frame_rate=float(info.average_rate) if info.average_rate else None,
    )
    stack.callback(windows.close)  # before the frames, which a thread of it may be waiting for
    yield from windows


def _find_shots(source: Source, *, quiet: bool) -> list[tuple[float, float]]:
    """Cuts lie where the frames around them tell, so this is a reading of its own, of small pictures."""
    detector = ShotDetector()
    with ExitStack() as stack:
        reader = stack.enter_context(open_source(source, short_side=SHORT_SIDE))
        title = f"{source.relative.name}: shots"
        line = progress_line(title, total=reader.info.num_frames, unit="frames", quiet=quiet)
        return detector(_counted(reader, stack.enter_context(line)))


def _counted(frames: Iterable[Frame], line: ProgressLine) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        line.advance()


def write_overlay(
    answer: FileAnswer, source: Source, target: Path, *, top: int = 3, quiet: bool = False
) -> list[str]:
    """The video with the labels of each moment over it, sound and times kept. It is read a second time for that.

    Returns:
        What was lost or changed, in sentences for the user.

    Raises:
        OutputError: the target cannot be written.
    """
    check_writable(target)
    with ExitStack() as stack:
        reader = stack.enter_context(open_source(source))
        info = reader.info
        line = stack.enter_context(progress_line(target.name, total=info.num_frames, unit="frames", quiet=quiet))
        writer = stack.enter_context(rewriting(target, source.location, info, size=(info.width, info.height)))

        def write(frame: Frame) -> None:
            writer.write(frame.image, frame.pts_seconds, frame.duration_seconds)
            line.advance()

        output = stack.enter_context(BackgroundWriter(write, depth=2))
        frames = prefetch(reader, depth=2)
        stack.callback(frames.close)
        windows, position = answer.windows, 0
        for frame in frames:
            seconds = float(frame.pts_seconds)
            while position + 1 < len(windows) and _change(windows[position], windows[position + 1]) <= seconds:
                position += 1
            scores = windows[position].prediction.top(top) if windows else []
            image = draw_scores(frame.image, scores, title=f"{seconds:.1f} s")
            output.put(replace(frame, image=image))
    return writer.notes


def _change(before: WindowPrediction, after: WindowPrediction) -> float:
    """When a window takes over from the one before: at its start, or where both overlap, halfway between centres."""
    if after.start >= before.end:
        return after.start
    return (before.start + before.end + after.start + after.end) / 4
