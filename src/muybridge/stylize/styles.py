"""Styles that ship with muybridge, drawn by code: nobody's paintings."""

from pathlib import Path

from muybridge.data.textures import RGB, TextureKind, draw_texture
from muybridge.errors import MissingInput

# name: kind, seed, what one sees. Seeds were chosen by looking.
BUILT_IN_STYLES: dict[str, tuple[TextureKind, int, str]] = {
    "ember": ("strokes", 0, "orange and violet brush strokes"),
    "meadow": ("strokes", 1, "green and cream brush strokes"),
    "glass": ("mosaic", 6, "blue and amber leaded glass"),
    "tesserae": ("mosaic", 4, "small blue and green stones"),
    "marble": ("marble", 2, "violet and cream ink on water"),
    "comic": ("halftone", 0, "coral and plum printed dots"),
    "hatching": ("hatching", 5, "brown pen strokes on green and sand"),
    "woodcut": ("waves", 6, "bold bands with dark outlines"),
    "collage": ("blocks", 3, "overlapping pink and violet cut paper"),
    "splatter": ("splatter", 3, "thrown violet and turquoise paint"),
}


def check_style(style: str | Path) -> None:
    """Whether there is such a file or built-in style; nothing is read of it.

    Raises:
        MissingInput: there is none.
    """
    if str(style) not in BUILT_IN_STYLES and not Path(style).is_file():
        raise MissingInput(
            f"there is no style {str(style)!r}: give a picture, a saved style, or one of `muybridge styles`"
        )


def built_in_style(name: str, *, size: int = 512) -> RGB:
    """The picture of a built-in style: (size, size, 3) uint8 RGB. KeyError for an unknown name."""
    kind, seed, _ = BUILT_IN_STYLES[name]
    return draw_texture(kind, seed=seed, size=size)
