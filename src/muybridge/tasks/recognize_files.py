"""From a file to spans of time, and to the same video with what was recognized written over it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from muybridge.media.frame_folder import FrameFolder, pictures_in
from muybridge.media.outputs import check_writable
from muybridge.media.overlays import draw_scores
from muybridge.media.pipeline import BackgroundWriter, prefetch
from muybridge.media.sources import Source
from muybridge.media.video_reader import DEFAULT_RATE, Frame, VideoReader
from muybridge.media.video_writer import VideoWriter, exact_time_base
from muybridge.progress import progress_line
from muybridge.tasks.recognize import Recognizer
from muybridge.tasks.recognize_windows import (
    Span,
    WindowConfig,
    WindowPrediction,
    find_shots,
    join_spans,
    window_predictions,
)


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


@dataclass(frozen=True, eq=False)
class FileAnswer:
    """What a file shows.

    Attributes:
        source: as the user named it.
        windows: answers in order of time.
        spans: stretches of one label.
        notes: what was lost or guessed while reading.
    """

    source: str
    windows: Sequence[WindowPrediction]
    spans: Sequence[Span]
    notes: Sequence[str] = ()


def recognize_file(job: RecognizeJob, source: Source, *, quiet: bool = False) -> FileAnswer:
    """Read a video once and say what it shows, window by window.

    Raises:
        InputError: the file cannot be read.
        MissingExtra: shots were asked for without the extra that finds them.
    """
    with ExitStack() as stack:
        reader = _open(source)
        stack.callback(reader.close)
        windows = list(recognize_stream(job, source, reader, stack, quiet=quiet))
        notes = tuple(reader.notes)
    spans = join_spans(windows, threshold=job.threshold, multi_label=job.recognizer.multi_label)
    return FileAnswer(source.location, windows, spans, notes)


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
    shots = find_shots(source.path) if job.shots and not live else None
    duration = reader.info.duration_seconds
    if shots is None and duration is not None and not live:
        shots = [(0.0, float(duration))]  # so that a video shorter than a window is looked at as a whole
    total = reader.info.num_frames if not live else None
    line = stack.enter_context(progress_line(source.relative.name, total=total, unit="frames", quiet=quiet))

    def counted() -> Iterator[Frame]:
        for frame in reader:
            yield frame
            line.advance()

    frames = prefetch(counted(), depth=4)
    stack.callback(frames.close)
    yield from window_predictions(
        job.recognizer, frames, job.windows, shots=shots or None, batch_size=1 if live else job.batch_size
    )


def _open(source: Source) -> VideoReader | FrameFolder:
    if source.kind != "stream" and source.path.is_dir():
        return FrameFolder(pictures_in(source.path))
    return VideoReader(source.location)


def write_overlay(answer: FileAnswer, source: Source, target: Path, *, top: int = 3, quiet: bool = False) -> None:
    """The video with the labels of each moment over it, sound and times kept. It is read a second time for that.

    Raises:
        OutputError: the target cannot be written.
    """
    check_writable(target)
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(source.location))
        info = reader.info
        line = stack.enter_context(progress_line(target.name, total=info.num_frames, unit="frames", quiet=quiet))
        writer = stack.enter_context(
            VideoWriter(
                target,
                width=info.width,
                height=info.height,
                rate=info.average_rate or DEFAULT_RATE,
                time_base=exact_time_base(info.time_base),
                audio_from=source.location if info.has_audio else None,
            )
        )

        def write(frame: Frame) -> None:
            writer.write(frame.image, frame.pts_seconds)
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
            output.put(Frame(image, frame.pts_seconds, frame.index))


def _change(before: WindowPrediction, after: WindowPrediction) -> float:
    """When the later of two windows is nearer than the earlier one: halfway between their centres."""
    return (before.start + before.end + after.start + after.end) / 4
