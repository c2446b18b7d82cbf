"""From a source to a window, a page and a file: what is watched is shown, served, written, or all of it."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from muybridge.errors import OptionError
from muybridge.localize.localizer import Localizer
from muybridge.localize.movement import SECONDS as MOVEMENT_SECONDS
from muybridge.localize.stream import LocalizeConfig
from muybridge.media.films import open_source
from muybridge.media.frame_folder import FrameFolder
from muybridge.media.frame_server import FrameServer
from muybridge.media.newest_frame import Clock
from muybridge.media.outputs import check_writable
from muybridge.media.pipeline import BackgroundWriter, prefetch
from muybridge.media.sources import Source
from muybridge.media.video_reader import Frame, VideoReader
from muybridge.media.video_writer import rewriting
from muybridge.media.window import Window
from muybridge.people.detector import Detector
from muybridge.people.sightings import DetectedPeople, PeopleSource
from muybridge.people.stillness import StillTest
from muybridge.people.tracks import Tracker
from muybridge.progress import ProgressLine, progress_line
from muybridge.recognize.recognizer import Recognizer
from muybridge.recognize.windows import WindowConfig
from muybridge.stylize.stylizer import Style, StylizeConfig, Stylizer
from muybridge.stylize.temporal import TemporalConfig
from muybridge.watch.parts import ActionPart, LabelPart, PaintPart, Part, PeoplePart, StreamLabelPart
from muybridge.watch.watch import NO_ACTIONS, OverlayConfig, Watch, WatchedFrame


@dataclass(frozen=True, eq=False)
class WatchJob:
    """Who looks, and how it is played. What is None does not look.

    Attributes:
        recognizer: says what happens.
        detector: finds people.
        localizer: says what they do; needs a detector.
        stylizer, styles: paint; several styles mix evenly.
        windows: what the recognizer's answers are about.
        stylize, temporal: how they paint.
        localize: how often people are looked for and their actions told, and which count.
        top: labels of what happens that are drawn.
        size: short side in pixels that frames are scaled down to; 0 keeps the source's own.
        speed: of a film, 1 for its own; None takes a live source as it comes and a film at its own.
        seconds: how much to watch; None for all.
        every_frame: leave no frame of a film out.
    """

    recognizer: Recognizer | None = None
    detector: Detector | None = None
    localizer: Localizer | None = None
    stylizer: Stylizer | None = None
    styles: Sequence[Style] = ()
    stylize: StylizeConfig = field(default_factory=StylizeConfig)
    temporal: TemporalConfig | None = None
    windows: WindowConfig = field(default_factory=WindowConfig)
    localize: LocalizeConfig = field(default_factory=LocalizeConfig)
    top: int = 3
    size: int = 480
    speed: float | None = None
    seconds: float | None = None
    every_frame: bool = False

    def __post_init__(self) -> None:
        if self.size < 0:
            raise OptionError(f"size={self.size} must be 0 (keep the size) or a number of pixels")
        for name in ("speed", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise OptionError(f"{name}={value} must be above 0, such as 1")
        if self.every_frame and self.speed is not None:
            raise OptionError("with every frame, a film takes as long as the models take. Leave --speed out")

    def watch(self, *, frame_rate: float | None = None, clock: Clock | None = None) -> Watch:
        """All parts, with no memory of another source."""
        parts: list[Part] = []
        labels = NO_ACTIONS
        if self.detector is not None:
            step = self.localize.every / self.localize.looks_per_key
            people: PeopleSource = DetectedPeople(
                self.detector,
                Tracker(rate=1 / step),
                min_score=self.localize.min_score,
                still=StillTest() if self.localize.skip_still else None,
            )
            labels = NO_ACTIONS if self.localizer is None else self.localizer.labels
            ahead = 0.0 if self.localizer is None else self.localizer.sampling.seconds_ahead
            looking = PeoplePart(
                people,
                num_classes=len(labels),
                look_every=self.localize.look_every,
                remember=ahead + MOVEMENT_SECONDS + 1,
            )
            parts.append(looking)
            if self.localizer is not None:
                parts.append(ActionPart(self.localizer, looking, every=self.localize.every))
        if self.recognizer is not None:
            if self.recognizer.is_causal and self.windows == WindowConfig():
                parts.append(StreamLabelPart(self.recognizer, frame_rate=frame_rate))
            else:
                parts.append(LabelPart(self.recognizer, self.windows, frame_rate=frame_rate))
        if self.stylizer is not None:
            parts.append(PaintPart(self.stylizer, self.styles, config=self.stylize, temporal=self.temporal))
        config = OverlayConfig(
            top=self.top if self.recognizer is not None else 0,
            threshold=self.localize.threshold,
            every=self.localize.every,
        )
        return Watch(parts, overlay=config, labels=labels, clock=clock)


def watch_source(
    job: WatchJob,
    source: Source,
    *,
    out: Path | None = None,
    show: bool = False,
    port: int | None = None,
    quiet: bool = False,
    clock: Clock | None = None,
) -> list[str]:
    """Watch one source until its end, the time that was asked for, Ctrl-C, or the end of the window.

    Args:
        out: a video to write, without sound: a film that is left early would have too much of it.
        show: open a window.
        port: serve a page with the picture to this machine; None for none.

    Returns:
        What was shown, dropped, and how late, and what was lost, in sentences for the user.

    Raises:
        InputError, OptionError, OutputError, ModelError: see `muybridge.errors`. Nothing half-written is left.
    """
    live = source.kind == "stream"
    if live and job.every_frame:
        raise OptionError(f"{source.location} is live and does not wait for every frame. Leave --every-frame out")
    if out is not None:
        check_writable(out)
    with ExitStack() as stack:
        reader, size = open_scaled(source, job.size)
        stack.enter_context(reader)
        info = reader.info
        watch = job.watch(frame_rate=float(info.average_rate) if info.average_rate else None, clock=clock)
        total = None if live or job.seconds else info.num_frames
        line = stack.enter_context(progress_line(source.relative.name, total=total, unit="frames", quiet=quiet))
        window = stack.enter_context(Window(f"muybridge: {source.relative.name}")) if show else None
        server = None
        if port is not None:
            server = stack.enter_context(FrameServer(f"muybridge: {source.relative.name}", port))
            line.note(f"muybridge: the picture is at {server.address}")
        screens = [screen for screen in (window, server) if screen is not None]
        background = None
        if out is not None:
            background = stack.enter_context(_background_writer(reader, source.location, size, out, stack))
        if job.every_frame:
            ahead = prefetch(reader)
            stack.callback(ahead.close)
            frames = _with_window(watch.every(ahead, seconds=job.seconds), window)
        else:
            frames = watch.live(
                reader,
                speed=job.speed if live else job.speed or 1.0,
                seconds=job.seconds,
                idle=None if window is None else window.pump,
            )
        with closing(frames):
            try:
                for watched in frames:
                    for screen in screens:
                        screen.show(watched.frame.image)
                    if background is not None:
                        background.put(watched.frame)
                    _tell(watch, line, delay=not job.every_frame)
            except KeyboardInterrupt:
                pass  # the way to end it: what was watched until then is the result
        gaps = [] if out is None or live else _gaps(watch, job, source.location, out)
        return [watch.report.line(delay=not job.every_frame), *gaps, *watch.notes, *reader.notes]


def _gaps(watch: Watch, job: WatchJob, name: str, out: Path) -> list[str]:
    """What to know where most of a film did not get into the file."""
    if job.every_frame or watch.report.dropped <= watch.report.shown:
        return []
    return [f"most frames of {name} are not in {out}: --every-frame leaves none out, however long it takes"]


def _tell(watch: Watch, line: ProgressLine, *, delay: bool) -> None:
    report = watch.report
    line.advance(report.read - line.done, report.line(delay=delay))


def _with_window(
    frames: Generator[WatchedFrame, None, None], window: Window | None
) -> Generator[WatchedFrame, None, None]:
    """The frames until the window is closed."""
    with closing(frames):
        for watched in frames:
            yield watched
            if window is not None and not window.pump():
                return


def open_scaled(source: Source, short_side: int) -> tuple[VideoReader | FrameFolder, tuple[int, int]]:
    """A reader whose frames are not larger than asked, and their (width, height), both even, as H.264 wants them.

    Args:
        short_side: at most; 0 for the source's own.

    Raises:
        InputError: the source cannot be read, or is a still picture.
    """
    reader = open_source(source)
    info = reader.info
    short = min(info.width, info.height)
    scale = Fraction(short_side, short) if short_side else Fraction(1)
    width, height = (
        max(2, min(side // 2 * 2, round(side * min(scale, 1) / 2) * 2)) for side in (info.width, info.height)
    )
    if (width, height) == (info.width, info.height):
        return reader, (width, height)
    reader.close()
    if isinstance(reader, FrameFolder):
        return FrameFolder(reader.paths, size=(width, height)), (width, height)
    return VideoReader(source.location, size=(width, height)), (width, height)


def _background_writer(
    reader: VideoReader | FrameFolder, source: str, size: tuple[int, int], out: Path, stack: ExitStack
) -> BackgroundWriter[Frame]:
    writer = stack.enter_context(rewriting(out, source, reader.info, size=size, silent=True))

    def write(frame: Frame) -> None:
        writer.write(frame.image, frame.pts_seconds, frame.duration_seconds)

    return BackgroundWriter(write, depth=1)
