"""Clips inside tar shards, as webdataset lays them out: read where they lie, none unpacked.

A sample is the files that stand one after the other in a shard and share the name before their first dot:

    play/0001.mp4, play/0001.json    {"label": "play", "group": "camera 3"}    or .cls, .txt: play, or play|wave
    play/0002.mp4                    without such a file, the folder is the label
    0003.jpg                         a photograph, where those are asked for

A clip is known by a path that exists in no file system: SHARD.tar/@OFFSET+SIZE/NAME. The headers are read once; a
clip is then a range of bytes, so that any order of clips, on any number of processes, resumed anywhere, has no state.
webdataset's own readers go through shards from their beginning, and hand addresses to a shell.
"""

import json
import re
import tarfile
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import fsspec
from fsspec.core import url_to_fs

from muybridge.data.clips.layouts import Row
from muybridge.data.text_files import exists
from muybridge.errors import BrokenMedia, InputError, MissingInput
from muybridge.escapes import printable
from muybridge.media.images import READABLE_SUFFIXES
from muybridge.media.sources import VIDEO_SUFFIXES

_MEMBER = re.compile(r"(?P<shard>.+?\.tar)/@(?P<offset>\d{1,18})\+(?P<size>\d{1,18})/(?P<name>[^/]*)", re.DOTALL)
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)
_NUMBERED = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
_MOST_SHARDS = 1_000_000
_LABELS = {"json", "cls", "txt"}
_KNOWN_SUFFIXES = VIDEO_SUFFIXES | READABLE_SUFFIXES
_MOST_LABEL_BYTES = 1 << 16
_MOST_HEADER_BYTES = 1 << 24
_MOST_NAME = 100
_MOST_NOTES = 20
_CHUNK = 1 << 20
# What the tar reader and file systems raise of a broken file or a server that does not answer.
_BROKEN = (tarfile.TarError, OSError, ValueError, EOFError, OverflowError, RecursionError, ImportError)


@dataclass(frozen=True)
class _Sample:
    """Name without suffix, place of the clip, and what its label file says, by suffix."""

    key: str
    suffix: str
    offset: int
    size: int
    texts: dict[str, bytes] = field(default_factory=dict[str, bytes])


def are_shards(source: Path) -> bool:
    """Whether this is a shard, a folder of them, a pattern of their names, or an address."""
    if _is_address(source) or source.suffix.lower() == ".tar":
        return True
    return exists(source) and source.is_dir() and any(source.glob("*.tar"))


def is_member(path: Path) -> bool:
    """Whether the path is that of a clip inside a shard."""
    return _MEMBER.fullmatch(path.as_posix()) is not None


def rows_of_shards(source: Path) -> tuple[list[Row], list[str]]:
    """All clips, and what is wrong with some of them, in sentences for the user.

    Args:
        source: a .tar file, a folder of them, a pattern such as clips/train-{000..099}.tar or clips/*.tar, or an
            address of these as fsspec takes it, s3://bucket/clips/*.tar. Shards named train-, val- or test- are such.

    Raises:
        MissingInput: no shard is there.
        InputError: the place of the shards does not answer, or needs a package that is not installed.
    """
    rows: list[Row] = []
    notes: list[str] = []
    for shard in _shards(_as_address(source)):
        split = re.split(r"[-_.\d]", PurePosixPath(shard).name.lower(), maxsplit=1)[0]
        for sample in _samples(shard, notes, VIDEO_SUFFIXES):
            try:
                labels, group = _label(sample)
            except (ValueError, RecursionError):
                notes.append(f"{shard}: the label of {printable(sample.key[:_MOST_NAME])} cannot be read, left out")
                continue
            known = split if split in ("train", "val", "test") else ""
            rows.append(Row(_place(shard, sample), labels, split=known, group=group))
    return rows, _shortened(notes)


def pictures_of_shards(source: Path) -> tuple[list[Path], list[str]]:
    """All photographs, and what is wrong with some shards, in sentences for the user; labels are not looked at.

    Args:
        source: as of `rows_of_shards`.

    Raises:
        MissingInput, InputError: as of `rows_of_shards`.
    """
    notes: list[str] = []
    paths = [
        _place(shard, sample)
        for shard in _shards(_as_address(source))
        for sample in _samples(shard, notes, READABLE_SUFFIXES)
    ]
    return paths, _shortened(notes)


def _place(shard: str, sample: _Sample) -> Path:
    # Of a stranger's name only what can do no harm is kept; two of them differ by where they lie.
    name = re.sub(r"[^\w.-]+", "_", PurePosixPath(sample.key).name)[:_MOST_NAME]
    return Path(f"{shard}/@{sample.offset}+{sample.size}/{name}.{sample.suffix}")


def _shortened(notes: list[str]) -> list[str]:
    more = len(notes) - _MOST_NOTES
    return notes[:_MOST_NOTES] + ([f"... and {more} more such"] if more > 0 else [])


@contextmanager
def on_disk(path: Path) -> Generator[Path]:
    """The path itself, or for a clip inside a shard a copy under a name of ours, gone afterwards.

    Raises:
        InputError: the shard cannot be read, or is cut short; and what the body raises, with the clip's own name.
    """
    found = _MEMBER.fullmatch(path.as_posix())
    if found is None:
        yield path
        return
    shard, size = _as_address(Path(found["shard"])), int(found["size"])
    label = f"{shard}: {found['name']}"
    suffix = PurePosixPath(found["name"]).suffix.lower()
    with tempfile.NamedTemporaryFile(prefix="muybridge-", suffix=suffix if suffix in _KNOWN_SUFFIXES else "") as copy:
        try:
            with _opened(shard) as file:
                file.seek(int(found["offset"]))
                while size > 0 and (chunk := file.read(min(size, _CHUNK))):
                    copy.write(chunk)
                    size -= len(chunk)
        except _BROKEN as error:
            raise InputError(f"{label} cannot be read: {error}") from error
        if size:
            raise BrokenMedia(f"{label} is cut short by the end of the shard. Copy or download it again")
        copy.flush()
        try:
            yield Path(copy.name)
        except InputError as error:
            error.args = (str(error).replace(copy.name, label),)
            raise


