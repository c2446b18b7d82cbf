"""What the frozen blocks before the first adapted one make of each clip, kept on disk: later epochs skip them.

    FOLDER/3f/3f0c...e1.npy    one clip seen once: (T, L, D), and behind it a checksum of its name and of all before

A file's name is a hash of all that its numbers follow from: the clip's bytes and bounds, the sampling, the view, the
backbone's weights and how many of its blocks ran. So one folder may serve any number of runs, and nothing in it is
ever out of date; damaged files are made anew. Cached are the views of a test, without augmentation; training then
draws one of them.
"""

import hashlib
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from muybridge.data.clips.dataset import encode_labels, load_views
from muybridge.data.clips.lists import ClipEntry, ClipList
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig
from muybridge.data.clips.shards import is_member
from muybridge.data.sampling import Draw
from muybridge.errors import InputError, OptionError, OutputError
from muybridge.media.outputs import atomic_output
from muybridge.progress import ProgressLine

# numpy has no bfloat16: its bits are stored as int16, and the folder they lie in says so.
_STORED = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
_CHECKSUM_BYTES = 4
_HEADER_BYTES = 128
_SHAPE = re.compile(rb"'shape': \((\d{1,9}(?:, \d{1,9})*),?\)")


@dataclass(frozen=True)
class PrefixIdentity:
    """What the numbers of a cache follow from, beside the clips.

    Attributes:
        backbone_hash: see `muybridge.models.backbones.backbone_hash`.
        blocks: how many blocks ran: the first adapted one's index.
        sampling: which frames are read, and how.
        dtype: of the numbers.
        pooled: name of the read-out where only that is kept, as for a head alone; empty for all tokens.
    """

    backbone_hash: str
    blocks: int
    sampling: SamplingConfig
    dtype: torch.dtype = torch.float32
    pooled: str = ""


