"""The video files that annotations name."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from muybridge.counts import counted
from muybridge.data.text_files import shown
from muybridge.errors import AnnotationError, MissingInput
from muybridge.media.films import open_film
from muybridge.media.outputs import is_folder
from muybridge.media.sources import VIDEO_SUFFIXES
from muybridge.media.video_reader import DEFAULT_RATE


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
    """What a video, or a folder of frames, says of itself.

    Raises:
        InputError: it cannot be read.
    """
    with open_film(path) as reader:
        info = reader.info
    duration = None if info.duration_seconds is None else float(info.duration_seconds)
    return VideoFile(path, info.width, info.height, float(info.average_rate or DEFAULT_RATE), duration)


class VideoFolder:
    """The video files in and below a folder, by the names that annotations give them.

    A name is that of the file, with or without its suffix and the folders above it.

    Raises:
        MissingInput: no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not is_folder(folder):
            raise MissingInput(f"there is no folder of videos {folder}")
        self.folder = folder
        self._by_name: dict[str, set[Path]] = {}
        for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file()):
            relative = path.relative_to(folder)
            for name in {relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem}:
                self._by_name.setdefault(name, set()).add(path)

    def paths(self, names: Iterable[str]) -> dict[str, Path]:
        """The files of these names.

        Raises:
            AnnotationError: a name without a file, or with several; all of them are named.
        """
        wanted = list(dict.fromkeys(names))
        missing = [name for name in wanted if name not in self._by_name]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            listed = ", ".join(map(shown, missing[:5]))
            raise AnnotationError(
                f"{self.folder} lacks {len(missing)} of the {counted(len(wanted), 'annotated video')}: "
                f"{listed}{more}. Put them there, or name the folder that holds them."
            )
        for name in wanted:
            if len(self._by_name[name]) > 1:
                one, other = sorted(self._by_name[name])[:2]
                raise AnnotationError(
                    f"The video {name!r} could be {one} or {other}. Keep one of them in {self.folder}."
                )
        return {name: next(iter(self._by_name[name])) for name in wanted}


def find_videos(names: Iterable[str], folder: Path) -> dict[str, VideoFile]:
    """What the videos of a folder say of themselves, by the names that annotations give them; see `VideoFolder`.

    Raises:
        MissingInput: no such folder.
        AnnotationError: a name without a file, or with several; all of them are named.
        InputError: a file cannot be read.
    """
    return {name: video_file(path) for name, path in VideoFolder(folder).paths(names).items()}
