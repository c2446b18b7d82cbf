"""Self-describing model files: one safetensors file whose header says, as JSON, all that is needed to use it.

    ┌ header ─ "muybridge": {"format": 1, "task": "stylize", "architecture": {...}, "provenance": {...}, ...}
    └ tensors ─ only what was trained

Nothing is ever unpickled. A foreign checkpoint is read by an explicit importer with `weights_only=True`.
"""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from muybridge.errors import MissingInput, ModelError, ModelMismatch, OptionError, UnsafeModelFile
from muybridge.media.outputs import atomic_output, check_writable

FORMAT = 1
_HEADER = "muybridge"
_BUILT_IN = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Artifact:
    """A model file in memory.

    Attributes:
        task: recognize, localize, stylize or detect; also "style" for a saved `Style`.
        architecture: the numbers that rebuild the network.
        tensors: trained tensors by name.
        provenance: data, script, seed, steps, date, licence of the data.
        scores: measured figures by name.
        contract: what else a predictor needs: labels, sampling, normalisation, backbone.
    """

    task: str
    architecture: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(repr=False)
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    scores: Mapping[str, Any] = field(default_factory=dict[str, Any])
    contract: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            OutputError: the folder cannot be written or the disk is full.
        """
        header = {
            "format": FORMAT,
            "task": self.task,
            "architecture": self.architecture,
            "provenance": self.provenance,
            "scores": self.scores,
            "contract": self.contract,
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        data = save(tensors, metadata={_HEADER: json.dumps(header, sort_keys=True)})
        with atomic_output(Path(path)) as beside:
            beside.write_bytes(data)


def check_model_file(path: Path) -> None:
    """Refuse, before a training, a model file that could not be written or would replace something else.

    Beside a model stand files of its name: NAME.html and the folder NAME.training.

    Raises:
        OptionError: the suffix is not .safetensors.
        OutputError: its folder cannot be made or written.
    """
    if path.suffix != ".safetensors":
        raise OptionError(f"--out {path} is no name of a model file. Let it end in .safetensors")
    check_writable(path)


def load_artifact(path: str | Path, *, task: str) -> Artifact:
    """Read a model file and check that it is for `task` and that all its numbers are finite.

    Raises:
        MissingInput: there is no such file.
        UnsafeModelFile: it is a pickle (a .pt, .pth or .ckpt file); it is refused, not executed.
        ModelMismatch: it is for another task.
        ModelError: it is no muybridge model file, is newer than this version, or holds NaN or infinity.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"there is no model file {path}")
    _refuse_pickle(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:  # pyright: ignore[reportUnknownVariableType]
            metadata = cast("dict[str, str] | None", file.metadata())
        tensors = load_file(path)
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path} is not a readable safetensors file ({error}). Copy or download it again") from error
    if not metadata or _HEADER not in metadata:
        raise ModelError(f"{path} holds tensors, but not the header of a muybridge model. Use an importer to read it")
    header = cast("dict[str, Any]", json.loads(metadata[_HEADER]))
    if header["format"] > FORMAT:
        raise ModelError(
            f"{path} has format {header['format']}, this version reads up to {FORMAT}. Update with: "
            "pip install -U muybridge"
        )
    if header["task"] != task:
        raise ModelMismatch(f"{path} is a model for {header['task']!r}, but {task!r} was asked for")
    spoilt = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if spoilt:
        raise ModelError(
            f"{path} holds NaN or infinity in {spoilt[0]} ({len(spoilt)} tensors). Train or copy it again"
        )
    return Artifact(
        task, header["architecture"], tensors, header["provenance"], header["scores"], header.get("contract", {})
    )


def _refuse_pickle(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(16)
    # A zip archive (torch.save today), a pickle protocol marker, or the legacy tar of torch.
    # A safetensors file begins with the length of its JSON header, which may happen to look like the second.
    if start[8:9] == b"{":
        return
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise UnsafeModelFile(
            f"{path} is a pickle, which can execute code when opened. It was refused. "
            "Save the model as .safetensors, or read a known checkpoint with its importer"
        )


def find_model(name_or_path: str | Path, *, built_in: Mapping[str, str], task: str) -> Path:
    """The file behind a model's name: a built-in name, a path, or a repository of the Hugging Face hub (OWNER/NAME).

    The network is used for the last form alone, which the user named.

    Args:
        built_in: file names within the package's weights by the name the user gives.

    Raises:
        MissingInput: none of the three.
    """
    name = str(name_or_path)
    if name in built_in:
        return _BUILT_IN / built_in[name]
    path = Path(name_or_path)
    if path.exists():
        return path
    if name.count("/") == 1 and not path.suffix and not name.startswith((".", "/", "~")):
        return _from_hub(name)
    raise MissingInput(
        f"there is no model {name!r} for {task!r}: give a file, a hub repository OWNER/NAME, "
        f"or one of {', '.join(sorted(built_in))}"
    )


def _from_hub(repository: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"cannot get {repository} from the hub: {reason}") from error


def push_to_hub(path: Path, repository: str, *, private: bool = False) -> str:
    """Upload a model file as OWNER/NAME and return its address. Needs a token, as `huggingface-cli login` sets."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        return str(
            api.upload_file(path_or_fileobj=path, path_in_repo="model.safetensors", repo_id=repository).commit_url
        )
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"cannot upload to {repository}: {reason}") from error


def read_torch_file(path: str | Path) -> dict[str, Any]:
    """What others saved by `torch.save`: tensors and plain containers. Anything else is refused, not executed.

    Raises:
        MissingInput: there is no such file.
        UnsafeModelFile: it holds more than tensors.
        ModelError: it cannot be read, or is no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"there is no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafeModelFile(
            f"{path} holds more than tensors, and opening it would execute code. Save its state dict alone"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ModelError(f"{path} cannot be read as a torch file. Copy or download it again") from error
    if not isinstance(state, dict):
        raise ModelError(f"{path} holds a {type(state).__name__}, not a state dict. Save the state dict")
    return cast("dict[str, Any]", state)
