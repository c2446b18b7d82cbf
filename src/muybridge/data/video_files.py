"""The video files that annotations name."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from muybridge.errors import AnnotationError, MissingInput
from muybridge.media.sources import VIDEO_SUFFIXES
from muybridge.media.video_reader import DEFAULT_RATE, VideoReader


@dataclass(frozen=True)
class VideoFile:
    """A video on disk.

    Attributes:
        width, height: in pixels as displayed.
        rate: frames a second.
        duration_seconds: None where the file does not tell.
    """

    path: Path
    width: int
    height: int
    rate: float
    duration_seconds: float | None


def video_file(path: Path) -> VideoFile:
    """What a video says of itself.

    Raises:
        InputError: it cannot be read.
    """
    with VideoReader(path) as reader:
        info = reader.info
    duration = None if info.duration_seconds is None else float(info.duration_seconds)
    return VideoFile(path, info.width, info.height, float(info.average_rate or DEFAULT_RATE), duration)


def find_videos(names: Iterable[str], folder: Path) -> dict[str, VideoFile]:
    """The files of a folder, searched through, by the names that annotations give them.

    A name is that of the file, with or without its suffix and the folders above it.

    Raises:
        MissingInput: no such folder.
        AnnotationError: a name without a file, or with several; all of them are named.
    """
    if not folder.is_dir():
        raise MissingInput(f"there is no folder of videos {folder}")
    by_name: dict[str, set[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file()):
        relative = path.relative_to(folder)
        for name in {relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem}:
            by_name.setdefault(name, set()).add(path)
    wanted = list(dict.fromkeys(names))
    missing = [name for name in wanted if name not in by_name]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        listed = ", ".join(repr(name) for name in missing[:5])
        raise AnnotationError(
            f"{folder} lacks {len(missing)} of the {len(wanted)} annotated videos: {listed}{more}. "
            "Put them there, or name the folder that holds them."
        )
    for name in wanted:
        if len(by_name[name]) > 1:
            one, other = sorted(by_name[name])[:2]
            raise AnnotationError(f"The video {name!r} could be {one} or {other}. Keep one of them in {folder}.")
    return {name: video_file(next(iter(by_name[name]))) for name in wanted}
