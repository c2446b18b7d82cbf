"""A localizer's model file: what may stand in it, checked before anything is built."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from muybridge.artifacts import ModelFile, find_model, open_model
from muybridge.counts import counted
from muybridge.data.label_maps import LabelMap
from muybridge.data.localization import BankSpan, KeyFrameSampling
from muybridge.data.options import LARGEST_SIDE, MOST_FRAMES, check_clip_size
from muybridge.data.person_motion import person_motion_hash
from muybridge.errors import ModelError, ModelMismatch, MuybridgeError
from muybridge.localize.motion import BIAS, SHARE, WEIGHT, PersonMotionReadout
from muybridge.localize.objective import NetworkConfig, localizer_state
from muybridge.localize.options import BUILT_IN
from muybridge.models.acar.head import ACARNet
from muybridge.models.backbones import checked_options
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.pretrained import BackboneIdentity, built_in_codebook, sketch_of
from muybridge.schema import Fields, Within, build
from muybridge.training.linear import LARGEST_ODDS, LARGEST_SHARE
from muybridge.weight_files import printable

TASK = "localize"

_SAMPLING_LIMITS = Fields(
    later=("preprocessing",),
    frames=Within(1, MOST_FRAMES),
    rate=Within(0.001, 1000),
    short_side=Within(8, LARGEST_SIDE),
    multiple=Within(1, 1024),
    mean=Within(-1000, 1000),
    std=Within(1e-4, 1000),
)
# Pixels of one clip, were it square. Nothing published comes near.


@dataclass(frozen=True)
class _Bank:
    model: str
    before: Annotated[float, Within(0, 3600)]
    after: Annotated[float, Within(0, 3600)]


@dataclass(frozen=True)
class _Backbone:
    name: str
    source: str
    hash: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class _Speed:
    label: str
    mean: Annotated[float, Within(-10, 10)]
    deviation: Annotated[float, Within(0.01, 10)]


@dataclass(frozen=True)
class _Contract:
    labels: tuple[str, ...]
    ids: tuple[Annotated[int, Within(0, 1 << 31)], ...]
    exclusive: tuple[tuple[Annotated[int, Within(0, 1 << 20)], ...], ...]
    sampling: Annotated[KeyFrameSampling, _SAMPLING_LIMITS]
    backbone: _Backbone | None
    bank: _Bank | None
    actor_score: Annotated[float, Within(0, 1)] = 0.0  # files from before there was a choice show everybody
    usual_speeds: tuple[_Speed, ...] = ()
    motion: str | None = None

    def __post_init__(self) -> None:
        check_clip_size(self.sampling.frames, self.sampling.short_side, self.sampling.short_side)


@dataclass(frozen=True)
class LocalizerFile:
    """A localizer's file. Its header is sound; its tensors are still on disk.

    Attributes:
        file: where they are.
        config: rebuilds the network.
        sampling: what it is shown.
        backbone: the image model that it stands on; None for SlowFast.
        bank_span: what is read of a feature bank; None for a model that reads none.
        bank_model: who writes it.
        actor_score: the least score of people that the network is shown.
        usual_speeds: of poses, by label: mean and deviation of logarithms.
        codebook: makes vectors of how people move, where they are read.
    """

    file: ModelFile
    config: NetworkConfig
    sampling: KeyFrameSampling
    backbone: BackboneIdentity | None
    bank_span: BankSpan | None
    bank_model: str
    actor_score: float
    usual_speeds: Mapping[str, tuple[float, float]]
    codebook: Codebook | None
    _contract: _Contract

    @classmethod
    def open(cls, name_or_path: str | Path) -> "LocalizerFile":
        """The file of a name, as `muybridge.artifacts.find_model` takes it. Raises as `open_model`."""
        file = open_model(find_model(name_or_path, built_in=BUILT_IN, task=TASK), task=TASK)
        source = str(file.path)
        config = NetworkConfig.from_json(file.architecture, source=source)
        contract = build(
            _Contract,
            file.contract,
            source=source,
            at="contract",
            fields=Fields(later=("actor_score", "usual_speeds", "motion")),
        )
        classes = config.head.num_classes
        if not len(contract.labels) == len(contract.ids) == classes:
            raise ModelError(
                f"{source} has {counted(len(contract.labels), 'label')} and {counted(len(contract.ids), 'id')} for "
                f"{counted(classes, 'class')}. Copy or download it again"
            )
        about, bank = contract.backbone, contract.bank
        if (about is None) == (config.slowfast is None):
            raise ModelError(f"{source} names {'no trunk' if about is None else 'two trunks'}. Copy it again")
        identity = None
        if about is not None:
            options = checked_options(about.options, source=source)
            identity = BackboneIdentity(about.name, about.source, about.hash, options)
        span = None if bank is None else BankSpan(bank.before, bank.after)
        writer = "" if bank is None else bank.model
        speeds = {each.label: (each.mean, each.deviation) for each in contract.usual_speeds}
        if unknown := sorted(speeds.keys() - set(contract.labels)):
            raise ModelError(
                f"{source} has a speed of {unknown[0][:60]!r}, which is none of its labels. Copy it again"
            )
        codebook = _codebook(contract.motion, source=source)
        return cls(
            file, config, contract.sampling, identity, span, writer, contract.actor_score, speeds, codebook, contract
        )

    def labels(self) -> LabelMap:
        """The classes. Worth asking for only when the file was found to fit its head."""
        try:
            return LabelMap(self._contract.labels, self._contract.ids, self._contract.exclusive)
        except MuybridgeError as error:
            raise ModelError(f"{self.file.path}: {error}") from error

    def check(self, *, weights: Path | None = None) -> None:
        """Hold the tensors against the network that the header describes, before memory is taken for it.

        Args:
            weights: what the user says of the image model, as for `muybridge.pretrained.reload_backbone`.

        Raises:
            ModelError, ModelMismatch: they do not fit, or there is no such network.
        """
        sketch = None
        if self.backbone is not None:
            sketch = sketch_of(self.backbone, source=self.file.path, weights=weights)
        with torch.device("meta"):
            network = self.build(sketch)
            state = localizer_state(network)
            if self.codebook is not None:
                classes = self.config.head.num_classes
                state |= {WEIGHT: torch.empty(classes, self.codebook.length)}
                state |= {name: torch.empty(classes) for name in (BIAS, SHARE)}
        self.file.require_fit(state, what="the localizer")

    def trained(self) -> tuple[dict[str, Tensor], PersonMotionReadout | None]:
        """The tensors of the network, and what is said of how people move; None where it does not look."""
        tensors = self.file.tensors()
        if self.codebook is None:
            return tensors, None
        of_motion = [tensors.pop(name).float() for name in (WEIGHT, BIAS, SHARE)]
        for name, tensor in zip((WEIGHT, BIAS), of_motion, strict=False):
            self.file.require_within(name, tensor, least=-LARGEST_ODDS, most=LARGEST_ODDS)
        self.file.require_within(SHARE, of_motion[2], least=0, most=LARGEST_SHARE)
        return tensors, PersonMotionReadout(self.codebook, *of_motion)

    def build(self, backbone: nn.Module | None) -> ACARNet:
        """The network, its trained part at random."""
        try:
            return self.config.build(backbone)
        except MuybridgeError as error:
            raise ModelError(f"{self.file.path}: {error}") from error


def _codebook(wanted: str | None, *, source: str) -> Codebook | None:
    """What makes the vectors of this hash; none for none.

    Raises:
        ModelMismatch: they are not those of this version.
    """
    if wanted is None:
        return None
    codebook = built_in_codebook()
    own = person_motion_hash(codebook)
    if wanted != own:
        raise ModelMismatch(
            f"{source} reads how people move by vectors of hash {printable(wanted[:12])}, which this version of "
            f"muybridge does not make (its own are {own[:12]}). Use the version it was trained with, or train again"
        )
    return codebook
