"""What the user named: files, folders, globs, streams; and where each result goes."""

import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from muybridge.errors import MissingInput, OptionError
from muybridge.media.images import IMAGE_SUFFIXES, READABLE_SUFFIXES, count_pictures
from muybridge.media.outputs import is_folder, same_place

_VIDEO_FORMATS = "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts wmv flv 3gp ogv gif y4m"
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _VIDEO_FORMATS.split())
Kind = Literal["image", "video", "stream"]
_LONGEST_SHOWN = 100


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        location: a path, or the address of a stream or capture device.
        kind: image, video or stream (which has no end that anyone knows).
        relative: path below the folder that the user named; the file name for a single file.
    """

    location: str
    kind: Kind
    relative: Path

    @property
    def path(self) -> Path:
        """The location as a path; meaningless for streams."""
        return Path(self.location)

    @property
    def name(self) -> str:
        """What results call it: a file's name without suffix, the whole name of a folder of frames or a stream."""
        return self.relative.name if self.kind == "stream" or is_folder(self.path) else self.relative.stem


def film_name(path: Path) -> str:
    """What results call a film: its file's name without the suffix, or the whole name of a folder of frames."""
    path = _ending_in_name(path)
    return path.name if is_folder(path) else path.stem


def _ending_in_name(path: Path) -> Path:
    """The same place under a path that ends in its name, which "." and ".." do not."""
    return path if path.name not in ("", "..") else path.resolve()


def expand_sources(inputs: Iterable[str]) -> list[Source]:
    """Files, folders (searched through, in natural order), globs and stream addresses, as single inputs.

    Files are told apart by suffix; one with an unknown suffix is a picture if Pillow knows it, else a video, so that
    the reader can say what is wrong with it. A gif of one frame is a picture.

    Raises:
        MissingInput: a name that leads to nothing, or a folder without pictures and videos.
    """
    found: list[Source] = []
    for name in inputs:
        try:
            found.extend(_named(name))
        except OSError as error:  # as of a name that is too long, or of a folder that may not be entered
            shown = name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}..."
            raise MissingInput(f"{shown!r} cannot be looked up: {error.strerror}") from error
    return found


def clip_sources(inputs: Iterable[str]) -> list[Source]:
    """Videos, folders, globs, streams and capture devices as single inputs.

    Of a folder its videos are taken; in one that holds none, each folder of pictures is a clip, whose frames they
    are. A bare number names a capture device: 0 is /dev/video0.

    Raises:
        MissingInput: a name that leads to nothing, or a folder without pictures and videos.
    """
    found: list[Source] = []
    for name in inputs:
        path = Path(name).expanduser()
        if name.isdecimal() and not path.exists():
            name = f"/dev/video{name}"
        sources = expand_sources([name])
        if path.is_dir():
            videos = [source for source in sources if source.kind == "video"]
            folders = sorted({source.path.parent for source in sources}, key=natural_order)
            sources = videos or [
                Source(str(_ending_in_name(folder)), "video", Path(path.resolve().name) / folder.relative_to(path))
                for folder in folders
            ]
        found += sources
    return found


def _named(name: str) -> list[Source]:
    if name.startswith("file://"):
        literal = Path(name.removeprefix("file://"))
        name = str(literal if literal.exists() else url2pathname(urlsplit(name).path))
    path = Path(name).expanduser()
    if "://" in name or name.startswith("/dev/video"):
        return [Source(name, "stream", Path(re.sub(r"\W+", "_", name).strip("_") or "stream"))]
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return [Source(str(path), _kind(path), Path(path.name))]
    matches = [Path(match) for match in glob.glob(name, recursive=True)]  # noqa: PTH207 - a user's absolute glob
    files = sorted((m for m in matches if m.is_file()), key=natural_order)
    if not files:
        raise MissingInput(f"there is no file, folder or match for {name!r}")
    return [Source(str(file), _kind(file), Path(file.name)) for file in files]


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Sorting key under which frame_2 comes before frame_10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _in_folder(folder: Path) -> list[Source]:
    known = READABLE_SUFFIXES | VIDEO_SUFFIXES
    files = [
        p for p in folder.rglob("*") if p.suffix.lower() in known and not p.name.startswith(".") and _may_be_file(p)
    ]
    if not files:
        raise MissingInput(f"the folder {folder} holds no pictures and no videos")
    return [Source(str(p), _kind(p), p.relative_to(folder)) for p in sorted(files, key=natural_order)]


def _may_be_file(path: Path) -> bool:
    """What may not be looked at counts, so that its reader names it."""
    try:
        return path.is_file()
    except OSError:
        return True


def _kind(path: Path) -> Kind:
    suffix = path.suffix.lower()
    if suffix in READABLE_SUFFIXES:
        return "image"
    if suffix in VIDEO_SUFFIXES and suffix != ".gif":
        return "video"
    return "image" if count_pictures(path) == 1 else "video"


def output_paths(
    sources: Sequence[Source], out: Path | None, *, suffix_of_stem: str, taken: Iterable[Path] = ()
) -> list[Path]:
    """Where each result goes; no two in one place, and never onto an input.

    Without `out`: beside the input, `name.SUFFIX.ext`, in the working folder for a stream. With `out` and one input:
    `out` itself if it has a suffix. Otherwise `out` is a folder, in which the inputs keep their relative places.
    Pictures keep their format, videos become mp4.

    Args:
        taken: places of results from before.

    Raises:
        OptionError: several inputs for one file, or a result that would replace its input.
    """
    single_file = out is not None and out.suffix != "" and not is_folder(out)
    if single_file and len(sources) > 1:
        raise OptionError(f"{len(sources)} inputs cannot go into one file {out}: name a folder with -o")
    inputs = {same_place(source.path) for source in sources if source.kind != "stream"}
    used, results = set(taken), list[Path]()
    for source in sources:
        if single_file and out is not None:
            result = out
        elif out is not None:
            result = out / source.relative.parent / _result_name(source, None)
        else:
            parent = Path() if source.kind == "stream" else source.path.parent
            result = parent / _result_name(source, suffix_of_stem)
        stem, number = result.stem, 1
        while result in used:
            number += 1
            result = result.with_stem(f"{stem}-{number}")
        if same_place(result) in inputs:
            raise OptionError(f"the result would replace the input {result}: choose another place with -o")
        used.add(result)
        results.append(result)
    return results


def _result_name(source: Source, suffix_of_stem: str | None) -> str:
    stem, suffix = source.name, source.relative.suffix.lower()
    if source.kind != "image":
        suffix = ".mp4"
    elif suffix not in IMAGE_SUFFIXES:
        suffix = ".png"
    return f"{stem}.{suffix_of_stem}{suffix}" if suffix_of_stem else f"{stem}{suffix}"
