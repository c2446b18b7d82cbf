"""From a file to a painted file: reading, painting and writing overlap."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from muybridge.errors import OptionError
from muybridge.media.images import read_image, resize_image, write_image
from muybridge.media.masks import MaskTrack, TimedMask
from muybridge.media.outputs import check_writable
from muybridge.media.pipeline import BackgroundWriter, prefetch
from muybridge.media.sources import Source
from muybridge.media.video_reader import Frame, VideoReader
from muybridge.media.video_writer import rewriting
from muybridge.progress import ProgressLine, progress_line
from muybridge.stylize.pictures import RGB, scaled
from muybridge.stylize.stylizer import Style, StylizeConfig, Stylizer
from muybridge.stylize.temporal import TemporalCarry, TemporalConfig


class MaskSearch(Protocol):
    """Finds in each input what is to be painted of it, as `muybridge.localize.search.PeopleSearch` finds people."""

    def in_video(self, source: Source, *, quiet: bool = False) -> tuple[TimedMask, list[str]]:
        """The mask over time, and notes for the user."""
        ...

    def in_picture(self, picture: RGB, name: str) -> tuple[TimedMask, list[str]]:
        """The mask of a picture (H, W, 3), and notes for the user."""
        ...


class StylesAtSize:
    """Styles as they are looked at for paintings of (width, height); for each size of theirs once.

    Args:
        pictures: paths, names of built-in styles, or saved ones.
    """

    def __init__(self, stylizer: Stylizer, pictures: Sequence[str | Style], config: StylizeConfig) -> None:
        self._stylizer, self._pictures, self._config = stylizer, pictures, config
        self._seen: dict[int, list[Style]] = {}

    def __call__(self, width: int, height: int) -> list[Style]:
        """The styles, in their order."""
        side = self._config.side_of_styles(width, height)
        if side not in self._seen:
            projection = self._config.projection
            self._seen[side] = [
                self._stylizer.encode_style(picture, projection=projection, size=side) for picture in self._pictures
            ]
        return self._seen[side]


@dataclass(frozen=True, eq=False)
class PaintJob:
    """What is the same for every input of a batch.

    Attributes:
        weights: one a style, not normalised.
        masks: paths of pictures or videos; one for all styles, one a style, or none.
        temporal: None paints each frame alone.
        people: who is painted, in place of masks; a video is then read twice.
        resume: films are painted in segments that are kept beside the result, and gone on with.

    Raises:
        OptionError: masks and people.
    """

    stylizer: Stylizer
    styles: StylesAtSize
    weights: Sequence[float]
    masks: Sequence[str | Path]
    config: StylizeConfig
    temporal: TemporalConfig | None
    people: MaskSearch | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if self.people is not None and self.masks:
            raise OptionError("--who and --doing make a mask of their own. Give them, or --mask")


def paint_file(job: PaintJob, source: Source, target: Path, *, quiet: bool = False) -> list[str]:
    """Paint one picture or video.

    A picture keeps its size, transparency and colour profile; a video its size, timestamps and sound.

    Returns:
        What was lost or guessed, in sentences for the user.

    Raises:
        InputError, OptionError, OutputError: see `muybridge.errors`. Nothing half-written is left.
    """
    check_writable(target)
    if source.kind == "image":
        return _paint_picture(job, source.path, target)
    return _paint_video(job, source, target, quiet=quiet)


def _paint_picture(job: PaintJob, path: Path, target: Path) -> list[str]:
    picture = read_image(path)
    masks, notes = list[Any](job.masks), list[str]()
    if job.people is not None:
        mask, notes = job.people.in_picture(picture.rgb, path.name)
        masks = [mask.at(Fraction(0), *picture.rgb.shape[:2])]
    height, width = picture.rgb.shape[:2]
    size = scaled(width, height, job.config.size) if job.config.size else (width, height)
    painted = job.stylizer(picture, job.styles(*size), weights=job.weights, masks=masks, config=job.config)
    alpha = picture.alpha
    if alpha is not None and alpha.shape != painted.shape[:2]:
        alpha = resize_image(alpha, painted.shape[1], painted.shape[0])
    write_image(target, painted, alpha=alpha, icc_profile=picture.icc_profile)
    if picture.num_pictures > 1:
        notes.append(
            f"{path} holds {picture.num_pictures} pictures, of which the first is painted; a .gif or a video is "
            "painted whole"
        )
    return notes


@dataclass(frozen=True, eq=False)
class OpenFilm:
    """A film that is being painted. Made by `open_film`.

    Attributes:
        reader: of its frames.
        size: (width, height) of the painted frames.
        masks: what of it is painted.
        line: shows how far it is.
        notes: for the user.
    """

    reader: VideoReader
    size: tuple[int, int]
    masks: Sequence[TimedMask]
    line: ProgressLine
    notes: list[str]

    def painted(
        self, job: PaintJob, frames: Iterable[Frame], stack: ExitStack, carries: Sequence[TemporalCarry] = ()
    ) -> Generator[Frame, None, None]:
        """Painted frames of this film's, read ahead.

        Args:
            stack: ends the reading.
            carries: see `Stylizer.stream`.
        """
        ahead = prefetch(_scaled(frames, self.size), depth=2)
        stack.callback(ahead.close)
        config = replace(job.config, size=0)
        return job.stylizer.stream(
            ahead,
            job.styles(*self.size),
            weights=job.weights,
            masks=self.masks,
            config=config,
            temporal=job.temporal,
            carries=carries,
        )

    def said(self, target: Path) -> list[str]:
        """Notes for the user, complete when all is painted."""
        notes = [*self.notes, *(note for note in self.reader.notes if note not in self.notes)]
        if (self.size[0] % 2 or self.size[1] % 2) and target.suffix.lower() != ".gif":
            notes.append(
                f"{target} has an odd size, which H.264 stores as yuv444p; if a player refuses it, use an even --size"
            )
        return notes


def open_film(
    job: PaintJob, source: Source, target: Path, stack: ExitStack, *, quiet: bool, done: int = 0
) -> OpenFilm:
    """Open a film to paint it.

    Args:
        stack: closes it.
        done: frames that were painted before.
    """
    notes: list[str] = []
    masks: list[TimedMask] = []
    if job.people is not None:
        people, notes = job.people.in_video(source, quiet=quiet)
        masks.append(people)
    for mask in job.masks:
        track = MaskTrack(mask)
        stack.callback(track.close)
        masks.append(track)
    reader = stack.enter_context(VideoReader(source.location))
    info = reader.info
    total = info.num_frames if source.kind == "video" else None
    line = progress_line(source.relative.name, total=total, unit="frames", done=done, quiet=quiet)
    size = info.width, info.height
    job.stylizer.check_size(*size, size=job.config.size)
    if job.config.size:
        size = scaled(*size, job.config.size, even=target.suffix.lower() != ".gif")
    return OpenFilm(reader, size, masks, stack.enter_context(line), notes)


def _paint_video(job: PaintJob, source: Source, target: Path, *, quiet: bool) -> list[str]:
    with ExitStack() as stack:
        film = open_film(job, source, target, stack, quiet=quiet)
        painted = film.painted(job, film.reader, stack)
        writer = rewriting(target, source.location, film.reader.info, size=film.size)
        first = next(painted)
        stack.enter_context(writer)

        def write(frame: Frame) -> None:
            writer.write(frame.image, frame.pts_seconds, frame.duration_seconds)
            film.line.advance()

        background = stack.enter_context(BackgroundWriter(write, depth=2))
        background.put(first)
        try:
            for frame in painted:
                background.put(frame)
        except KeyboardInterrupt:
            # Only the user can end a live stream; what was painted until then is the result.
            if source.kind != "stream":
                raise
            writer.cut_short()
        notes = film.said(target)
    return notes + writer.notes


def _scaled(frames: Iterable[Frame], size: tuple[int, int]) -> Iterator[Frame]:
    """Frames at (width, height)."""
    for frame in frames:
        fits = frame.image.shape[:2] == (size[1], size[0])
        yield frame if fits else replace(frame, image=resize_image(frame.image, *size))
