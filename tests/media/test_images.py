"""Pictures of every kind, made by Pillow and read against arrays that the test holds."""

import base64
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from muybridge.errors import BrokenMedia, InputError, MissingInput, OptionError, OutputError
from muybridge.media.gif import gif_loops
from muybridge.media.images import (
    IMAGE_SUFFIXES,
    count_pictures,
    image_size,
    read_image,
    resize_image,
    write_image,
)
from muybridge.media.outputs import atomic_output
from muybridge.media.video_reader import VideoReader


def colours(height: int = 6, width: int = 8) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


# How the stored picture follows from the upright one, by the EXIF 2.3 table of where row 0 and column 0 lie.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = colours()
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path).rgb, upright)


def test_grey_palette_and_bilevel(tmp_path: Path) -> None:
    grey = colours()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png").rgb, np.dstack([grey] * 3))
    Image.fromarray(grey > 99).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png").rgb[..., 1], (grey > 99) * 255)
    table = colours(1, 4)[0]
    indices = np.random.default_rng(2).integers(0, 4, (5, 7), dtype=np.uint8)
    image = Image.fromarray(indices, mode=None).convert("L")
    image = Image.frombytes("P", (7, 5), image.tobytes())
    image.putpalette(table.tobytes())
    image.save(tmp_path / "palette.png")
    picture = read_image(tmp_path / "palette.png")
    np.testing.assert_array_equal(picture.rgb, table[indices])
    assert picture.alpha is None
    image.save(tmp_path / "clear.png", transparency=2)
    np.testing.assert_array_equal(read_image(tmp_path / "clear.png").alpha, np.where(indices == 2, 0, 255))


@pytest.mark.parametrize("top", [65535, 200], ids=["full range", "very dark"])
def test_sixteen_bit_grey(tmp_path: Path, top: int) -> None:
    values = np.linspace(0, top, 48).reshape(6, 8).astype(np.uint16)
    for suffix in ("png", "tif"):
        Image.fromarray(values).save(tmp_path / f"deep.{suffix}")
        rgb = read_image(tmp_path / f"deep.{suffix}").rgb
        np.testing.assert_array_equal(rgb[..., 0], np.floor(values / 257 + 0.5))


def test_sixteen_bit_colour_png(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 65536, (4, 5, 3)).astype(">u2")

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    (tmp_path / "deep.png").write_bytes(content)
    rgb = read_image(tmp_path / "deep.png").rgb
    assert np.abs(rgb - values.astype(float) / 257).max() <= 1


def test_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "cyan.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "cyan.jpg").rgb.astype(int) - (0, 255, 255)).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_is_kept(tmp_path: Path, suffix: str) -> None:
    rgb, alpha = colours(), np.linspace(0, 255, 48).reshape(6, 8).astype(np.uint8)
    write_image(tmp_path / f"a{suffix}", rgb, alpha=alpha)
    picture = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.alpha, alpha)
    if suffix != ".webp":
        np.testing.assert_array_equal(picture.rgb, rgb)


def test_a_format_without_alpha_gets_the_picture_over_white(tmp_path: Path) -> None:
    rgb = np.zeros((16, 16, 3), np.uint8)
    write_image(tmp_path / "over.bmp", rgb, alpha=np.full((16, 16), 51, np.uint8))
    np.testing.assert_array_equal(read_image(tmp_path / "over.bmp").rgb, 204)
    write_image(tmp_path / "over.jpg", rgb, alpha=np.zeros((16, 16), np.uint8))
    assert read_image(tmp_path / "over.jpg").rgb.min() >= 253


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_is_written_and_read(tmp_path: Path, suffix: str) -> None:
    rgb = np.asarray(Image.fromarray(colours(3, 4)).resize((32, 24), Image.Resampling.BICUBIC))
    write_image(tmp_path / f"x{suffix}", rgb)
    got = read_image(tmp_path / f"x{suffix}").rgb
    assert got.shape == rgb.shape
    if suffix != ".pgm":
        assert np.abs(got.astype(int) - rgb).mean() < 6


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2000, 3)])
def test_extreme_sizes(tmp_path: Path, height: int, width: int) -> None:
    rgb = colours(height, width)
    write_image(tmp_path / "x.png", rgb)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png").rgb, rgb)


