"""What a user can choose of a stylizer, as data: a painting, its coherence over time, the training."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from muybridge.data.options import LARGEST_SIDE
from muybridge.errors import OptionError
from muybridge.media.sources import Source
from muybridge.models.avatar_net.config import MIN_SIDE, Interpolation, Projection
from muybridge.options import BASIC, DATA, FLAT, HIDDEN, PLAIN, RUN, TRAINING
from muybridge.schema import Within, require_within
from muybridge.training.fit_config import FitConfig

# Models that come with it: their files by name.
BUILT_IN = {"builtin": "stylizer.safetensors"}

# Below, strokes are lost; above, they cost time, and pieces of style are small against the picture.
_STYLE_SIDES = (256, 640)

MotionSource = Literal["dis", "features"]


@dataclass(frozen=True)
class StylizeConfig:
    """What the user can ask of a painting.

    Attributes:
        strength: From 0, the photograph, to 1, the style alone.
        interpolation: How strength acts: biased fades from the photograph, normalized from one in the style's colours
            and contrasts.
        projection: What is matched: zca all correlations of the features; adain each channel alone, which is quicker
            and keeps more of the content. A style that was saved keeps the one it was made with.
        patch_size: Odd side of the pieces of style, in units of 8 pixels; larger ones keep more of the style's
            drawing and less of the content's detail.
        detail: From 0, the style's strokes alone, to 1, the photograph's lines alone. The network with VGG-19 knows
            no such balance.
        style_size: Short side in pixels that style pictures are scaled to; larger makes larger strokes. 0 takes the
            painted picture's, from 256 to 640.
        size: Short side in pixels of the result; 0 keeps the input's own size.
        keep_colors: Keep the content's colours and paint only light and dark.
    """

    strength: float = 1.0
    interpolation: Interpolation = "biased"
    projection: Projection = "zca"
    patch_size: int = 5
    detail: float = 0.79
    style_size: int = 0
    size: int = 0
    keep_colors: Annotated[bool, PLAIN] = False

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise OptionError(f"strength={self.strength} is out of range: choose 0 (the photograph) to 1 (the style)")
        if self.patch_size < 1 or self.patch_size % 2 == 0:
            raise OptionError(f"patch_size={self.patch_size} must be an odd number: try 3 or 5")
        if not 0 <= self.detail <= 1:
            raise OptionError(
                f"detail={self.detail} is out of range: choose 0 (the style's strokes) to 1 (the photograph's lines)"
            )
        if self.style_size != 0 and self.style_size < MIN_SIDE:
            raise OptionError(
                f"style_size={self.style_size} is too small: choose {MIN_SIDE} or more, or 0 for the picture's own"
            )
        if self.size < 0:
            raise OptionError(f"size={self.size} must be 0 (keep the size) or a number of pixels")

    def side_of_styles(self, width: int, height: int) -> int:
        """Short side at which styles are looked at for a painting of this size."""
        return self.style_size or min(max(min(width, height), _STYLE_SIDES[0]), _STYLE_SIDES[1])


@dataclass(frozen=True)
class TemporalConfig:
    """How much is carried. Zero of all three paints frame by frame.

    Attributes:
        match_bonus: added to the score, a cosine, of the carried match.
        feature_share: of the carried swapped features in the blend, 0 to 1.
        picture_share: of the carried painted pixels in the blend, 0 to 1.
        photometric_scale: difference of RGB in [0, 255] between a pixel and its origin at which belief falls to 1/e.
        motion: Where the motion comes from: dis is OpenCV's optical flow, features takes the network's own.
    """

    match_bonus: Annotated[float, HIDDEN] = 0.4
    feature_share: Annotated[float, HIDDEN] = 0.7
    picture_share: Annotated[float, HIDDEN] = 0.3
    photometric_scale: Annotated[float, HIDDEN] = 24.0
    motion: MotionSource = "dis"


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


@dataclass(frozen=True)
class StylizerFitConfig(FitConfig):
    """How to train a stylizer, as in section 3.4 of the paper.

    Attributes:
        steps: Optimizer steps.
        validate_every: Steps between measurements on the held-out photographs.
    """

    epochs: Annotated[float, HIDDEN] = 30
    steps: Annotated[int, BASIC] = 120_000
    validations: Annotated[int, HIDDEN] = 0
    validate_every: int = 2000
    workers: Annotated[int, RUN] = 2


@dataclass(frozen=True)
class StylizerPlan:
    """All that makes a run what it is.

    Attributes:
        photos: Photographs, folders, globs, or tar shards of webdataset: files, folders, or addresses that fsspec
            knows. Every fiftieth photograph is held out to measure the reconstruction.
        encoder: vgg19 is torchvision's, fetched over the network once; a .pth file is the same from disk; builtin
            takes the small encoder that ships with muybridge.
        short_side: Pixels that a photograph's short side is scaled to.
        crop: Side of the random crop in pixels.
        config: how to train.
    """

    photos: Annotated[tuple[str, ...], BASIC]
    _: KW_ONLY
    encoder: Annotated[str, BASIC] = "vgg19"
    short_side: Annotated[int, DATA] = 512
    crop: Annotated[int, DATA] = 256
    config: Annotated[StylizerFitConfig, FLAT, TRAINING] = field(default_factory=StylizerFitConfig)

    def __post_init__(self) -> None:
        require_within(self, {"short_side": Within(1, LARGEST_SIDE)})
        if not 0 < self.crop <= self.short_side or self.crop % 8:
            raise OptionError(
                f"crop={self.crop} must be a multiple of 8 and at most the short side, {self.short_side}"
            )


def check_preview(source: Source) -> None:
    """Refuse a preview of what is no film.

    Raises:
        OptionError: it is a picture, or live.
    """
    if source.kind != "video":
        raise OptionError(f"--preview is of films, and {source.location} is none. Paint it without")


def check_segments(source: Source, target: Path) -> None:
    """Refuse a film that cannot be painted in segments, which a later run goes on with.

    Raises:
        OptionError: it is live, or the target is a GIF.
    """
    if source.kind == "stream":
        raise OptionError(f"{source.location} is live, and what is over cannot be gone on with. Leave --resume out")
    if source.kind == "video" and target.suffix.lower() == ".gif":
        raise OptionError(f"{target} is written at once, and not in segments. Leave --resume out, or write an .mp4")
