"""Files of tensors that others wrote: safetensors, and torch files of which nothing is executed.

What a file claims is compared with how large it is before memory is taken for it.
"""

import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from muybridge.errors import MissingInput, ModelError, ModelMismatch, UnsafeModelFile
from muybridge.pickles import rehearse
from muybridge.schema import parse_json
from muybridge.torchscript import is_torchscript, read_torchscript

LONGEST_HEADER = 8 << 20
"""Bytes. A header of ours is some thousands; one of many millions would take hundreds of megabytes as objects."""

# What networks are made of; whole numbers are counters, or fill a gap.
_TYPES = {
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "I64": torch.int64,
    "U8": torch.uint8,
}  # fmt: skip
_LONGEST_SIDE = 1 << 31
_MOST_PROBLEMS = 6
# What torch.load raises on files that are cut, altered, or were something else.
_UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError,
    TypeError, ValueError, struct.error,
)  # fmt: skip
# Of torch before 1.6: a mark, its version, the machine, what was saved, and the keys of the numbers behind.
_OLD_PICKLES = 5
# Under which key training scripts keep the weights, the best ones first.
_STATE_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")


def read_layout(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata of a safetensors file, and its tensors' shapes and types on the device "meta".

    Raises:
        ModelError: the file is not sound, or holds numbers of a kind that no model of ours has.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LONGEST_HEADER:
                raise ModelError(f"{path} is not a readable safetensors file: its header would have {length} bytes")
            text = file.read(length)
        with safetensors.safe_open(path, framework="pt") as opened:  # pyright: ignore[reportUnknownVariableType]
            metadata = cast("dict[str, str]", opened.metadata() or {})
    except (safetensors.SafetensorError, OSError) as error:
        reason = printable(str(error))
        raise ModelError(
            f"{path} is not a readable safetensors file ({reason}). Copy or download it again"
        ) from error
    # The library passes over keys that stand twice; this does not.
    table = parse_json(text, source=str(path))
    return metadata, {
        name: _meta(path, name, entry["dtype"], entry["shape"])
        for name, entry in table.items()
        if name != "__metadata__"
    }


def _meta(path: Path, name: str, dtype: str, shape: list[int]) -> Tensor:
    if dtype not in _TYPES:
        raise ModelError(f"{path} holds {dtype} numbers in {printable(name)}. Save it as floating point")
    if len(shape) > 8 or any(side > _LONGEST_SIDE for side in shape):
        raise ModelError(f"{path} holds {printable(name)} of the shape {str(shape)[:60]}. Copy or download it again")
    return torch.empty(shape, dtype=_TYPES[dtype], device="meta")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights of any origin by name, from a safetensors file or a torch file, whose usual wrappings are taken off.

    Raises:
        MissingInput, UnsafeModelFile, ModelError: as `read_torch_file`.
    """
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise MissingInput(f"there is no file of weights {path}")
        read_layout(path)
        state: dict[str, Any] = load_file(path)
    else:
        state = read_torch_file(path)
        key = next((key for key in _STATE_KEYS if isinstance(state.get(key), dict)), None)
        state = state if key is None else state[key]
    # What torch.compile and data parallel training put before names.
    state = {name.removeprefix("_orig_mod.").removeprefix("module."): value for name, value in state.items()}
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange or not state:
        what = f"{printable(strange[0])}, which is no tensor" if strange else "no tensors"
        raise ModelError(f"{path} holds {what}. Save the state dict alone")
    return state


def read_torch_file(path: str | Path) -> dict[str, Any]:
    """What others saved by `torch.save`: tensors and plain containers. Anything else is refused, not executed.

    Of a TorchScript archive, the tensors of its modules; its code is not looked at.

    Raises:
        MissingInput: there is no such file.
        UnsafeModelFile: it holds more than tensors.
        ModelError: it cannot be read, is no mapping of names, or claims to hold more than its size allows.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"there is no checkpoint {path}")
    if is_torchscript(path):
        return dict(read_torchscript(path))
    size = path.stat().st_size
    try:
        with warnings.catch_warnings():
            # torch warns of old protocols before it refuses or reads them; either way we say what matters.
            warnings.simplefilter("ignore", UserWarning)
            _refuse_packed(path, size)
            _rehearse(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafeModelFile(
            f"{path} was refused, not opened: it holds more than tensors, and opening it would execute code. Save "
            "its state dict alone"
        ) from error
    except _UNREADABLE as error:
        raise ModelError(f"{path} cannot be read as a torch file. Copy or download it again") from error
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in cast("dict[Any, Any]", state)):
        raise ModelError(f"{path} holds a {type(state).__name__}, not a state dict. Save the state dict")
    for tensor in _tensors(cast(Any, state)):
        plain = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
        if not plain or tensor.numel() * tensor.element_size() > size:
            what = (
                f"a tensor of {tensor.numel()} numbers in {size} bytes" if plain else "tensors without plain numbers"
            )
            raise ModelError(f"{path} claims to hold {what}. Save the state dict anew")
    return cast("dict[str, Any]", state)