@pytest.mark.parametrize("content", [b"", b"a shopping list\n" * 9], ids=["zero bytes", "text"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(BrokenMedia, match=r"x\.png"):
        read_image(tmp_path / "x.png")
    with pytest.raises(MissingInput, match=r"y\.png"):
        read_image(tmp_path / "y.png")


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 64 48
%%EndComments
newpath 0 0 64 48 rectfill showpage
"""


@pytest.mark.parametrize("look", [read_image, count_pictures, image_size, gif_loops])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "tga", "gif", "eps"])
def test_a_program_that_is_named_as_a_picture_is_not_run(tmp_path: Path, monkeypatch, look, suffix: str) -> None:
    def run(*arguments: object, **_: object) -> None:
        pytest.fail(f"ran {arguments}")

    monkeypatch.setattr("subprocess.check_call", run)
    monkeypatch.setattr("subprocess.Popen", run)
    path = tmp_path / f"program.{suffix}"
    path.write_bytes(POSTSCRIPT)
    if look in (read_image, image_size):
        with pytest.raises(BrokenMedia, match=rf"program\.{suffix} is not a picture of a known format"):
            look(path)
    else:
        assert look(path) == (None if look is count_pictures else 0)


@pytest.mark.parametrize("form", ["ICNS", "ICO", "PCX", "SGI", "DDS", "JPEG2000", "PDF", "EPS"])
def test_only_formats_that_are_named_are_read(tmp_path: Path, form: str) -> None:
    """Pillow knows more; each is code that a stranger's file would reach."""
    Image.fromarray(colours(16, 16)).save(tmp_path / "a.png", format=form)
    with pytest.raises(BrokenMedia, match="is not a picture of a known format"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "tif", "webp", "bmp"])
def test_cut_pictures_are_refused_at_any_length(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(colours(40, 50)).save(path)
    whole = path.read_bytes()
    for share in (0.02, 0.1, 0.3, 0.6):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(BrokenMedia, match=path.name):
            read_image(path)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9000)
    with pytest.raises(BrokenMedia, match="too large"):
        read_image(tmp_path / "bomb.png")


# A plain photograph of 64x64, (200, 30, 30), as libheif 1.23 with x265 writes it.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJp"
    "bG9jAAAAAERAAAEAAQAAAAABegABAAAAAAAAAB4AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAAB"
    "AAAA1mlwcnAAAAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEA"
    "AQArQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAA"
    "AAAUaXNwZQAAAAAAAABAAAAAQAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAACZtZGF0AAAAGigBrwngITl1"
    "X//9GN///CNPIftcsHQcw9fg"
)


