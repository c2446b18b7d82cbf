"""The verbs as tasks: plain options that are sent to where the work is done, and made into a model there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from muybridge.engine.rows import Label
from muybridge.errors import OptionError
from muybridge.localize.options import ONE_VIEW, LocalizeConfig, TestViews
from muybridge.media.sources import Source, clip_sources, expand_sources
from muybridge.recognize.options import WindowConfig
from muybridge.stylize.options import PeopleOptions, StylizeConfig, TemporalConfig

if TYPE_CHECKING:
    from muybridge.data.annotations.table import Annotations
    from muybridge.localize.files import LocalizeJob
    from muybridge.localize.search import PeopleSearch
    from muybridge.recognize.files import RecognizeJob
    from muybridge.stylize.files import PaintJob

_LIKELY_SIDE = 640
Precision = Literal["float32", "bfloat16"]
AnnotationFormat = Literal["ava", "coco", "cvat", "json", "mot"]


@dataclass(frozen=True)
class Outcome:
    """What came of one file.

    Attributes:
        labels: what it shows.
        outputs: files that were made.
        notes: what was lost or guessed, in sentences for the user.
    """

    labels: Sequence[Label] = ()
    outputs: Sequence[Path] = ()
    notes: Sequence[str] = ()


class Work(Protocol):
    """A loaded model, ready for files."""

    def __call__(self, source: Source, target: Path) -> Outcome:
        """Do one file.

        Raises:
            MuybridgeError: see `muybridge.errors`. Nothing half-written is left.
        """
        ...


class Task(Protocol):
    """A verb with its options. Plain data: it is sent to other processes, and tells runs apart."""

    @property
    def verb(self) -> str: ...

    def find(self, names: Iterable[str]) -> list[Source]:
        """Files, folders and globs as this verb understands them."""
        ...

    def load(self) -> Work:
        """Load the model.

        Raises:
            MuybridgeError: it cannot be had, or an option breaks its rule.
        """
        ...


@dataclass(frozen=True)
class RecognizeTask:
    """`muybridge recognize`; see its help for the fields.

    Attributes:
        overlay: whether videos with labels are written.
    """

    model: str = "camera"
    top: int = 5
    windows: WindowConfig = field(default_factory=WindowConfig)
    threshold: float | None = None
    shots: bool = False
    backbone_weights: Path | None = None
    batch_size: int = 8
    device: str = "auto"
    precision: Precision = "float32"
    overlay: bool = False
    verb = "recognize"

    def find(self, names: Iterable[str]) -> list[Source]:
        """See `Task`."""
        return clip_sources(names)

    def job(self) -> "RecognizeJob":
        """The model, and what is the same for every input."""
        from muybridge.recognize.files import RecognizeJob
        from muybridge.recognize.recognizer import Recognizer

        recognizer = Recognizer.from_pretrained(
            self.model, device=self.device, backbone_weights=self.backbone_weights, precision=self.precision
        )
        least = recognizer.threshold if self.threshold is None else self.threshold
        return RecognizeJob(recognizer, self.windows, self.shots, least, self.top, self.batch_size)

    def load(self) -> Work:
        """See `Task`."""
        from muybridge.recognize.files import recognize_file, write_overlay

        job = self.job()

        def work(source: Source, target: Path) -> Outcome:
            answer = recognize_file(job, source, keep_windows=self.overlay, quiet=True)
            lost = list[str]()
            if self.overlay:
                lost = write_overlay(answer, source, target, top=min(self.top, 3), quiet=True)
            labels = [Label(**span.to_json()) for span in answer.spans]
            return Outcome(labels, [target] if self.overlay else (), [*answer.notes, *lost])

        return work


@dataclass(frozen=True)
class LocalizeTask:
    """`muybridge localize`; see its help for the fields."""

    model: str = "people_actions"
    detector: str | None = None
    config: LocalizeConfig = field(default_factory=LocalizeConfig)
    actions: bool = True
    views: TestViews = ONE_VIEW
    format: tuple[AnnotationFormat, ...] = ("json",)
    top: int = 1
    video: bool = True
    report: bool = True
    attention: bool = False
    bank_model: str | None = None
    banks: Path | None = None
    backbone_weights: Path | None = None
    device: str = "auto"
    precision: Precision = "float32"
    verb = "localize"

    def find(self, names: Iterable[str]) -> list[Source]:
        """See `Task`."""
        return clip_sources(names)

    def job(self, boxes: "Annotations | None" = None) -> "LocalizeJob":
        """The model, and what is the same for every input.

        Args:
            boxes: who is where; None lets the detector find out.
        """
        from muybridge.localize.files import LocalizeJob
        from muybridge.localize.video_localizer import PeopleLocalizer, VideoLocalizer

        if self.attention and not self.actions:
            raise OptionError("--attention shows what a model of actions looks at. Leave --no-actions out")
        localizer: VideoLocalizer
        if self.actions:
            from muybridge.localize.localizer import Localizer

            localizer = model = Localizer.from_pretrained(
                self.model,
                detector=self.detector,
                bank_writer=self.bank_model,
                device=self.device,
                backbone_weights=self.backbone_weights,
                precision=self.precision,
                views=self.views,
            )
            if self.attention:
                model.check_attention()
        else:
            localizer = PeopleLocalizer(self.detector, device=self.device)
        if boxes is None:
            _ = localizer.detector  # a wrong name is told before the first video is read
        config = self.config if self.actions else replace(self.config, threshold=0.0)
        return LocalizeJob(
            localizer,
            config,
            boxes,
            self.format,
            top=self.top,
            video=self.video,
            report=self.report,
            banks=self.banks,
            attention=self.attention,
        )

    def load(self) -> Work:
        """See `Task`."""
        from muybridge.localize.files import localize_video

        job = self.job()

        def work(source: Source, target: Path) -> Outcome:
            mine = replace(job, written=[])  # others may be at work beside it
            result, notes = localize_video(mine, source, target, quiet=True)
            labels = [Label(**span.to_json()) for span in result.spans(threshold=job.config.threshold)]
            return Outcome(labels, [*([target] if job.video else []), *mine.written], notes)

        return work


@dataclass(frozen=True)
class StylizeTask:
    """`muybridge stylize`; see its help for the fields."""

    style: tuple[str, ...]
    config: StylizeConfig = field(default_factory=StylizeConfig)
    mask: tuple[str, ...] = ()
    people: PeopleOptions = field(default_factory=PeopleOptions)
    model: str = "builtin"
    encoder_weights: Path | None = None
    device: str = "auto"
    temporal: bool = True
    carried: TemporalConfig = field(default_factory=TemporalConfig)
    resume: bool = False
    verb = "stylize"

    def find(self, names: Iterable[str]) -> list[Source]:
        """See `Task`."""
        return expand_sources(names)

    def check_styles(self) -> None:
        """Tell of a missing style before the model is loaded.

        Raises:
            MissingInput, OptionError: there is none, or its weight is no number.
        """
        from muybridge.stylize.styles import check_style

        for text in self.style:
            check_style(_parse_style(text)[0])

    def job(self, videos: Sequence[Path] = ()) -> "PaintJob":
        """The model, the styles, and what is the same for every input.

        Args:
            videos: that the file of people's boxes tells of.
        """
        from muybridge.media.masks import check_num_masks

        chosen = [_parse_style(text) for text in self.style]
        if self.mask and self.people.are_asked_for:
            raise OptionError("--who and --doing make a mask of their own. Give them, or --mask")
        check_num_masks(len(self.mask), len(chosen))
        from muybridge.stylize.files import PaintJob, StylesAtSize
        from muybridge.stylize.stylizer import Stylizer

        search = self._search(videos)
        stylizer = Stylizer.from_pretrained(self.model, device=self.device, encoder_weights=self.encoder_weights)
        styles = StylesAtSize(stylizer, [picture for picture, _ in chosen], self.config)
        styles(_LIKELY_SIDE, _LIKELY_SIDE)  # what is wrong with a style is said before work begins
        return PaintJob(
            stylizer=stylizer,
            styles=styles,
            weights=[weight for _, weight in chosen],
            masks=self.mask,
            config=self.config,
            temporal=self.carried if self.temporal else None,
            people=search,
            resume=self.resume,
        )

    def _search(self, videos: Sequence[Path]) -> "PeopleSearch | None":
        """What looks for the people to be painted; None where nobody asks for them."""
        asked = self.people
        if not asked.are_asked_for:
            idle = [name for name in ("all_but", "localizer", "detector", "boxes") if getattr(asked, name)]
            if idle:
                option = "--" + idle[0].replace("_", "-")
                raise OptionError(f"{option} is about people, and nobody is asked for. Add --who person, or --doing")
            return None
        from muybridge.data.annotations.files import read_boxes
        from muybridge.localize.localizer import Localizer
        from muybridge.localize.masks import PeopleChoice, parse_people
        from muybridge.localize.options import BUILT_IN
        from muybridge.localize.search import PeopleSearch
        from muybridge.people.detectors import load_detector

        choice = PeopleChoice(parse_people(asked.who), asked.doing, all_but=asked.all_but)
        localizer = None
        if asked.doing:
            name = asked.localizer or next(iter(BUILT_IN), None)
            if name is None:
                raise OptionError("--doing needs a model that tells what people do. Name it with --localizer")
            localizer = Localizer.from_pretrained(name, device=self.device)
        elif asked.localizer is not None:
            raise OptionError("--localizer tells what people do, and no action is asked for. Add --doing")
        boxes = None if asked.boxes is None else read_boxes(asked.boxes, videos, rename_lone=True)
        detector = None if boxes is not None else load_detector(asked.detector or "person", device=self.device)
        return PeopleSearch(choice, detector, localizer, boxes)

    def load(self) -> Work:
        """See `Task`."""
        from muybridge.stylize.segments import paint

        job = self.job()

        def work(source: Source, target: Path) -> Outcome:
            return Outcome(outputs=[target], notes=paint(job, source, target, quiet=True))

        return work


def _parse_style(text: str) -> tuple[str, float]:
    """PICTURE or PICTURE=WEIGHT; a file whose name holds the sign is taken as a file."""
    name, sign, weight = text.rpartition("=")
    if not sign or Path(text).exists():
        return text, 1.0
    try:
        return name, float(weight)
    except ValueError as error:
        raise OptionError(f"--style {text}: {weight!r} is no weight. Write PICTURE or PICTURE=NUMBER") from error
