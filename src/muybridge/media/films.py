"""Whatever a user names as a film: a file, a stream, a folder of frames. Opened, or refused at a glance."""

from pathlib import Path

from muybridge.errors import InputError
from muybridge.media.container import open_video
from muybridge.media.frame_folder import FrameFolder, pictures_in
from muybridge.media.images import image_size
from muybridge.media.outputs import is_folder
from muybridge.media.sources import Source
from muybridge.media.video_reader import VideoReader


def open_film(
    location: str | Path, *, size: tuple[int, int] | None = None, short_side: int | None = None
) -> VideoReader | FrameFolder:
    """A reader of a video, a stream, or a folder of frames.

    Args:
        size, short_side: as for `VideoReader`.

    Raises:
        InputError: it cannot be read.
    """
    if "://" not in str(location) and is_folder(Path(location)):
        return FrameFolder(pictures_in(Path(location)), size=size, short_side=short_side)
    return VideoReader(location, size=size, short_side=short_side)


def open_source(source: Source, *, short_side: int | None = None) -> VideoReader | FrameFolder:
    """A reader of a video, a stream, or a folder of frames.

    Raises:
        InputError: it cannot be read, or is a still picture.
    """
    refuse_picture(source)
    return open_film(source.location, short_side=short_side)


def refuse_picture(source: Source) -> None:
    """Raise InputError for a still picture, where only a film will do."""
    if source.kind == "image":
        raise InputError(
            f"{source.location} is a picture, in which nothing happens. Give a video or a folder of frames"
        )


def check_opens(source: Source) -> None:
    """Refuse what is no picture and no film, before anything is made ready for it; streams are left alone.

    Raises:
        InputError: it is not there, may not be read, or is something else.
    """
    if source.kind == "image":
        image_size(source.path)
    elif source.kind == "video" and not is_folder(source.path):
        container, _ = open_video(source.location)
        container.close()


def check_film(source: Source) -> None:
    """`check_opens`, and a still picture is refused too."""
    refuse_picture(source)
    check_opens(source)
