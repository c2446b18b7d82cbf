"""Still pictures: upright 8-bit RGB with optional alpha, from any file Pillow reads, and back."""

import io
import struct
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from muybridge.errors import BrokenMedia, InputError, MissingInput, OptionError, OutputError
from muybridge.media.outputs import atomic_output

UInt8 = NDArray[np.uint8]

# What is read and written.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".tga", ".avif"}
)
# Phones' photographs, read through an extra and not written.
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
HEIF_BRANDS = frozenset({"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"})
READABLE_SUFFIXES = IMAGE_SUFFIXES | HEIF_SUFFIXES
# A gif may be a film, which is why it is no picture's suffix; one frame is written as one.
_WRITTEN_SUFFIXES = IMAGE_SUFFIXES | {".gif"}
_ALPHA_SUFFIXES = frozenset({".png", ".webp", ".tif", ".tiff", ".tga", ".avif", ".gif"})
# What a file may be by what is in it, whatever its name says: Pillow would take many more, and run PostScript.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "PPM", "TGA", "AVIF", "GIF")
# Their first bytes; TGA has none.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*", b"P5", b"P6", b"GIF8")
# Pillow promises OSError alone, but its readers raise what their parsers stumble over in a damaged file.
_READER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
    struct.error,
)


@dataclass(frozen=True, eq=False)
class Picture:
    """A still picture.

    Attributes:
        rgb: (H, W, 3) uint8, upright.
        alpha: (H, W) uint8, 255 opaque; None where the file has no transparency.
        icc_profile: the file's colour profile, to be written back unchanged.
        num_pictures: how many the file holds, as an animation or pages; this is the first.
    """

    rgb: UInt8
    alpha: UInt8 | None = None
    icc_profile: bytes | None = None
    num_pictures: int = 1

    def __repr__(self) -> str:
        height, width = self.rgb.shape[:2]
        return f"Picture({width}x{height}{', alpha' if self.alpha is not None else ''})"


def read_image(path: str | Path) -> Picture:
    """Read a picture: turned upright by its EXIF orientation, 16 bits scaled to 8, palette and grey to RGB.

    Of an animation or of pages it is the first.

    Raises:
        MissingInput: there is no such file.
        BrokenMedia: it is empty, truncated, not a picture, or of a size that would exhaust memory.
        InputError: it may not be read, or needs an extra.
    """
    path = Path(path)
    with open_picture(path) as file:
        profile = file.info.get("icc_profile")
        converted_profile = profile if file.mode in {"RGB", "RGBA", "P"} else None
        num_pictures = int(getattr(file, "n_frames", 1))
        rgb, alpha = _to_rgb(ImageOps.exif_transpose(file))
    return Picture(rgb, alpha, converted_profile, num_pictures)


def count_pictures(path: str | Path) -> int | None:
    """How many pictures a file holds, as an animation or pages; None where it is no picture that can be read."""
    try:
        with open_picture(path) as file:
            return int(getattr(file, "n_frames", 1))
    except InputError:
        return None


def begins_as_picture(path: str | Path) -> bool:
    """Whether a file's first bytes are those of a picture, however broken the rest of it is."""
    with Path(path).open("rb") as file:
        head = file.read(64)
    if head[4:8] == b"ftyp":
        return head[8:12].decode("latin-1") in HEIF_BRANDS | {"avif", "avis"}
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def image_size(path: str | Path) -> tuple[int, int]:
    """(width, height) of a picture in pixels as stored; its pixels are not decoded.

    Raises:
        InputError: as `read_image`.
    """
    with open_picture(path) as file:
        return file.size


