"""All that makes the training of a recognizer what it is, as data."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from torch import nn

from muybridge.data.clips.augmentation import AugmentationConfig
from muybridge.data.clips.painting import PaintingConfig
from muybridge.data.clips.sampling import SamplingConfig
from muybridge.errors import OptionError
from muybridge.models.backbones import backbone_input
from muybridge.recognize.objective import RecognizerConfig
from muybridge.training.fit_config import FitConfig, steps_of_epochs

Balance = Literal["none", "loss", "draws"]


@dataclass(frozen=True)
class ClipData:
    """Which clips are trained on.

    Attributes:
        source: as `muybridge.data.clips.lists.read_clip_list` takes it.
        labels: a file of all classes; None takes those that the data names.
        root: folder that paths in a list are relative to.
        group_pattern: regular expression whose first group, searched in a path, names the source that a clip was cut
            from; clips of one source are held out together.
        held_out: share of the clips that is held out to measure, where the data has no val or test of its own; 0
            trains on all of them and measures nothing.
        balance: against classes of unequal size: "loss" weighs the loss, "draws" draws rare classes more often.
    """

    source: Path
    labels: Path | None = None
    root: Path | None = None
    group_pattern: str | None = None
    held_out: float = 0.2
    balance: Balance = "loss"

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise OptionError(f"held_out={self.held_out} is no share of the clips. Choose 0 or more, below 1.")
        if self.balance not in ("none", "loss", "draws"):
            raise OptionError(f"balance='{self.balance}' is unknown. Choose one of: none, loss, draws.")


@dataclass(frozen=True)
class SamplingOptions:
    """What of the sampling is the user's choice; the rest is the backbone's.

    Attributes:
        frames, mode, rate, stride: as in `SamplingConfig`.
        size: side of the square that the network sees, in pixels; 0 for what the backbone was trained on.
    """

    frames: int = SamplingConfig.frames
    mode: Literal["dense", "segments"] = SamplingConfig.mode
    rate: float = SamplingConfig.rate
    stride: int | None = None
    size: int = 0

    def for_backbone(self, backbone: nn.Module) -> SamplingConfig:
        """With the size, mean, deviation and interpolation that the backbone was trained with."""
        expected = backbone_input(backbone)
        return SamplingConfig(
            frames=self.frames,
            mode=self.mode,
            rate=self.rate,
            stride=self.stride,
            size=(self.size, self.size) if self.size else (expected.height, expected.width),
            interpolation=expected.interpolation,
            mean=expected.mean,
            std=expected.std,
        )


@dataclass(frozen=True)
class RunLength:
    """How long to train, told in passes over the clips.

    Attributes:
        epochs: passes over the training clips.
        steps: optimizer steps instead; 0 for what the epochs make.
        warmup: share of the steps in which the learning rate rises.
        validations: how often the held-out clips are measured on the way.
    """

    epochs: float = 30
    steps: int = 0
    warmup: float = 0.1
    validations: int = 10

    def __post_init__(self) -> None:
        if self.epochs <= 0 or self.steps < 0:
            raise OptionError(f"epochs={self.epochs}, steps={self.steps} train nothing. Choose numbers above 0.")
        if not 0 <= self.warmup <= 1:
            raise OptionError(f"warmup={self.warmup} is no share of the steps. Choose 0 to 1.")

    def of(self, config: FitConfig, num_clips: int) -> FitConfig:
        """The configuration of a run over so many clips."""
        steps = self.steps or steps_of_epochs(self.epochs, num_clips, config.batch_size)
        return replace(
            config,
            steps=steps,
            warmup_steps=round(self.warmup * steps),
            validate_every=math.ceil(steps / self.validations) if self.validations else 0,
        )


@dataclass(frozen=True)
class TrainingPlan:
    """All that makes a run what it is.

    Attributes:
        data: which clips.
        model: which network.
        sampling: which frames of a clip.
        augmentation: how training clips are varied.
        painting: styles that some of them are painted in; None for none.
        config: how to train; steps, warm-up and validations are replaced by what `length` says.
        length: how long.
        initialize: a recognizer whose adapters (or backbone, where it was trained too) training starts from.
        cache: folder that keeps what the frozen blocks before the first adapted one make of each clip.
        cache_views: places in time at which each clip is kept there.
    """

    data: ClipData
    model: RecognizerConfig = field(default_factory=RecognizerConfig)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    config: FitConfig = field(default_factory=FitConfig)
    length: RunLength = field(default_factory=RunLength)
    initialize: str | Path | None = None
    cache: Path | None = None
    cache_views: int = 1
    painting: PaintingConfig | None = None

    def __post_init__(self) -> None:
        unvaried = AugmentationConfig(crop="center")
        if self.cache is not None and (self.augmentation != unvaried or self.painting is not None):
            raise OptionError("cache keeps clips as they are, which cannot be varied. Choose --crop center alone")
