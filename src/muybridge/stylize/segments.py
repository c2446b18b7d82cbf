"""Films of hours, painted in segments that are kept: after an interruption the painting goes on where it was.

    NAME.parts/   beside the result, until it is there
        job.json             what is painted how: parts of one painting alone are joined
        00000.mp4, .json     a segment, written whole; when it begins, when the next one does, and hashes
        00000.safetensors    what the last segment's last frame left behind, so that no seam is seen

In the end the segments are joined without encoding them again, and the film's sound is put beside them.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from muybridge.errors import ModelError, OptionError
from muybridge.media.folder_lock import held
from muybridge.media.outputs import atomic_output, check_writable
from muybridge.media.pipeline import BackgroundWriter
from muybridge.media.sources import Source
from muybridge.media.video_reader import Frame
from muybridge.media.video_writer import JoinedVideo, check_video_suffix, rewriting
from muybridge.schema import Within, build, parse_json
from muybridge.stylize.files import OpenFilm, PaintJob, open_film, paint_file
from muybridge.stylize.options import check_segments
from muybridge.stylize.temporal import TemporalCarry

SEGMENT_SECONDS = Fraction(60)
_JOB = "job.json"


@dataclass(frozen=True)
class Segment:
    """A part of a film that is painted.

    Attributes:
        path: of the video; its times begin at 0.
        start: when its first frame is shown, in seconds.
        following: when the next segment's first frame is; None where the film is over.
        frames: how many it has.
    """

    path: Path
    start: Fraction
    following: Fraction | None
    frames: int


def paint(job: PaintJob, source: Source, target: Path, *, quiet: bool = False) -> list[str]:
    """`paint_file`, for films in segments where the job asks for that.

    Raises:
        OptionError: a live stream, which nobody can go on with.
    """
    if not job.resume or source.kind == "image":
        return paint_file(job, source, target, quiet=quiet)
    return paint_in_segments(job, source, target, quiet=quiet)


def paint_in_segments(
    job: PaintJob, source: Source, target: Path, *, seconds: Fraction = SEGMENT_SECONDS, quiet: bool = False
) -> list[str]:
    """Paint a film, or go on with it; see `paint_file`.

    Args:
        seconds: length of a segment.

    Raises:
        OptionError: the film is live, the target is a GIF, or its folder of parts is of another painting, or in use.
        InputError, OutputError: see `muybridge.errors`. Whole segments stay.
    """
    check_segments(source, target)
    check_video_suffix(target)
    check_writable(target)
    folder = target.with_name(f"{target.name}.parts")
    with held(folder, busy=OptionError(f"another run is painting into {folder}. Wait for it")), ExitStack() as stack:
        _check_same(folder, _told(job, source, seconds))
        done = list(_segments(folder))
        film = open_film(job, source, target, stack, quiet=quiet, done=sum(segment.frames for segment in done))
        if not done or done[-1].following is not None:
            done += _paint_rest(job, film, source, folder, done, seconds)
        notes = _join(film, source, target, done)
        shutil.rmtree(folder)
    return notes


def _paint_rest(
    job: PaintJob, film: OpenFilm, source: Source, folder: Path, done: list[Segment], seconds: Fraction
) -> list[Segment]:
    """The segments that are still to be painted, each kept as soon as it is whole."""
    layers = len(job.weights) if len(job.masks) > 1 else 1
    carries = [TemporalCarry(job.temporal) for _ in range(layers)] if job.temporal else []
    frames: Iterator[Frame] = iter(film.reader)
    if done:
        _restore(carries, _memory(folder, len(done) - 1))
        frames = film.reader.frames_from(done[-1].following or Fraction(0))
    painted, upcoming = list[Segment](), next(frames, None)
    while upcoming is not None:
        part = _Part(frames, upcoming, seconds)
        path, start = _path(folder, len(done) + len(painted)), upcoming.pts_seconds
        count = _paint_part(job, film, source, part, path, carries)
        upcoming = part.following
        following = None if upcoming is None else upcoming.pts_seconds
        painted.append(Segment(path, start, following, count))
        _keep(folder, len(done) + len(painted) - 1, painted[-1], carries)
    return painted


class _Part:
    """The frames of a film until a time.

    Attributes:
        following: the first one after them, when they are over.
    """

    def __init__(self, frames: Iterator[Frame], first: Frame, seconds: Fraction) -> None:
        self._frames, self._first, self._end = frames, first, first.pts_seconds + seconds
        self.following: Frame | None = None

    def __iter__(self) -> Iterator[Frame]:
        for frame in chain([self._first], self._frames):
            if frame.pts_seconds >= self._end:
                self.following = frame
                return
            yield frame


def _paint_part(
    job: PaintJob, film: OpenFilm, source: Source, part: _Part, path: Path, carries: Sequence[TemporalCarry]
) -> int:
    """Returns the number of frames."""
    count = 0
    with ExitStack() as stack:
        painted = film.painted(job, part, stack, carries)
        first = next(painted)
        writer = rewriting(path, source.location, film.reader.info, size=film.size, silent=True)
        stack.enter_context(writer)

        def write(frame: Frame) -> None:
            writer.write(frame.image, frame.pts_seconds - first.pts_seconds, frame.duration_seconds)
            film.line.advance()

        background = stack.enter_context(BackgroundWriter(write, depth=2))
        for count, frame in enumerate(chain([first], painted), 1):  # noqa: B007 - returned
            background.put(frame)
    return count


def _join(film: OpenFilm, source: Source, target: Path, segments: Sequence[Segment]) -> list[str]:
    with JoinedVideo(target, [segment.path for segment in segments], source.location, film.reader.info) as video:
        for segment in segments:
            video.append(segment.path, segment.start)
    return [*film.said(target), *video.notes]


# ---- what is on the disk ----


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.mp4"


def _memory(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.safetensors"


def _keep(folder: Path, number: int, segment: Segment, carries: Sequence[TemporalCarry]) -> None:
    """Note that a segment is whole, and what its end left behind."""
    state = {
        f"{place}.{name}": tensor for place, carry in enumerate(carries) for name, tensor in carry.state().items()
    }
    with atomic_output(_memory(folder, number)) as beside:
        save_file(state, beside)
    note = _Note(
        start=str(segment.start),
        following=None if segment.following is None else str(segment.following),
        frames=segment.frames,
        memory=_hash(_memory(folder, number)),
    )
    note = replace(note, video=_hash(segment.path, note))
    with atomic_output(segment.path.with_suffix(".json")) as beside:
        beside.write_text(json.dumps(asdict(note)) + "\n", encoding="utf-8")
    if number:
        _memory(folder, number - 1).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Note:
    """A segment as its note tells of it.

    Attributes:
        start, following: times as fractions.
        memory: hash of what its end left behind.
        video: hash of the video and of all that stands above.
    """

    start: str
    following: str | None
    frames: Annotated[int, Within(1, 10**9)]
    memory: str
    video: str = ""


def _hash(path: Path, note: _Note | None = None) -> str:
    about = "" if note is None else json.dumps(asdict(replace(note, video="")))
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.sha256(about.encode())).hexdigest()
    except OSError as error:
        raise _damaged(path) from error


def _segments(folder: Path) -> Iterator[Segment]:
    """Those that are whole, in their order; what was begun after them is painted again."""
    for number in range(10**5):
        path = _path(folder, number)
        note = path.with_suffix(".json")
        if not (path.exists() and note.exists()):
            return
        try:
            told = build(_Note, parse_json(note.read_bytes(), source=str(note)), source=str(note))
            following = None if told.following is None else _fraction(told.following)
            segment = Segment(path, _fraction(told.start), following, told.frames)
        except (ModelError, ValueError, ZeroDivisionError, OSError) as error:
            raise _damaged(note) from error
        memory = _memory(folder, number)
        if _hash(path, told) != told.video:
            raise _damaged(path)
        if memory.exists() and _hash(memory) != told.memory:
            raise _damaged(memory)
        yield segment


def _damaged(path: Path) -> OptionError:
    return OptionError(f"{path} is damaged. Remove {path.parent}, and paint again")


def _fraction(text: str) -> Fraction:
    """What str makes of one; others, such as 1e999999999, could take all memory."""
    numerator, _, denominator = text.partition("/")
    return Fraction(int(numerator), int(denominator or 1))


def _restore(carries: Sequence[TemporalCarry], path: Path) -> None:
    try:
        state = load_file(path)
        for place, carry in enumerate(carries):
            prefix = f"{place}."
            carry.restore({n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)})
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise _damaged(path) from error


def _told(job: PaintJob, source: Source, seconds: Fraction) -> dict[str, Any]:
    """What makes a painting what it is, as JSON."""
    code = hashlib.sha256()
    for style in job.styles(0, 0):
        for tensor in (style.code.whitened, style.code.mean, style.code.colour):
            code.update(tensor.contiguous().cpu().numpy().tobytes())
    stat = source.path.stat()
    return {
        "film": [source.relative.name, stat.st_size, stat.st_mtime_ns],
        "model": job.stylizer.fingerprint,
        "styles": code.hexdigest(),
        "weights": list(job.weights),
        "masks": [str(mask) for mask in job.masks],
        "people": None if job.people is None else str(job.people),
        "config": asdict(job.config),
        "temporal": None if job.temporal is None else asdict(job.temporal),
        "seconds": str(seconds),
    }


def _check_same(folder: Path, told: dict[str, Any]) -> None:
    path = folder / _JOB
    text = json.dumps(told, indent=1, sort_keys=True) + "\n"
    if not path.exists() and not _path(folder, 0).exists():
        with atomic_output(path) as beside:
            beside.write_text(text, encoding="utf-8")
    elif not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        raise OptionError(f"{folder} holds parts of another painting. Remove it, or write elsewhere with -o")
    for partial in folder.glob(".*.partial*"):  # what a killed process was writing
        partial.unlink(missing_ok=True)
