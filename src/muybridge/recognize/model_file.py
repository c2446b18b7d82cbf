"""A recognizer's model file: what may stand in it, checked before anything is built."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from muybridge.artifacts import ModelFile, find_model, open_model
from muybridge.counts import counted
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig
from muybridge.data.label_maps import LabelMap
from muybridge.data.options import LARGEST_SIDE, MOST_FRAMES
from muybridge.errors import ModelError, ModelMismatch, MuybridgeError, OptionError
from muybridge.models.backbones import checked_options
from muybridge.models.dense_motion.camera import CameraMotion
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.models.st_adapter.config import AdapterConfig, OverTime
from muybridge.models.st_adapter.sets import ADAPTER_LIMITS, trained_state
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.pretrained import BackboneIdentity, built_in_codebook, sketch_of
from muybridge.recognize.motion import BIAS, WEIGHT, MotionReadout
from muybridge.recognize.options import BUILT_IN
from muybridge.schema import Fields, Within, build
from muybridge.training.linear import LARGEST_ODDS, LARGEST_SHARE
from muybridge.weight_files import printable

TASK = "recognize"

_SAMPLING_LIMITS = Fields(
    later=("preprocessing",),
    frames=Within(1, MOST_FRAMES),
    rate=Within(0.001, 1000),
    stride=Within(1, 10_000),
    size=Within(8, LARGEST_SIDE),
    resize_short_side=Within(8, 8192),
    mean=Within(-1000, 1000),
    std=Within(1e-4, 1000),
)
_VIEW_LIMITS = Fields(
    later=("focus", "dense_rate"), temporal=Within(1, 100), spatial=Within(1, 3), dense_rate=Within(0, 1000)
)
# Pixels of all views of a clip. Nothing published comes near.
_LARGEST_VIEWS = 1 << 27


@dataclass(frozen=True)
class _BackboneName:
    name: str
    source: str
    hash: str


@dataclass(frozen=True)
class Architecture:
    """The numbers that rebuild the network.

    Attributes:
        backbone: its name.
        backbone_options: what it was built with beyond its name.
        method: what was trained: adapters and head, the head, or all.
        adapters: their numbers, where there are any.
        readout: what of a frame is read.
        num_classes: outputs of the head.
        over_time: what of all frames is read.
        motion: which codebook makes vectors of how clips move, by its hash, where they are read; "camera" where they
            are of what the camera does.
        network_weight: how much the network counts beside motion.
    """

    backbone: str
    backbone_options: Mapping[str, Any]
    method: Literal["adapters", "head", "full"]
    adapters: Annotated[AdapterConfig, ADAPTER_LIMITS] | None
    readout: Literal["class_token", "patch_mean"]
    num_classes: Annotated[int, Within(1, 1 << 20)]
    over_time: OverTime = "mean"
    motion: str | None = None
    network_weight: Annotated[float, Within(0, LARGEST_SHARE)] = 1.0


@dataclass(frozen=True)
class Contract:
    """What else a recognizer needs.

    Attributes:
        labels, ids: of the classes.
        multi_label: whether a clip may have several.
        sampling, views: what it is shown.
        backbone: which frozen image model it stands on.
        threshold: least probability at which it is worth saying a label.
    """

    labels: tuple[str, ...]
    ids: tuple[Annotated[int, Within(0, 1 << 31)], ...]
    multi_label: bool
    sampling: Annotated[SamplingConfig, _SAMPLING_LIMITS]
    backbone: _BackboneName
    views: Annotated[ViewConfig, _VIEW_LIMITS] = field(default_factory=ViewConfig)
    threshold: Annotated[float, Within(0, 1)] = 0.0

    def __post_init__(self) -> None:
        height, width = self.sampling.size
        clip = self.sampling.frames * height * width
        if clip * self.views.count > _LARGEST_VIEWS:
            raise OptionError(f"clips of {self.sampling.frames} frames of {width} x {height} pixels are too large")


@dataclass(frozen=True)
class RecognizerFile:
    """A recognizer's file. Its header is sound; its tensors are still on disk.

    Attributes:
        file: where they are.
        architecture, contract: what it says.
    """

    file: ModelFile
    architecture: Architecture
    contract: Contract

    @classmethod
    def open(cls, name_or_path: str | Path) -> "RecognizerFile":
        """The file of a name, as `muybridge.artifacts.find_model` takes it. Raises as `open_model`."""
        file = open_model(find_model(name_or_path, built_in=BUILT_IN, task=TASK), task=TASK)
        source = str(file.path)
        # Files from before there was a choice have one view and say whatever they think.
        fields = Fields(later=("views", "threshold"))
        contract = build(Contract, file.contract, source=source, at="contract", fields=fields)
        # Files from before there was a choice read the mean, and no motion, or count it as much as the network.
        fields = Fields(later=("over_time", "motion", "network_weight"))
        architecture = build(Architecture, file.architecture, source=source, at="architecture", fields=fields)
        opened = cls(file, architecture, contract)
        checked_options(opened.architecture.backbone_options, source=source)
        if not len(contract.labels) == len(contract.ids) == opened.architecture.num_classes:
            raise ModelError(
                f"{source} has {counted(len(contract.labels), 'label')} and {counted(len(contract.ids), 'id')} for "
                f"{counted(opened.architecture.num_classes, 'class')}. Copy or download it again"
            )
        return opened

    @property
    def backbone(self) -> BackboneIdentity:
        """The image model that it stands on."""
        about = self.contract.backbone
        return BackboneIdentity(about.name, about.source, about.hash, self.architecture.backbone_options)

    @property
    def trains_backbone(self) -> bool:
        """Whether the image model's own weights are in the file."""
        return self.architecture.method == "full"

    def labels(self) -> LabelMap:
        """The classes. Worth asking for only when the file was found to fit its head."""
        try:
            return LabelMap(self.contract.labels, self.contract.ids)
        except MuybridgeError as error:
            raise ModelError(f"{self.file.path}: {error}") from error

    def check(self, *, weights: Path | None = None) -> None:
        """Hold the tensors against the network that the header describes, before memory is taken for it.

        Args:
            weights: what the user says of the image model, as for `muybridge.pretrained.reload_backbone`.

        Raises:
            ModelError, ModelMismatch: they do not fit, or there is no such network.
        """
        backbone = sketch_of(self.backbone, source=self.file.path, weights=weights)
        with torch.device("meta"):
            network = self.build(backbone)
            state = trained_state(network)
            codebook = self.codebook()
            if codebook is not None:
                classes = self.architecture.num_classes
                state |= {WEIGHT: torch.empty(classes, codebook.length), BIAS: torch.empty(classes)}
        self.file.require_fit(state, what="the recognizer")

    def codebook(self) -> Codebook | CameraMotion | None:
        """What makes vectors of how clips move, where they are read.

        Raises:
            ModelMismatch: the file was trained with one that is not built in.
        """
        wanted = self.architecture.motion
        if wanted is None:
            return None
        if wanted == CameraMotion.hash:
            return CameraMotion()
        codebook = built_in_codebook()
        if wanted != codebook.hash:
            raise ModelMismatch(
                f"{self.file.path} reads motion by a codebook of hash {printable(wanted[:12])}, which this version "
                f"of muybridge does not have (its own is {codebook.hash[:12]}). Use the version it was trained with, "
                "or train it again"
            )
        return codebook

    def trained(self) -> tuple[dict[str, Tensor], MotionReadout | None]:
        """The tensors of the network, and what is said of how clips move; None where it does not look."""
        tensors, codebook = self.file.tensors(), self.codebook()
        if codebook is None:
            return tensors, None
        weight, bias = tensors.pop(WEIGHT).float(), tensors.pop(BIAS).float()
        for name, tensor in ((WEIGHT, weight), (BIAS, bias)):
            self.file.require_within(name, tensor, least=-LARGEST_ODDS, most=LARGEST_ODDS)
        return tensors, MotionReadout(codebook, weight, bias, self.architecture.network_weight)

    def build(self, backbone: nn.Module) -> VideoViT:
        """The network, its trained part at random."""
        about = self.architecture
        try:
            return VideoViT(
                backbone,
                about.num_classes,
                adapters=about.adapters,
                readout=about.readout,
                over_time=about.over_time,
                train_backbone=self.trains_backbone,
            )
        except MuybridgeError as error:
            raise ModelError(f"{self.file.path}: {error}") from error
