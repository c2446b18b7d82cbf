"""What of training data a user chooses, as data: frames of a clip, augmentation, the part of a feature bank."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from cyclopts import Parameter

from muybridge.errors import OptionError
from muybridge.options import HIDDEN, PLAIN, Seconds
from muybridge.schema import Within, require_within

Range = tuple[float, float]
Preprocessing = Literal["own", "authors"]
MOST_FRAMES, LARGEST_SIDE = 4096, 4096
# Pixels of all frames of a clip as a model sees them. Nothing published comes near.
LARGEST_CLIP = 1 << 24


def check_clip_size(frames: int, height: int, width: int) -> None:
    """Raises: OptionError: clips of such frames are larger than any model takes."""
    if frames * height * width > LARGEST_CLIP:
        raise OptionError(
            f"clips of frames={frames} of {width} x {height} pixels are too large: they may have {LARGEST_CLIP} "
            "pixels together. Choose fewer frames, or a smaller size"
        )


@dataclass(frozen=True)
class FrameChoice:
    """Which frames of a clip are seen.

    Attributes:
        frames: Frames that the network sees of a clip.
        mode: dense takes neighbouring frames from a random place of the clip; segments one from each equal part of
            it.
        rate: Frames a second in dense sampling, whatever the file's own rate.
        stride: Every how many frames of the file in dense sampling, in place of rate.
    """

    frames: int = 8
    mode: Annotated[Literal["dense", "segments"], Parameter(name="--sampling")] = "dense"
    rate: float = 4.0
    stride: int | None = None

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise OptionError(f"frames={self.frames} shows nothing. Choose 1 or more, such as 8.")
        require_within(self, {"frames": Within(1, MOST_FRAMES)})
        if self.mode not in ("dense", "segments"):
            raise OptionError(f"mode={self.mode!r} is unknown. Choose one of: dense, segments.")
        if not self.rate > 0:
            raise OptionError(f"rate={self.rate} is no number of frames a second. Choose one above 0, such as 4.")
        if self.stride is not None and self.stride < 1:
            raise OptionError(f"stride={self.stride} does not go forward. Choose 1 or more.")


@dataclass(frozen=True)
class SamplingConfig(FrameChoice):
    """What a model is shown of a clip; part of every recognizer's file.

    Attributes:
        size: (height, width) in pixels of what the model sees.
        resize_short_side: pixels the short side is scaled to before the crop; None for as large as the crop.
        interpolation: how pictures are scaled: nearest, bilinear or bicubic.
        mean: subtracted from RGB in [0, 1].
        std: RGB is divided by it afterwards.
        preprocessing: "own", or "authors": the arithmetic of the code that ST-Adapter's authors released, for models
            that were trained by it. Pictures are scaled without antialiasing and not rounded to whole numbers, sides
            and places of crops are rounded down, and segments are counted in frames of the file.
    """

    size: tuple[int, int] = (224, 224)
    resize_short_side: int | None = None
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    preprocessing: Preprocessing = "own"

    def __post_init__(self) -> None:
        for name in ("size", "mean", "std"):  # JSON hands lists back
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        if min(self.size) < 1:
            raise OptionError(f"size={self.size} is no (height, width) in pixels. Choose such as (224, 224).")
        check_clip_size(self.frames, *self.size)
        if self.resize_short_side is not None and self.resize_short_side < min(self.size):
            raise OptionError(
                f"resize_short_side={self.resize_short_side} is smaller than the crop of {self.size}. "
                f"Choose {min(self.size)} or more."
            )
        if self.interpolation not in ("nearest", "bilinear", "bicubic"):
            raise OptionError(
                f"interpolation={self.interpolation!r} is unknown. Choose one of: nearest, bilinear, bicubic."
            )
        if self.preprocessing not in ("own", "authors"):
            raise OptionError(f"preprocessing={self.preprocessing!r} is unknown. Choose one of: own, authors.")

    @property
    def as_authors(self) -> bool:
        """Whether the arithmetic is that of the authors' code."""
        return self.preprocessing == "authors"

    @property
    def counts_frames(self) -> bool:
        """Whether a file's frames are chosen by their numbers, and not by time."""
        return self.as_authors if self.mode == "segments" else self.stride is not None

    @property
    def span_seconds(self) -> float | None:
        """How much time a dense clip covers; None where the file decides."""
        return self.frames / self.rate if self.mode == "dense" and self.stride is None else None


