"""Self-describing model files: one safetensors file whose header says, as JSON, all that is needed to use it.

    ┌ header ─ "muybridge": {"format": 1, "task": "stylize", "architecture": {...}, "provenance": {...}, ...}
    └ tensors ─ only what was trained

Nothing is ever unpickled. A foreign checkpoint is read by an explicit importer with `weights_only=True`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from muybridge.counts import counted
from muybridge.errors import MissingInput, ModelError, ModelMismatch, OptionError, OutputError, UnsafeModelFile
from muybridge.media.outputs import atomic_output, check_writable
from muybridge.schema import Fields, Within, build, parse_json, without_nan
from muybridge.weight_files import LONGEST_HEADER, describe_differences, printable, read_layout

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
        text = json.dumps(without_nan(header), sort_keys=True, allow_nan=False)
        if len(text) > LONGEST_HEADER // 4:
            raise OutputError(
                f"cannot write {path}: its header would be {len(text)} letters long. Shorten provenance"
            )
        data = save(tensors, metadata={_HEADER: text})
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


@dataclass(frozen=True)
class ModelFile:
    """A model file whose header was read and found sound. Its tensors are still on disk.

    Attributes:
        path: of the file.
        task: see `Artifact`.
        architecture, contract: as they stand in it; `muybridge.schema.build` makes checked values of them.
        provenance, scores: see `Artifact`.
        layout: name, shape and type of each tensor, on the device "meta", which holds no numbers.
    """

    path: Path
    task: str
    architecture: Mapping[str, Any]
    contract: Mapping[str, Any]
    provenance: Mapping[str, Any]
    scores: Mapping[str, Any]
    layout: Mapping[str, Tensor] = field(repr=False)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors.

        Raises:
            ModelError: one holds NaN or infinity.
        """
        tensors = load_file(self.path)
        # Networks are of 32 bits, in which the largest numbers of 64 are infinite.
        narrow = {
            name: tensor.float() if tensor.dtype == torch.float64 else tensor for name, tensor in tensors.items()
        }
        spoilt = [name for name, tensor in narrow.items() if not torch.isfinite(tensor).all()]
        if spoilt:
            raise ModelError(
                f"{self.path} holds NaN or infinity in {printable(spoilt[0])} ({counted(len(spoilt), 'tensor')}). "
                "Train or copy it again"
            )
        return tensors

    def require_within(self, name: str, tensor: Tensor, *, least: float, most: float) -> None:
        """Refuse numbers beyond reason, whose products would be infinite.

        Raises:
            ModelError: a number of a tensor is less than the least, or more than the most.
        """
        lowest, highest = (float(each) for each in tensor.aminmax())
        if lowest < least or highest > most:
            wrong = lowest if lowest < least else highest
            raise ModelError(
                f"{self.path} holds {wrong:g} in {printable(name)}, not between {least:g} and {most:g}. "
                "Train or copy it again"
            )

    def artifact(self) -> Artifact:
        """The whole file in memory. Raises as `tensors` does."""
        return Artifact(self.task, self.architecture, self.tensors(), self.provenance, self.scores, self.contract)

    def require_fit(self, wanted: Mapping[str, Tensor], *, what: str) -> None:
        """Refuse, before anything is built, a file whose tensors are not those of the network that it describes.

        Args:
            wanted: the network's tensors, such as on the device "meta".
            what: the network, for people.

        Raises:
            ModelMismatch: a tensor is missing, unknown, or of another shape or kind of number.
        """
        problems = describe_differences(wanted, self.layout)
        if problems:
            raise ModelMismatch(
                f"{self.path} does not hold {what} that its header describes: {problems}. Copy or download it again"
            )


@dataclass(frozen=True)
class _Header:
    format: Annotated[int, Within(1, FORMAT)]
    task: str
    architecture: Mapping[str, Any]
    provenance: Mapping[str, Any]
    scores: Mapping[str, Any]
    contract: Mapping[str, Any] = field(default_factory=dict[str, Any])


def open_model(path: str | Path, *, task: str) -> ModelFile:
    """Read a model file's header, and check that the file is sound and for `task`. Tensors are not read.

    Raises:
        MissingInput: there is no such file.
        UnsafeModelFile: it is a pickle (a .pt, .pth or .ckpt file); it is refused, not executed.
        ModelMismatch: it is for another task.
        ModelError: it is no muybridge model file, is newer than this version, or its header is not sound.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"there is no model file {path}")
    _refuse_pickle(path)
    metadata, layout = read_layout(path)
    if _HEADER not in metadata:
        raise ModelError(f"{path} holds tensors, but not the header of a muybridge model. Use an importer to read it")
    values = parse_json(metadata[_HEADER], source=str(path))
    newer = values.get("format") if isinstance(values, dict) else None
    if type(newer) is int and FORMAT < newer < 1000:
        raise ModelError(
            f"{path} has format {newer}, this version reads up to {FORMAT}. Update with: pip install -U muybridge"
        )
    header = build(_Header, values, source=str(path), fields=Fields(later=("contract",)))
    if header.task != task:
        raise ModelMismatch(f"{path} is a model for {header.task[:40]!r}, but {task!r} was asked for")
    return ModelFile(path, task, header.architecture, header.contract, header.provenance, header.scores, layout)


def load_artifact(path: str | Path, *, task: str) -> Artifact:
    """A whole model file in memory, its architecture and contract not looked at. Raises as `open_model` does."""
    return open_model(path, task=task).artifact()


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