def _refuse_packed(path: Path, size: int) -> None:
    """torch stores what it saves as it is. An archive that unpacks to more than its size is made to fill memory."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise ModelError(f"{path} cannot be read as a torch file. Copy or download it again") from error
    if unpacked > size:
        raise ModelError(f"{path} would unpack {size} bytes to {unpacked}, which torch's own files never do. Refused")


def _rehearse(path: Path) -> None:
    """Raises: ModelError: what torch would unpickle is no sound pickle, or made to take time or memory."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.namelist():
                    if entry.endswith(".pkl"):
                        with archive.open(entry) as file:
                            rehearse(file)
        else:
            with path.open("rb") as file:
                rehearse(file)
                for _ in range(_OLD_PICKLES - 1):
                    if file.peek(1):  # a lone pickle is something else's, as torch will say
                        rehearse(file)
    except (*_UNREADABLE, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} cannot be read as a torch file. Copy or download it again") from error


def _tensors(state: Any) -> Iterable[Tensor]:
    """All tensors in a nest of containers, which may hold itself."""
    waiting, seen = [state], set[int]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (dict, list, tuple)) and id(cast(Any, value)) not in seen:
            seen.add(id(cast(Any, value)))
            waiting += cast("Iterable[Any]", value.values() if isinstance(value, dict) else value)


def describe_differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """The first missing, unknown and wrongly shaped or typed tensors in one line; empty where there are none."""
    problems = [f"missing {printable(name)}" for name in sorted(wanted.keys() - given.keys())]
    problems += [f"unknown {printable(name)}" for name in sorted(given.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & given.keys()):
        if wanted[name].shape != given[name].shape:
            problems.append(f"{name} is {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}")
        elif wanted[name].is_floating_point() != given[name].is_floating_point():
            problems.append(f"{name} is of type {given[name].dtype} instead of {wanted[name].dtype}")
    return first_few(problems, "; ")


def first_few(texts: Sequence[str], separator: str = ", ") -> str:
    """The first of many in one line, and how many more there are."""
    more = len(texts) - _MOST_PROBLEMS
    return separator.join([*texts[:_MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else [])])


def require_ranks(tensors: Mapping[str, Any], ranks: Mapping[str, int]) -> None:
    """Whether what numbers are read off has as many axes as are looked at, each longer than 0.

    Raises:
        ModelMismatch: something is no tensor, or of another shape.
    """
    for name, rank in ranks.items():
        value = tensors[name]
        if not isinstance(value, Tensor) or value.ndim != rank or not value.numel():
            what = f"of the shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ModelMismatch(
                f"The checkpoint's {name} is {what}, not numbers along {rank} axes. Give the whole file."
            )


def printable(name: str) -> str:
    """A foreign name, in one line and without controls of the terminal."""
    return name if name.isprintable() and len(name) < 200 else ascii(name[:200])