@dataclass(frozen=True)
class AugmentationConfig:
    """What training does to a clip.

    Attributes:
        crop: How training crops frames: scaled up a little and cropped anywhere (jitter, the default), a part of
            random size and shape, or the centre (the default with --cache).
        jitter: least and most of the scale of a jitter crop.
        area: least and most of the picture's area in a random_resized crop.
        ratio: least and most of its width to height, relative to the model's.
        flip: Mirror clips half of the time; not where classes tell left from right.
        mirror: With --flip, which class a class becomes in the mirror: "pan left=pan right"; once for each pair.
        reverse: Show half of the clips of two classes backwards, as the other of the two: "sit down=stand up"; once
            for each pair.
        rand_augment: Random changes of colour and shape done to a clip; 4 in the paper's recipe for
            Something-Something.
        magnitude: of these changes, 0 to 10, each time with a deviation of 0.5.
        color: Strength of random brightness, contrast and saturation, 0 to 1.
    """

    crop: Literal["jitter", "random_resized", "center"] | None = None
    jitter: Annotated[Range, HIDDEN] = (1.0, 1.15)
    area: Annotated[Range, HIDDEN] = (0.08, 1.0)
    ratio: Annotated[Range, HIDDEN] = (3 / 4, 4 / 3)
    flip: Annotated[bool, PLAIN] = False
    mirror: tuple[str, ...] = ()
    reverse: tuple[str, ...] = ()
    rand_augment: int = 0
    magnitude: Annotated[float, HIDDEN] = 7.0
    color: float = 0.0

    def __post_init__(self) -> None:
        if self.crop not in (None, "random_resized", "jitter", "center"):
            raise OptionError(f"crop={self.crop!r} is unknown. Choose one of: random_resized, jitter, center.")
        if not 1 <= self.jitter[0] <= self.jitter[1]:
            raise OptionError(f"jitter={self.jitter} must rise and start at 1 or more, such as (1.0, 1.15).")
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise OptionError(f"area={self.area} must rise between 0 and 1, such as (0.08, 1.0).")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise OptionError(f"ratio={self.ratio} must rise above 0, such as (0.75, 1.33).")
        if not 0 <= self.color <= 1:
            raise OptionError(f"color={self.color} is not between 0 and 1. Choose such as 0.3.")
        if not 0 <= self.magnitude <= 10 or self.rand_augment < 0:
            raise OptionError(
                f"rand_augment={self.rand_augment} with magnitude={self.magnitude}: choose 0 or more operations of a "
                "magnitude between 0 and 10."
            )
        require_within(self, {"rand_augment": Within(0, 100)})
        _ = self.mirrored_labels, self.reversed_labels

    @cached_property
    def mirrored_labels(self) -> dict[str, str]:
        """Which class a class becomes in the mirror, both ways."""
        return _pairs(self.mirror, "mirror")

    @cached_property
    def reversed_labels(self) -> dict[str, str]:
        """Which class a class becomes when it runs backwards, both ways."""
        return _pairs(self.reverse, "reverse")


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        one, sign, other = text.partition("=")
        if not (one and sign and other):
            raise OptionError(f'{option} {text!r} is no pair of classes. Write "pan left=pan right"')
        pairs |= {one: other, other: one}
    return pairs


@dataclass(frozen=True)
class BoxAugmentation:
    """How training clips are varied (arXiv 2006.07976, section 4).

    Attributes:
        jitter: Share of a box by which each side moves at most.
        flip: Mirror half of the clips; not where classes tell left from right.
        scales: Range of factors that frames are scaled by.
    """

    jitter: float = 0.075
    flip: bool = True
    scales: Range = (1.0, 1.25)

    def __post_init__(self) -> None:
        if not 0 <= self.jitter < 0.5:
            raise OptionError(f"jitter={self.jitter} is out of range. Choose 0 (none) to below 0.5, such as 0.075.")
        if not 0 < self.scales[0] <= self.scales[1]:
            raise OptionError(f"scales={self.scales} is no range. Choose such as (1.0, 1.25).")


@dataclass(frozen=True)
class BankSpan:
    """Which part of a feature bank is read around a key frame, in seconds; 10 to each side is our choice.

    Attributes:
        before: How far back the bank is read.
        after: How far ahead the bank is read; 0 for a model for live streams.
    """

    before: Annotated[Seconds, Parameter(name="--bank-before")] = 10.0
    after: Annotated[Seconds, Parameter(name="--bank-after")] = 10.0