def test_a_phones_photograph_is_read_by_an_extra(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    for name in ("photo.heic", "photo.jpg"):
        (tmp_path / name).write_bytes(HEIC)
        rgb = read_image(tmp_path / name).rgb
        assert rgb.shape == (64, 64, 3)
        assert np.abs(rgb.astype(int) - (200, 30, 30)).max() < 6


def test_without_the_extra_a_phones_photograph_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    for name in ("photo.heic", "photo.jpg"):
        (tmp_path / name).write_bytes(HEIC)
        with pytest.raises(InputError, match=rf"{name} is a HEIC photograph.*muybridge\[heif\]"):
            read_image(tmp_path / name)
    (tmp_path / "photo.mp4").write_bytes(HEIC)
    with pytest.raises(BrokenMedia, match=r"photo.mp4 is a HEIC photograph"):
        VideoReader(tmp_path / "photo.mp4")


@pytest.mark.parametrize(
    "error",
    [TypeError("x"), KeyError("x"), struct.error("x"), OverflowError("x"), ZeroDivisionError("x"), RuntimeError("x")],
)
def test_what_pillow_stumbles_over_is_a_damaged_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (tmp_path / "x.png").write_bytes(b"x")

    def stumble(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", stumble)
    with pytest.raises(BrokenMedia, match=r"x\.png is a damaged picture"):
        read_image(tmp_path / "x.png")
    assert count_pictures(tmp_path / "x.png") is None


def test_a_tiff_with_a_field_of_another_kind_is_damaged(tmp_path: Path) -> None:
    """Its width as text: Pillow raises a TypeError."""
    path = tmp_path / "x.tif"
    Image.fromarray(colours()).save(path)
    content = bytearray(path.read_bytes())
    place = (
        content.index(struct.pack("<HH", 256, 4))
        if struct.pack("<HH", 256, 4) in content
        else content.index(struct.pack("<HH", 256, 3))
    )
    content[place + 2 : place + 4] = struct.pack("<H", 2)
    path.write_bytes(content)
    with pytest.raises(BrokenMedia, match=r"x\.tif"):
        read_image(path)


def test_a_picture_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(b"x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"x\.png cannot be read as a picture: Permission denied"):
        read_image(tmp_path / "x.png")


def test_writing_refuses_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.xyz"):
        write_image(tmp_path / "a.xyz", colours())
    for array in (colours()[..., 0], colours().astype(np.float32)):
        with pytest.raises(InputError):
            write_image(tmp_path / "a.png", array)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_image(tmp_path / "file" / "a.png", colours())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_output_appears_whole_or_not_at_all(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "new" / "result.txt"

    def work() -> None:
        with atomic_output(path) as beside:
            beside.write_text("half")
            assert not path.exists()
            raise error

    with pytest.raises(error):
        work()
    assert list(path.parent.iterdir()) == []
    with atomic_output(path) as beside:
        beside.write_text("whole")
    assert [(p.name, p.read_text()) for p in path.parent.iterdir()] == [("result.txt", "whole")]


def test_resizing(tmp_path: Path) -> None:
    assert resize_image(colours(), 5, 9).shape == (9, 5, 3)
    assert resize_image(colours()[..., 0], 5, 9).shape == (9, 5)
    np.testing.assert_array_equal(resize_image(np.full((9, 9, 3), 77, np.uint8), 4, 3), 77)


def test_float_grey_in_each_range(tmp_path: Path) -> None:
    unit = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    for top, name in ((1, "unit.tif"), (255, "bytes.tif"), (65535, "words.tif")):
        Image.fromarray(unit * top).save(tmp_path / name)
        shown = read_image(tmp_path / name).rgb[..., 0]
        assert np.abs(shown - unit.astype(np.float64) * 255).max() <= 0.51, name
    unit[0, :3] = np.nan, np.inf, -np.inf
    Image.fromarray(unit).save(tmp_path / "holes.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "holes.tif").rgb[0, :3], 0)


def test_numbers_of_32_bits_reach_from_black_to_white(tmp_path: Path) -> None:
    ramp = np.linspace(0, 2**31 - 1, 64).round().astype(np.int32).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.tif")
    expected = np.linspace(0, 255, 64).reshape(8, 8)
    assert np.abs(read_image(tmp_path / "deep.tif").rgb[..., 1] - expected).max() <= 0.51


def test_lab_has_no_transparency(tmp_path: Path) -> None:
    Image.fromarray(colours()).convert("LAB").save(tmp_path / "lab.tif")
    assert read_image(tmp_path / "lab.tif").alpha is None  # its band named A is a colour


@pytest.mark.parametrize("name", ["moving.webp", "moving.png", "pages.tif"])
def test_of_several_pictures_the_first_is_read_and_their_number_told(tmp_path: Path, name: str) -> None:
    first, *rest = (Image.fromarray(np.full((6, 8, 3), level, np.uint8)) for level in (0, 100, 200))
    first.save(tmp_path / name, save_all=True, append_images=rest)
    picture = read_image(tmp_path / name)
    assert picture.num_pictures == 3
    assert picture.rgb.max() == 0


@pytest.mark.parametrize(("name", "width"), [("long.webp", 16384), ("long.jpg", 65536), ("long.tga", 65536)])
def test_a_picture_beyond_its_format_is_refused(tmp_path: Path, name: str, width: int) -> None:
    with pytest.raises(OutputError, match=rf"{name}.*{width}x1.*Write a \.png"):
        write_image(tmp_path / name, np.zeros((1, width, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
