"""Numbered pictures in a folder, read as a video."""

from collections.abc import Generator, Sequence
from fractions import Fraction
from pathlib import Path

from muybridge.errors import InputError, MissingInput, OptionError
from muybridge.media.geometry import check_size, scaled_size
from muybridge.media.images import READABLE_SUFFIXES, read_image, resize_image
from muybridge.media.sources import natural_order
from muybridge.media.video_reader import DEFAULT_RATE, Frame, VideoInfo, exact_seconds


def pictures_in(folder: Path) -> list[Path]:
    """The pictures that lie directly in a folder, in the order of their numbers."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in READABLE_SUFFIXES and not p.name.startswith("."))
    return sorted(found, key=natural_order)


class FrameFolder:
    """Numbered pictures read as a video; offers what `VideoReader` offers.

    Args:
        paths: the pictures in order; all of one size.
        rate: frames per second.
        size, short_side: as for `VideoReader`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        rate: Fraction = DEFAULT_RATE,
        size: tuple[int, int] | None = None,
        short_side: int | None = None,
    ) -> None:
        if not paths:
            raise MissingInput("there are no pictures to read as a video")
        if rate <= 0:
            raise OptionError(f"rate={rate} must be above 0")
        check_size(size, short_side)
        self.paths, self.rate = list(paths), rate
        height, width = read_image(paths[0]).rgb.shape[:2]
        self._info = VideoInfo(width, height, rate, len(paths) / rate, len(paths), 1 / rate, False, 0)
        self._size = size or scaled_size(width, height, short_side, name=str(paths[0].parent))

    @property
    def info(self) -> VideoInfo:
        """Size, rate and length."""
        return self._info

    @property
    def notes(self) -> Sequence[str]:
        """Always empty: a picture that cannot be read is an error, since its neighbours would take its time."""
        return ()

    def __enter__(self) -> "FrameFolder":
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open."""

    def __iter__(self) -> Generator[Frame, None, None]:
        for index in range(len(self.paths)):
            yield self._frame(index)

    def timestamps(self) -> Sequence[Fraction]:
        """See `VideoReader.timestamps`."""
        return [index / self.rate for index in range(len(self.paths))]

    def frames_at_indices(self, indices: Sequence[int]) -> list[Frame]:
        """See `VideoReader.frames_at_indices`."""
        beyond = [i for i in indices if not 0 <= i < len(self.paths)]
        if beyond:
            raise OptionError(f"frame {beyond[0]} was asked of a folder with frames 0 to {len(self.paths) - 1}")
        return [self._frame(index) for index in indices]

    def frames_at_seconds(self, seconds: Sequence[Fraction | float]) -> list[Frame]:
        """See `VideoReader.frames_at_seconds`."""
        last = len(self.paths) - 1
        return [self._frame(min(max(int(exact_seconds(s) * self.rate), 0), last)) for s in seconds]

    def _frame(self, index: int) -> Frame:
        rgb = read_image(self.paths[index]).rgb
        if rgb.shape[:2] != (self._info.height, self._info.width):
            raise InputError(
                f"{self.paths[index]} is {rgb.shape[1]}x{rgb.shape[0]}, the first picture of its folder "
                f"{self._info.width}x{self._info.height}: frames of one video must have one size"
            )
        if self._size != (self._info.width, self._info.height):
            rgb = resize_image(rgb, *self._size)
        return Frame(rgb, index / self.rate, index, 1 / self.rate)
