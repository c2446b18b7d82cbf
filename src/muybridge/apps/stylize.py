"""`muybridge stylize`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from muybridge.errors import OptionError
from muybridge.options import FLAT
from muybridge.stylize.options import StylizeConfig, TemporalConfig

if TYPE_CHECKING:
    from muybridge.localize.search import PeopleSearch
    from muybridge.media.sources import Source

_PEOPLE = Parameter(group="People", negative=())


@dataclass(frozen=True)
class _StyleArgument:
    picture: str
    weight: float


@dataclass(frozen=True)
class PeopleOptions:
    """Who is painted.

    Attributes:
        who: Paint only people: person for everybody, person=2 or person=2,5 for some. They have the numbers that
            `muybridge localize` draws; a run says whom it found.
        doing: Paint only people who do this, while they do it; several name several actions.
        all_but: Paint everything but these people.
        localizer: For --doing: the model that tells what people do, a .safetensors file or OWNER/NAME on the Hugging
            Face hub.
        detector: What finds people: a name or file that `muybridge.people.detectors` knows; by default the built-in
            one.
        boxes: A file of people's boxes in place of a detector: AVA CSV, MOT text, COCO or VIA JSON, CVAT XML.
    """

    who: tuple[str, ...] = ()
    doing: tuple[str, ...] = ()
    all_but: bool = False
    localizer: str | None = None
    detector: str | None = None
    boxes: Path | None = None

    @property
    def are_asked_for(self) -> bool:
        """Whether only some of the picture is painted."""
        return bool(self.who or self.doing)


def stylize(
    inputs: list[str],
    /,
    *,
    style: Annotated[list[str], Parameter(alias="-s")],
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    config: Annotated[StylizeConfig, FLAT] = StylizeConfig(),
    mask: list[str] | None = None,
    people: Annotated[PeopleOptions, FLAT, _PEOPLE] = PeopleOptions(),
    model: str = "builtin",
    encoder_weights: Path | None = None,
    device: str = "auto",
    temporal: bool = True,
    carried: Annotated[TemporalConfig, FLAT] = TemporalConfig(),
) -> int:
    """Paint pictures and videos in the style of any image.

    Parameters
    ----------
    inputs
        Pictures, videos, folders, globs, stream addresses; mixed as you like.
    style
        A picture to take the style from, a built-in style (see `muybridge styles`), or a saved style. Several mix;
        PICTURE=WEIGHT sets the shares.
    out
        A file for one input, a folder for several. By default the result is beside the input, as NAME.stylized.
    mask
        A picture or video, white where to paint. One for all styles together, or one a style in their order. What
        no mask covers stays the photograph.
    model
        builtin, a .safetensors file, or OWNER/NAME on the Hugging Face hub.
    encoder_weights
        For a model trained on torchvision's VGG-19: that encoder's file, or vgg19 to fetch it.
    device
        auto, cpu, cuda, cuda:1, mps.
    temporal
        Keep a video steady by carrying each frame's painting to the next along the motion.
    """
    from muybridge.apps import batch
    from muybridge.media.sources import expand_sources, output_paths
    from muybridge.stylize.files import PaintJob, paint_file
    from muybridge.stylize.stylizer import Stylizer

    chosen = [_parse_style(text) for text in style]
    sources = expand_sources(inputs)
    targets = output_paths(sources, out, suffix_of_stem="stylized")
    if mask and people.are_asked_for:
        raise OptionError("--who and --doing make a mask of their own. Give them, or --mask")
    search = _people(people, sources, device)
    stylizer = Stylizer.from_pretrained(model, device=device, encoder_weights=encoder_weights)
    styles = [stylizer.encode_style(s.picture, projection=config.projection, size=config.style_size) for s in chosen]
    job = PaintJob(
        stylizer=stylizer,
        styles=styles,
        weights=[s.weight for s in chosen],
        masks=mask or [],
        config=config,
        temporal=carried if temporal else None,
        people=search,
    )
    return batch.run(sources, targets, lambda source, target: paint_file(job, source, target))


def _people(asked: PeopleOptions, sources: "list[Source]", device: str) -> "PeopleSearch | None":
    """What looks for the people to be painted; None where nobody asks for them."""
    if not asked.are_asked_for:
        idle = [name for name in ("all_but", "localizer", "detector", "boxes") if getattr(asked, name)]
        if idle:
            option = "--" + idle[0].replace("_", "-")
            raise OptionError(f"{option} is about people, and nobody is asked for. Add --who person, or --doing")
        return None
    from muybridge.data.annotations.files import read_boxes
    from muybridge.localize.localizer import Localizer
    from muybridge.localize.masks import PeopleChoice, parse_people
    from muybridge.localize.model_file import BUILT_IN
    from muybridge.localize.search import PeopleSearch
    from muybridge.people.detectors import load_detector

    choice = PeopleChoice(parse_people(asked.who), asked.doing, all_but=asked.all_but)
    localizer = None
    if asked.doing:
        name = asked.localizer or next(iter(BUILT_IN), None)
        if name is None:
            raise OptionError("--doing needs a model that tells what people do. Name it with --localizer")
        localizer = Localizer.from_pretrained(name, device=device)
    elif asked.localizer is not None:
        raise OptionError("--localizer tells what people do, and no action is asked for. Add --doing")
    boxes = None
    if asked.boxes is not None:
        boxes = read_boxes(
            asked.boxes, [source.path for source in sources if source.kind == "video"], rename_lone=True
        )
    detector = None if boxes is not None else load_detector(asked.detector or "person", device=device)
    return PeopleSearch(choice, detector, localizer, boxes)


def _parse_style(text: str) -> _StyleArgument:
    """PICTURE or PICTURE=WEIGHT; a file whose name holds the sign is taken as a file."""
    name, sign, weight = text.rpartition("=")
    if not sign or Path(text).exists():
        return _StyleArgument(text, 1.0)
    try:
        return _StyleArgument(name, float(weight))
    except ValueError as error:
        raise OptionError(f"--style {text}: {weight!r} is no weight. Write PICTURE or PICTURE=NUMBER") from error


def styles() -> None:
    """List the built-in styles."""
    from muybridge.stylize.styles import BUILT_IN_STYLES

    print("\n".join(f"{name:12} {about}" for name, (_, _, about) in BUILT_IN_STYLES.items()))  # noqa: T201