class PrefixCache:
    """A folder of cached prefixes.

    Args:
        folder: made where it is missing.
        views: how each clip is seen.

    Raises:
        OptionError: a type of numbers that cannot be stored.
    """

    def __init__(self, folder: Path, identity: PrefixIdentity, *, views: ViewConfig | None = None) -> None:
        if identity.dtype not in _STORED:
            raise OptionError(f"{identity.dtype} cannot be cached. Choose float32, float16 or bfloat16.")
        self.folder, self.identity = folder, identity
        self.views = views or ViewConfig()
        described = asdict(identity) | {"dtype": _STORED[identity.dtype]}
        self._common = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
        self._of_file: dict[Path, str] = {}

    def path(self, entry: ClipEntry, view: int) -> Path:
        """Where a clip's prefix lies, or will lie."""
        parts = (
            self._common,
            self._fingerprint(entry.path),
            entry.start_seconds,
            entry.end_seconds,
            asdict(self.views),
            view,
        )
        name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.npy"

    def _fingerprint(self, path: Path) -> str:
        """Of a file's bytes, or of the bytes of a folder's files in order."""
        if path not in self._of_file:
            digest = hashlib.sha256()
            if is_member(path):  # its place in the shard; to read all bytes would be to read all shards
                return hashlib.sha256(str(path).encode()).hexdigest()
            files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
            for file in files:
                try:
                    with file.open("rb") as stream:
                        digest.update(hashlib.file_digest(stream, "sha256").digest())
                except OSError as error:
                    raise InputError(f"{file} cannot be read ({error.strerror}). Check the list of clips") from error
            self._of_file[path] = digest.hexdigest()
        return self._of_file[path]

    def read(self, entry: ClipEntry, view: int) -> Tensor:
        """The cached prefix (T, L, D) of a clip.

        Raises:
            InputError: its file is damaged or gone since the cache was filled.
        """
        path = self.path(entry, view)
        stored = self._read_sound(path)
        if stored is None:
            raise InputError(f"the cached clip {path} is damaged or gone. Start again with --resume: it is made anew")
        tensor = torch.from_numpy(stored)
        return tensor.view(torch.bfloat16) if self.identity.dtype == torch.bfloat16 else tensor

    def fill(
        self,
        clips: ClipList,
        compute: Callable[[Tensor], Tensor],
        *,
        batch_size: int = 8,
        line: ProgressLine | None = None,
    ) -> int:
        """Work out what is missing or damaged, and return how many prefixes that were.

        Args:
            compute: (B, T, 3, height, width) uint8 to (B, T, L, D) of the identity's dtype.

        Raises:
            OutputError: the folder cannot be written or the disk is full.
        """
        made = 0
        waiting: list[tuple[Path, Tensor]] = []
        for entry in clips.entries:
            paths = {view: self.path(entry, view) for view in range(self.views.count)}
            missing = {view: path for view, path in paths.items() if self._read_sound(path) is None}
            if missing:
                start, end = entry.start_seconds, entry.end_seconds
                seen = load_views(entry.path, self.identity.sampling, self.views, start=start, end=end)
                waiting += [(path, seen[view]) for view, path in missing.items()]
                made += len(missing)
            while len(waiting) >= batch_size:
                self._write(waiting[:batch_size], compute)
                del waiting[:batch_size]
            if line is not None:
                line.advance()
        if waiting:
            self._write(waiting, compute)
        return made

    def _write(self, waiting: list[tuple[Path, Tensor]], compute: Callable[[Tensor], Tensor]) -> None:
        prefixes = compute(torch.stack([frames for _, frames in waiting])).cpu()
        for (path, _), prefix in zip(waiting, prefixes, strict=True):
            numbers = prefix.contiguous()
            if numbers.dtype == torch.bfloat16:
                numbers = numbers.view(torch.int16)
            content = io.BytesIO()
            np.save(content, numbers.numpy(), allow_pickle=False)
            data = content.getvalue()
            try:
                with atomic_output(path) as beside:
                    beside.write_bytes(data + _checksum(path, data))
            except OutputError as error:
                cause = error.__cause__
                reason = cause.strerror if isinstance(cause, OSError) else str(error)
                raise OutputError(
                    f"the cache folder {self.folder} cannot be written ({reason}). Free some space, or choose "
                    "another with --cache"
                ) from cause

    def _read_sound(self, path: Path) -> NDArray[Any] | None:
        """The numbers of a cached file; None where it is missing or not as it was written."""
        try:
            data = path.read_bytes()
        except OSError:
            return None
        content, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
        if _checksum(path, content) != checksum:
            return None
        # A checksum can be forged, and numpy's own reader fails in many ways: the header must be as we write it.
        told = _SHAPE.search(content[:_HEADER_BYTES])
        if told is None:
            return None
        shape = tuple(int(side) for side in told[1].split(b", "))
        kind = np.dtype("int16" if self.identity.dtype == torch.bfloat16 else _STORED[self.identity.dtype])
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": kind.str, "fortran_order": False, "shape": shape})
        header, numbers = file.getvalue(), bytearray(content[file.tell() :])
        if not content.startswith(header) or math.prod(shape) * kind.itemsize != len(numbers) or not numbers:
            return None
        return np.frombuffer(numbers, kind).reshape(shape)


def _checksum(path: Path, content: bytes) -> bytes:
    """Of a file's bytes under its own name, so that no other clip's file passes for it."""
    return zlib.crc32(content, zlib.crc32(path.name.encode())).to_bytes(_CHECKSUM_BYTES, "little")


class CachedClips(Dataset[dict[str, Tensor]]):
    """Items from a filled cache: {"prefix": (T, L, D), "labels", "index"}, the last two as of `ClipDataset`."""

    def __init__(self, clips: ClipList, cache: PrefixCache) -> None:
        self.clips, self.cache = clips, cache

    def __len__(self) -> int:
        return len(self.clips.entries)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        entry = self.clips.entries[draw.index]
        view = int(np.random.default_rng(draw.seed).integers(self.cache.views.count))
        return {
            "prefix": self.cache.read(entry, view),
            "labels": self._labels(entry),
            "index": torch.tensor(draw.index),
        }

    def seen(self, most_views: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each clip up to so many views, (V, T, L, D), and their labels, (V,) or (V, classes)."""
        views = min(self.cache.views.count, most_views)
        for entry in self.clips.entries:
            yield (
                torch.stack([self.cache.read(entry, v) for v in range(views)]),
                torch.stack([self._labels(entry)] * views),
            )

    def _labels(self, entry: ClipEntry) -> Tensor:
        return encode_labels(entry.labels, len(self.clips.classes), multi_label=self.clips.multi_label)
