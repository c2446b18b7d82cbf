"""`muybridge stylize`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from muybridge.errors import OptionError


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
    style_size: int = 512,
    size: int = 0,
    keep_colors: Annotated[bool, Parameter(negative=())] = False,
    mask: Annotated[list[str] | None, Parameter(negative=())] = None,
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
    style_size
        Short side in pixels that style pictures are scaled to; larger makes larger strokes.
    size
        Short side in pixels of the result; 0 keeps the input's own size.
    keep_colors
        Keep the content's colours and paint only light and dark.
    mask
        A picture or video, white where to paint. One for all styles together, or one a style in their order. What
        no mask covers stays the photograph.
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
    from muybridge.tasks.stylize import StylizeConfig, Stylizer
    from muybridge.tasks.stylize_files import PaintJob, paint_file
    from muybridge.tasks.temporal import TemporalConfig

    config = StylizeConfig(
        strength=strength,
        interpolation=interpolation,
        projection=projection,
        patch_size=patch_size,
        keep_colors=keep_colors,
        style_size=style_size,
        size=size,
    )
    chosen = [_parse_style(text) for text in style]
    sources = expand_sources(inputs)
    targets = output_paths(sources, out, suffix_of_stem="stylized")
    stylizer = Stylizer.from_pretrained(model, device=device)
    styles = [stylizer.encode_style(s.picture, projection=projection, size=style_size) for s in chosen]
    job = PaintJob(
        stylizer=stylizer,
        styles=styles,
        weights=[s.weight for s in chosen],
        masks=mask or [],
        config=config,
        temporal=TemporalConfig(motion=motion) if temporal else None,
    )
    return batch.run(sources, targets, lambda source, target: paint_file(job, source, target))


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
    from muybridge.tasks.built_in_styles import BUILT_IN_STYLES

    print("\n".join(f"{name:12} {about}" for name, (_, _, about) in BUILT_IN_STYLES.items()))  # noqa: T201
