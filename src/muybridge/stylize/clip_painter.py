"""From names of styles to what paints training clips."""

from collections.abc import Sequence
from pathlib import Path

from muybridge.data.clips.painting import ClipPainter, PaintingConfig
from muybridge.errors import OptionError
from muybridge.media.sources import expand_sources
from muybridge.stylize.styles import BUILT_IN_STYLES
from muybridge.stylize.stylizer import Stylizer

# Clips are small, and so must strokes be; small styles are also quicker to match.
_STYLE_SIDE = 160


def parse_augment(texts: Sequence[str]) -> PaintingConfig | None:
    """`--augment stylize=ember,pictures/:0.5`: styles, and the share of clips that are painted, by default half.

    Raises:
        OptionError: another augmentation, no style, or a share out of range.
    """
    if not texts:
        return None
    if len(texts) > 1:
        raise OptionError(f"--augment is given {len(texts)} times. Give all styles in one, as stylize=ember,comic")
    kind, equals, value = texts[0].partition("=")
    if kind != "stylize" or not equals:
        raise OptionError(f"--augment {texts[0]!r} is unknown. Write stylize=STYLES or stylize=STYLES:PROBABILITY")
    names, colon, share = value.rpartition(":")
    try:
        probability = float(share) if colon else PaintingConfig.probability
    except ValueError:  # a colon of a path
        names, probability = value, PaintingConfig.probability
    styles = tuple(name.strip() for name in (names if colon else value).split(",") if name.strip())
    return PaintingConfig(styles, probability)


def load_clip_painter(config: PaintingConfig) -> ClipPainter:
    """The built-in stylizer on the CPU, its styles looked at once.

    Raises:
        OptionError, InputError: a style is neither built in, nor a picture, nor a folder of pictures.
    """
    stylizer = Stylizer.from_pretrained(device="cpu")
    codes = [stylizer.encode_style(style, size=_STYLE_SIDE).code for style in style_files(config.styles)]
    return ClipPainter(stylizer.network, codes, config)


def style_files(styles: Sequence[str]) -> list[str]:
    """Built-in names and files as they are; folders as the pictures in them.

    Raises:
        OptionError: a name that is none of these.
        MissingInput: a folder without pictures.
    """
    found: list[str] = []
    for style in styles:
        path = Path(style)
        if style in BUILT_IN_STYLES and not path.exists():
            found.append(style)
        elif not path.exists():
            known = ", ".join(BUILT_IN_STYLES)
            raise OptionError(f"there is no style {style!r}: give a picture, a folder of pictures, or one of {known}")
        elif path.suffix == ".safetensors":
            found.append(style)
        else:
            pictures = [str(source.path) for source in expand_sources([style]) if source.kind == "image"]
            if not pictures:
                raise OptionError(f"{style} holds no pictures to take a style from. Give a folder of pictures")
            found += pictures
    return found
