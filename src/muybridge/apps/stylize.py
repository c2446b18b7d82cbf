"""`muybridge stylize`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from muybridge.errors import OptionError

if TYPE_CHECKING:
    from muybridge.localize.search import PeopleSearch
    from muybridge.media.sources import Source

_PEOPLE = Parameter(group="People", negative=())


@dataclass(frozen=True)
class _StyleArgument:
    picture: str
    weight: float


def stylize(
    inputs: Annotated[list[str], Parameter(negative=())],
    /,
    *,
    style: Annotated[list[str], Parameter(alias="-s", negative=())],
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    strength: float = 1.0,
    interpolation: Literal["biased", "normalized"] = "biased",
    projection: Literal["zca", "adain"] = "zca",
    patch_size: int = 5,
    detail: float = 0.5,
    style_size: int = 512,
    size: int = 0,
    keep_colors: Annotated[bool, Parameter(negative=())] = False,
    mask: Annotated[list[str] | None, Parameter(negative=())] = None,
    who: Annotated[list[str] | None, _PEOPLE] = None,
    doing: Annotated[list[str] | None, _PEOPLE] = None,
    all_but: Annotated[bool, _PEOPLE] = False,
    localizer: Annotated[str | None, _PEOPLE] = None,
    detector: Annotated[str | None, _PEOPLE] = None,
    boxes: Annotated[Path | None, _PEOPLE] = None,
    model: str = "builtin",
    device: str = "auto",
    temporal: bool = True,
    motion: Literal["auto", "features", "dis"] = "auto",
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
    strength
        From 0, the photograph, to 1, the style alone.
    interpolation
        How strength acts: biased fades from the photograph, normalized from one in the style's colours.
    projection
        What is matched: zca all correlations of the features; adain each channel alone, which is quicker and keeps
        more of the content.
    patch_size
        Odd side of the pieces of style, in units of 8 pixels.
    detail
        From 0, the style's strokes alone, to 1, the photograph's lines alone.
    style_size
        Short side in pixels that style pictures are scaled to; larger makes larger strokes.
    size
        Short side in pixels of the result; 0 keeps the input's own size.
    keep_colors
        Keep the content's colours and paint only light and dark.
    mask
        A picture or video, white where to paint. One for all styles together, or one a style in their order. What
        no mask covers stays the photograph.
    who
        Paint only people: person for everybody, person=2 or person=2,5 for some. They have the numbers that
        `muybridge localize` draws; a run says whom it found.
    doing
        Paint only people who do this, while they do it; several name several actions.
    all_but
        Paint everything but these people.
    localizer
        For --doing: the model that tells what people do, a .safetensors file or OWNER/NAME on the Hugging Face hub.
    detector
        What finds people: a name or file that `muybridge.people.detectors` knows; by default the built-in one.
    boxes
        A file of people's boxes in place of a detector: AVA CSV, MOT text, COCO or VIA JSON, CVAT XML.
    model
        builtin, a .safetensors file, or OWNER/NAME on the Hugging Face hub.
    device
        auto, cpu, cuda, cuda:1, mps.
    temporal
        Keep a video steady by carrying each frame's painting to the next along the motion.
    motion
        Where the motion comes from: dis is OpenCV's optical flow (pip install 'muybridge[flow]'), features needs
        nothing extra, auto takes dis where it is installed.
    """
    from muybridge.apps import batch
    from muybridge.media.sources import expand_sources, output_paths
    from muybridge.stylize.files import PaintJob, paint_file
    from muybridge.stylize.stylizer import StylizeConfig, Stylizer
    from muybridge.stylize.temporal import TemporalConfig

    config = StylizeConfig(
        strength=strength,
        interpolation=interpolation,
        projection=projection,
        patch_size=patch_size,
        detail=detail,
        keep_colors=keep_colors,
        style_size=style_size,
        size=size,
    )
    chosen = [_parse_style(text) for text in style]
    sources = expand_sources(inputs)
    targets = output_paths(sources, out, suffix_of_stem="stylized")
    asked = _PeopleOptions(who or [], doing or [], all_but, localizer, detector, boxes)
    if mask and asked.who_is_asked:
        raise OptionError("--who and --doing make a mask of their own. Give them, or --mask")
    people = _people(asked, sources, device)
    stylizer = Stylizer.from_pretrained(model, device=device)
    styles = [stylizer.encode_style(s.picture, projection=projection, size=style_size) for s in chosen]
    job = PaintJob(
        stylizer=stylizer,
        styles=styles,
        weights=[s.weight for s in chosen],
        masks=mask or [],
        config=config,
        temporal=TemporalConfig(motion=motion) if temporal else None,
        people=people,
    )
    return batch.run(sources, targets, lambda source, target: paint_file(job, source, target))


@dataclass(frozen=True)
class _PeopleOptions:
    who: list[str]
    doing: list[str]
    all_but: bool
    localizer: str | None
    detector: str | None
    boxes: Path | None

    @property
    def who_is_asked(self) -> bool:
        return bool(self.who or self.doing)


def _people(asked: _PeopleOptions, sources: "list[Source]", device: str) -> "PeopleSearch | None":
    """What looks for the people to be painted; None where nobody asks for them."""
    if not asked.who_is_asked:
        idle = [name for name in ("all_but", "localizer", "detector", "boxes") if getattr(asked, name)]
        if idle:
            option = "--" + idle[0].replace("_", "-")
            raise OptionError(f"{option} is about people, and nobody is asked for. Add --who person, or --doing")
        return None
    from muybridge.data.annotations.files import read_boxes
    from muybridge.localize.localizer import BUILT_IN, Localizer
    from muybridge.localize.masks import PeopleChoice, parse_people
    from muybridge.localize.search import PeopleSearch
    from muybridge.people.detectors import load_detector

    choice = PeopleChoice(parse_people(asked.who), tuple(asked.doing), all_but=asked.all_but)
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
