"""What the user named, for a run over many files: folders, globs, lists, and prefixes of object stores."""

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from muybridge.errors import InputError, MissingInput, OptionError
from muybridge.media.images import READABLE_SUFFIXES
from muybridge.media.sources import VIDEO_SUFFIXES, Source, natural_order

_ADDRESS = re.compile(r"[\w+.\-]+(?:://|::)")
# What FFmpeg plays as it comes. There, an address is one film or none.
_STREAMED = ("http", "https", "rtsp", "rtmp", "rtp", "srt", "udp", "tcp", "mms", "hls")
_MOST_OF_LIST = 1 << 28


def named_inputs(inputs: Iterable[str], listed: Path | None) -> list[str]:
    """The inputs of the command line, and those of a list.

    A line of a list is a path, from the folder of the list where it is not absolute; empty lines and those that begin
    with # are passed over.

    Raises:
        MissingInput: there is no such list, or there are no inputs.
        InputError: the list is no text, or names an address: whose list it is, no one knows here.
    """
    names = list(inputs)
    if listed is not None:
        names += _lines_of(listed)
    if not names:
        raise MissingInput("no input is named. Give files, folders, globs, or a file of names with --list")
    return names


def _lines_of(listed: Path) -> list[str]:
    try:
        if listed.stat().st_size > _MOST_OF_LIST:
            raise InputError(f"{listed} has more than {_MOST_OF_LIST >> 20} MB: it is no list of names")
        lines = listed.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise MissingInput(f"there is no list {listed}") from error
    except (OSError, UnicodeDecodeError) as error:
        why = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise InputError(f"the list {listed} cannot be read: {why}") from error
    names = list[str]()
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if "\0" in line or _ADDRESS.match(line) or line.startswith("/dev/"):
            raise InputError(f"{listed}, line {number}: {line!r} is no path of a file. Name addresses themselves")
        names.append(str(listed.parent / Path(line).expanduser()))
    return names


def find_sources(names: Sequence[str], expand: Callable[[Iterable[str]], list[Source]]) -> list[Source]:
    """All inputs, each once, with absolute locations.

    Args:
        expand: what finds files, folders and globs.

    Raises:
        MissingInput: a name that leads to nothing.
        OptionError: a name of a live source, which has no end.
    """
    found: dict[str, Source] = {}
    for name in names:
        address = _ADDRESS.match(name)
        if address and address[0].rstrip(":/") not in ("file", *_STREAMED) and not Path(name).exists():
            sources = _in_store(name)
        else:
            sources = [_absolute(source) for source in expand([name])]
        for source in sources:
            found.setdefault(source.location, source)
    return list(found.values())


def _absolute(source: Source) -> Source:
    if source.kind == "stream":
        raise OptionError(f"{source.location} is live and has no end: no row tells of it. Leave --results out")
    return replace(source, location=str(source.path.absolute()))


def _in_store(name: str) -> list[Source]:
    """Pictures and videos below a prefix, or that a pattern matches, of any store that fsspec knows."""
    store, path = _opened(name)
    try:
        if re.search(r"[*?\[]", path):
            files, root = [str(file) for file in store.glob(path)], re.split(r"[*?\[]", path)[0].rpartition("/")[0]
        elif store.isfile(path):
            files, root = [path], path.rpartition("/")[0]
        else:
            files, root = [str(file) for file in store.find(path)], path.rstrip("/")
    except _store_errors() as error:
        raise MissingInput(f"{name} cannot be looked up: {_reason(error)}") from error
    known = READABLE_SUFFIXES | VIDEO_SUFFIXES
    wanted = [PurePosixPath(file) for file in files if PurePosixPath(file).suffix.lower() in known]
    if not wanted:
        raise MissingInput(f"there are no pictures and no videos at {name}")
    protocol, chained, rest = name.partition("::")
    tail = f"{chained}{rest}"
    head = protocol.partition("://")[0]
    return [
        Source(
            f"{head}://{str(file).lstrip('/') if chained else file}{tail}",
            "image" if file.suffix.lower() in READABLE_SUFFIXES else "video",
            _below(file, root),
        )
        for file in sorted(wanted, key=lambda file: natural_order(Path(file)))
    ]


def _below(file: PurePosixPath, root: str) -> Path:
    """A relative path that leads nowhere but down, whatever a store calls its files."""
    text = str(file).removeprefix(root).lstrip("/")
    return Path(*[part for part in PurePosixPath(text).parts if part not in ("..", "/")])


def is_remote(source: Source) -> bool:
    """Whether it has to be fetched before it can be read."""
    return _ADDRESS.match(source.location) is not None


@contextmanager
def local_copy(source: Source) -> Generator[Source]:
    """The source as a file of this machine, for as long as the body runs; what an error says names the address.

    Raises:
        InputError: it cannot be fetched.
    """
    if not is_remote(source):
        yield source
        return
    with TemporaryDirectory(prefix="muybridge-") as folder:
        path = Path(folder) / source.relative.name
        store, remote = _opened(source.location)
        try:
            store.get_file(remote, str(path))
        except _store_errors() as error:
            raise InputError(f"{source.location} cannot be fetched: {_reason(error)}") from error
        try:
            yield replace(source, location=str(path))
        except InputError as error:
            raise type(error)(str(error).replace(str(path), source.location)) from error


def _opened(name: str) -> tuple[Any, str]:
    """A store and the path in it."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(name)
    except (ImportError, *_store_errors()) as error:
        raise InputError(f"{name} cannot be reached: {_reason(error)}") from error


def _store_errors() -> tuple[type[Exception], ...]:
    """What stores raise: no two agree, and each has its own client behind it."""
    from zipfile import BadZipFile

    return (OSError, ValueError, KeyError, RuntimeError, BadZipFile)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