@contextmanager
def open_picture(path: str | Path) -> Generator[Image.Image]:
    """Pillow's picture, not decoded yet; what goes wrong, in the body too, is one of our errors.

    Raises:
        InputError: as `read_image`.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a damage that an exception tells next
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_formats_of(path)) as file:
                yield file
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingInput(f"there is no picture {path}") from error
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path} cannot be read as a picture: {error.strerror}") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BrokenMedia(f"{path} is too large to open safely ({error}). Scale it down first") from error
    except UnidentifiedImageError as error:
        if begins_as_picture(path):
            raise BrokenMedia(f"{path} is a damaged picture. Copy or export it again") from error
        raise BrokenMedia(f"{path} is not a picture of a known format") from error
    except _READER_ERRORS as error:
        raise BrokenMedia(f"{path} is a damaged picture ({error}). Copy or export it again") from error


def _formats_of(path: Path) -> list[str]:
    """As which formats a file may be opened. Phones' own is taught to Pillow when the first such file comes.

    Raises:
        InputError: the extra is not installed; no `MissingExtra`, which would end a whole batch.
    """
    with path.open("rb") as file:
        head = file.read(64)
    if head[4:8] != b"ftyp" or head[8:12].decode("latin-1") not in HEIF_BRANDS or b"avif" in head:
        Image.init()
        return [name for name in _FORMATS if name in Image.OPEN]
    try:
        import_module("pi_heif").register_heif_opener()
    except ImportError as error:
        raise InputError(
            f"{path} is a HEIC photograph, which an optional dependency reads. Install it with: "
            "pip install 'muybridge[heif]', or export the picture as JPEG"
        ) from error
    return ["HEIF"]


def _to_rgb(image: Image.Image) -> tuple[UInt8, UInt8 | None]:
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
        # A 32-bit file may hold any of these ranges, which only its values tell.
        largest = values.max(initial=0)
        if image.mode.startswith("I;16") or 255 < largest <= 65535:
            values = values / 257
        elif largest > 65535:
            values = values * (255 / largest)
        elif image.mode == "F" and values.max(initial=0) <= 1:
            values = values * 255
        grey = np.clip(values + 0.5, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2), None
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA"))
        return np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3])
    return np.array(image.convert("RGB")), None


def check_picture_suffix(path: Path) -> None:
    """Refuse a name that no picture can be written to.

    Raises:
        OptionError: its suffix is not of a picture.
    """
    if path.suffix.lower() not in _WRITTEN_SUFFIXES:
        known = ", ".join(sorted(_WRITTEN_SUFFIXES))
        raise OptionError(f"cannot write a picture as {path.name!r}: use one of {known}")


def write_image(
    path: str | Path, rgb: UInt8, *, alpha: UInt8 | None = None, icc_profile: bytes | None = None
) -> None:
    """Write a picture in the format of its suffix, whole or not at all.

    Args:
        rgb: (H, W, 3) uint8.
        alpha: (H, W) uint8; formats without transparency get the picture over white.

    Raises:
        OptionError: a suffix that names no picture format.
        OutputError: the file cannot be written, or its format has no room for so large a picture.
    """
    path = Path(path)
    check_picture_suffix(path)
    suffix = path.suffix.lower()
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise InputError(f"a picture must be (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    if alpha is not None and suffix not in _ALPHA_SUFFIXES:
        share = alpha[..., None].astype(np.float32) / 255
        rgb, alpha = (rgb * share + 255 * (1 - share) + 0.5).astype(np.uint8), None
    image = Image.fromarray(rgb if alpha is None else np.dstack([rgb, alpha]))
    keywords: dict[str, Any] = {"icc_profile": icc_profile} if icc_profile else {}
    if suffix in {".jpg", ".jpeg", ".webp", ".avif"}:
        keywords["quality"] = 95
    # Encoded in memory first: Pillow's encoders do not notice a disk that fills up while they write.
    encoded = io.BytesIO()
    try:
        image.save(encoded, format=Image.registered_extensions()[suffix], **keywords)
    except (OSError, OverflowError, ValueError) as error:
        raise OutputError(
            f"cannot write {path}: its format does not take a picture of {image.width}x{image.height} ({error}). "
            "Write a .png, or scale it down"
        ) from error
    with atomic_output(path) as beside:
        beside.write_bytes(encoded.getvalue())


def resize_image(pixels: UInt8, width: int, height: int) -> UInt8:
    """Scale (H, W, 3) or (H, W) uint8 to another size: Lanczos, antialiased."""
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
