"""The tensors of a TorchScript archive, as OpenAI publishes CLIP in. None of its code is compiled or run.

    NAME/code/...      the program, which is not opened
    NAME/data.pkl      the tree of modules: names, numbers, and where each tensor's numbers lie
    NAME/data/0, ...   the numbers

`torch.jit.load` compiles the program and runs what a module defines for its own unpickling, so that is not what is
used. The tree is a pickle, and is read by Python's unpickler with every name that it could call replaced: modules
become plain namespaces, tensors and containers are made by what is listed here, and any other name is refused.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor

from muybridge.errors import ModelError, UnsafeModelFile
from muybridge.pickles import PlainUnpickler

_TYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MOST_SHARING = 4  # tensors of one storage, as tied weights are, on average
_MARK = ("/constants.pkl", "/data.pkl")
# What an altered archive leads to, beside what pickle raises.
_UNREADABLE = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RecursionError, RuntimeError,
    TypeError, ValueError, zipfile.BadZipFile,
)  # fmt: skip


class _Module:
    """Stands for a module of any class: what it holds, by name."""

    held: Mapping[str, Any] = MappingProxyType({})  # of the class, as a pickle may make one without __init__

    def __setstate__(self, held: object) -> None:
        self.held = cast("Mapping[str, Any]", held) if isinstance(held, dict) else {}


class _Sealed:
    """What the pickle may name or make, but not alter: not even a function's defaults, which it otherwise could."""

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("its data alter what is no module")


class _Mapping(OrderedDict[Any, Any]):
    """What is in it comes item by item, when its key is looked at."""

    def __init__(self) -> None:
        super().__init__()


class _Numbers(_Sealed):
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class _View(_Sealed):
    def __init__(self, room: int) -> None:
        self._room = room  # bytes

    def __call__(
        self, storage: _Numbers, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
    ) -> _Numbers:
        # as_strided refuses what lies outside of the storage.
        tensor = torch.as_strided(storage.tensor, size, stride, offset)
        if tensor.numel() > len(storage.tensor):
            raise ValueError("a tensor larger than its storage")
        self._room -= tensor.numel() * tensor.element_size()
        if self._room < 0:
            raise ValueError("tensors many times larger than their storages")
        return _Numbers(tensor.clone(memory_format=torch.contiguous_format))


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, and not one of torch.save."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return False
    return all(any(name.endswith(mark) for name in names) for mark in _MARK)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers by their dotted names, in the order of the file.

    Raises:
        UnsafeModelFile: the archive's data name something other than modules, tensors and plain containers.
        ModelError: it is damaged, or claims to hold more than it does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            tree = _Reader(archive, path).load()
    except pickle.UnpicklingError as error:
        reason = str(error).partition("\n")[0][:200]
        raise UnsafeModelFile(f"{path} was refused, not run: {reason}. Get the file from its publisher") from error
    except _UNREADABLE as error:
        raise ModelError(f"{path} is a damaged TorchScript archive. Copy or download it again") from error
    found = _tensors(tree)
    if not found:
        raise ModelError(f"{path} is a TorchScript archive without tensors. Give one of a trained model")
    return found


def _tensors(tree: object) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    waiting: list[tuple[str, object]] = [("", tree)]
    seen = set[int]()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, _Numbers):
            found[name] = value.tensor
        elif isinstance(value, _Module) and id(value) not in seen:
            seen.add(id(value))
            inner = [(f"{name}.{key}" if name else str(key), each) for key, each in value.held.items()]
            waiting += reversed(inner)
    return found


class _Reader(PlainUnpickler):
    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._size = archive, path.stat().st_size
        self._folder = next(n for n in archive.namelist() if n.endswith("/data.pkl")).removesuffix("data.pkl")
        self._stored: dict[str, Tensor] = {}
        order = f"{self._folder}byteorder"
        if order in archive.namelist() and self._record("byteorder") != b"little":
            raise ValueError("numbers in another order of bytes")
        self._view = _View(_MOST_SHARING * self._size)
        super().__init__(BytesIO(self._record("data.pkl")))

    def find_class(self, module: str, name: str, /) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if (module, name) == ("collections", "OrderedDict"):
            return _Mapping
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._view
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"its data name {f'{module}.{name}'[:80]!a}, which is no tensor or module")

    def persistent_load(self, pid: Any, /) -> _Numbers:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise ValueError("not a storage")
        if key not in self._stored:
            stored = self._record(f"data/{key}")
            self._stored[key] = (
                torch.frombuffer(bytearray(stored), dtype=dtype) if stored else torch.empty(0).to(dtype)
            )
        if len(self._stored[key]) != count or self._stored[key].dtype != dtype:
            raise ValueError("a storage of another length")
        return _Numbers(self._stored[key])

    def _record(self, name: str) -> bytes:
        entry = self._archive.getinfo(self._folder + name)
        # torch stores records as they are, so that one that would unpack to more is made to fill memory.
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > self._size:
            raise ValueError("a packed record")
        return self._archive.read(entry)