def _is_address(source: Path) -> bool:
    return _ADDRESS.match(str(source)) is not None


def _as_address(source: Path) -> str:
    """An address as it was: a path folds its slashes."""
    found = _ADDRESS.match(str(source))
    if found is None:
        return str(source)
    root = "/" if found[1].lower() in ("file", "local") else ""  # a file's address has no host
    return f"{found[1]}://{root}{str(source)[found.end() :]}"


def _shards(source: str) -> list[str]:
    """Addresses of the shards, in order of their names."""
    try:
        found = _numbered(source) if "{" in source else _listed(source)
    except _BROKEN as error:
        raise InputError(f"{source} cannot be read: {error}") from error
    if not found:
        raise MissingInput(f"there is no shard at {source}. Give a .tar file, a folder of them, or a pattern")
    return found


def _numbered(source: str) -> list[str]:
    found = _NUMBERED.search(source)
    if found is None:
        raise ValueError("write the numbers of shards as in {000..099}")
    first, last = int(found[1]), int(found[2])
    if last - first >= _MOST_SHARDS:
        raise ValueError(f"{last - first} shards are too many")
    before, after = source[: found.start()], source[found.end() :]
    return [f"{before}{number:0{len(found[1])}}{after}" for number in range(first, last + 1)]


def _listed(source: str) -> list[str]:
    files, path = cast(tuple[Any, str], url_to_fs(source))
    if path.endswith(".tar") and "*" not in path:
        return [source] if files.exists(path) else []
    pattern = path if "*" in path else f"{path.rstrip('/')}/*.tar"
    return [files.unstrip_protocol(name) if "://" in source else name for name in sorted(files.glob(pattern))]


def _opened(shard: str) -> Any:
    return fsspec.open(shard, "rb")


def _samples(shard: str, notes: list[str], suffixes: Set[str]) -> Iterator[_Sample]:
    """The samples of a shard as far as it can be read; the reason why not further goes into the notes."""
    try:
        with _opened(shard) as file:
            yield from _grouped(_members(file), suffixes)
    except _BROKEN as error:
        notes.append(f"{shard} cannot be read to its end, and what is missing is left out: {error}")


class _Sparing:
    """A shard whose headers cannot ask for more memory than any sound one needs, whatever size they state."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int) -> bytes:
        if size > _MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"it has a header of {size} bytes")
        return self._read(size)


def _members(file: IO[bytes]) -> Iterator[tuple[str, str, int, int, bytes]]:
    """Key, suffix, offset and size of each plain file, and its bytes if it holds a label.

    Links, devices and files with holes are passed over: they stand for bytes that are not in the shard.
    """
    end = file.seek(0, 2)
    file.seek(0)
    with tarfile.open(fileobj=cast(IO[bytes], _Sparing(file)), mode="r:") as archive:
        for info in archive:
            if not info.isreg() or info.issparse():
                continue
            if info.offset_data + info.size > end:
                raise tarfile.ReadError("it is cut short")
            stem, _, suffix = info.name.rpartition("/")[2].partition(".")
            suffix = suffix.rpartition(".")[2].lower()
            key = f"{info.name.rpartition('/')[0]}/{stem}".lstrip("/")
            text = b""
            if suffix in _LABELS and info.size <= _MOST_LABEL_BYTES:
                reader = archive.extractfile(info)
                text = reader.read() if reader is not None else b""
            yield key, suffix, info.offset_data, info.size, text


def _grouped(members: Iterable[tuple[str, str, int, int, bytes]], suffixes: Set[str]) -> Iterator[_Sample]:
    key, clip, texts = "", None, dict[str, bytes]()
    for name, suffix, offset, size, text in members:
        if name != key:
            if clip is not None:
                yield _Sample(key, *clip, texts)
            key, clip, texts = name, None, {}
        if f".{suffix}" in suffixes:
            clip = clip or (suffix, offset, size)
        elif suffix in _LABELS:
            texts[suffix] = text
    if clip is not None:
        yield _Sample(key, *clip, texts)


def _label(sample: _Sample) -> tuple[tuple[str, ...], str]:
    """Labels and group of a sample.

    Raises:
        ValueError, RecursionError: its label file is not what it should be.
    """
    if "json" in sample.texts:
        said: Any = json.loads(sample.texts["json"])
        found = said.get("labels", said.get("label")) if isinstance(said, dict) else None
        listed = cast(Sequence[Any], found) if isinstance(found, list) else [found]
        if not all(isinstance(name, str | int) and not isinstance(name, bool) for name in listed):
            raise ValueError
        group = cast(Any, said).get("group", "")
        return tuple(str(name) for name in listed), group if isinstance(group, str) else ""
    for suffix in ("cls", "txt"):
        if suffix in sample.texts:
            names = sample.texts[suffix].decode("utf-8").strip().split("|")
            return tuple(name.strip() for name in names if name.strip()), ""
    folder = PurePosixPath(sample.key).parent.name
    if not folder:
        raise ValueError
    return (folder,), ""
