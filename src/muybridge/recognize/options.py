"""What a user can choose of a recognizer, as data: its training, its evaluation, how long videos are cut."""

import re
from dataclasses import KW_ONLY, dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from muybridge.data.options import LARGEST_SIDE, AugmentationConfig, FrameChoice, SamplingConfig, check_clip_size
from muybridge.errors import OptionError
from muybridge.models.st_adapter.config import AdapterConfig, OverTime, Readout
from muybridge.options import (
    AUGMENTATION,
    BASIC,
    DATA,
    FLAT,
    LEAST_SECONDS,
    LIST,
    MOST_AT_ONCE,
    MOST_READERS,
    NETWORK,
    PLAIN,
    RUN,
    TIME,
    TRAINING,
)
from muybridge.schema import Within, require_within
from muybridge.training.fit_config import ClipFitConfig, learning_rate_of_batch

# Models that come with it: their files by name.
BUILT_IN = {
    "actions": "actions.safetensors",
    "camera": "camera.safetensors",
    "stage_actions": "stage_actions.safetensors",
}

Method = Literal["adapters", "head", "full"]
_ADAPTERS = Parameter(parse=re.compile("^(?!keep_dead)"))  # a checkpoint's matter, not a user's
_NO_DEFAULT = Parameter(show_default=False)


@dataclass(frozen=True)
class ClipData:
    """Which clips are trained on.

    Attributes:
        source: A folder with a folder of clips for each class (with train and val folders above them, or undivided),
            a list (CSV, text, Kinetics, Something-Something, UCF101), or tar shards of webdataset: a file, a folder,
            a pattern, or an address such as s3://bucket/train-*.tar.
        labels: A file with all classes, one a line; by default those that the data names.
        root: Folder that the paths in a list are relative to.
        group_pattern: Regular expression whose first group, searched in a path, names the source that a clip was cut
            from; clips of one source are held out together, also where it is found how much to believe picture and
            motion. The names of UCF101 and Kinetics are known.
        held_out: Share of the clips held out to measure, where the data has no val or test of its own; 0 trains on
            all.
        balance: Against classes of unequal size: weigh the loss, or draw rare classes more often.
    """

    source: Annotated[Path, BASIC, Parameter(name=("--data", "--shards"))]
    _: KW_ONLY
    labels: Path | None = None
    root: Path | None = None
    group_pattern: str | None = None
    held_out: float = 0.2
    balance: Annotated[Literal["none", "loss", "draws"], Parameter(name="--class-balance")] = "loss"

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise OptionError(f"held_out={self.held_out} is no share of the clips. Choose 0 or more, below 1.")
        if self.balance not in ("none", "loss", "draws"):
            raise OptionError(f"balance='{self.balance}' is unknown. Choose one of: none, loss, draws.")


@dataclass(frozen=True)
class SamplingOptions(FrameChoice):
    """What of the sampling is the user's choice; the rest is the backbone's.

    Attributes:
        size: Side in pixels of what the network sees; 0 for what the backbone was trained on.
        focus: Look also at the part of the picture that moves, enlarged.
        dense_rate: With segments, look at clips of up to 3 s also at so many frames a second; 0 for segments alone.
    """

    mode: Annotated[Literal["dense", "segments"], Parameter(name="--sampling")] = "segments"
    size: int = 0
    focus: bool = True
    dense_rate: float = 12.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within(self, {"size": Within(0, LARGEST_SIDE)})
        check_clip_size(self.frames, self.size, self.size)
        if not 0 <= self.dense_rate < inf:
            raise OptionError(
                f"dense_rate={self.dense_rate} is no number of frames a second. Choose 12, or 0 for none"
            )


@dataclass(frozen=True)
class RecognizerConfig:
    """The network to be trained.

    Attributes:
        backbone: The image model: efficientnet_lite0 and muybridge_vit are built in; any ViT, EfficientNet,
            MobileNetV3 or V4, ResNet, RegNet or ConvNeXt of timm by its name.
        backbone_weights: A file with the backbone's weights, in place of those that belong to its name.
        method: adapters trains small modules inside a frozen backbone; head trains a classifier on its features; full
            trains everything.
        adapters: their numbers; None for the defaults, or those of the recognizer that training starts from.
        readout: What of a frame is read; auto takes the class token where there is one.
        over_time: What of all frames is read: their mean, or beside it how they change.
        dropout: Before the classifier.
        motion: Read also how clips move, by optical flow, and let a second classifier on that have its say. So it is
            by default, but not with --causal, whose answers come after every frame.
        gradient_checkpointing: Compute blocks twice to save memory.
    """

    backbone: Annotated[str, BASIC] = "efficientnet_lite0"
    backbone_weights: Path | None = None
    method: Method = "adapters"
    adapters: Annotated[AdapterConfig | None, FLAT, PLAIN, LIST, _ADAPTERS] = None
    readout: Readout = "auto"
    over_time: OverTime = "change"
    dropout: float = 0.5
    motion: bool | None = None
    gradient_checkpointing: Annotated[bool, TRAINING, PLAIN] = False

    def __post_init__(self) -> None:
        if self.method not in ("adapters", "head", "full"):
            raise OptionError(f"method='{self.method}' is unknown. Choose one of: adapters, head, full.")
        if self.adapters is not None and self.method != "adapters":
            raise OptionError(f"method='{self.method}' has no adapters. Leave their options out, or choose adapters.")
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout={self.dropout} is no share of features. Choose 0 or more, below 1.")
        if self.motion and self.adapters is not None and self.adapters.causal:
            raise OptionError(
                "--motion is of many frames, and --causal is for an answer after each. Leave one of them out, or say "
                "--no-motion"
            )

    @property
    def reads_motion(self) -> bool:
        """Whether clips' motion is read."""
        is_causal = self.adapters is not None and self.adapters.causal
        return not is_causal if self.motion is None else self.motion


# Peak learning rates of AdamW that suit batches of 8 to 32 clips and the built-in backbone.
LEARNING_RATES: dict[Method, float] = {"adapters": 2e-3, "head": 1e-3, "full": 2e-4}


@dataclass(frozen=True)
class RecognizerFitConfig(ClipFitConfig):
    """How to train a recognizer.

    Attributes:
        label_smoothing: Share of a label that is spread over all classes.
        learning_rate: At its peak; the default depends on the method.
        learning_rate_per_256: The same by the linear scaling rule: times batch size / 256.
    """

    epochs: Annotated[float, BASIC] = 5
    batch_size: int = 16
    weight_decay: float = 0.05
    patience: int = 3
    label_smoothing: float = 0.1
    learning_rate: Annotated[float, _NO_DEFAULT] = 0.0
    learning_rate_per_256: Annotated[float, _NO_DEFAULT] = 0.0
    save_every: Annotated[int, RUN] = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise OptionError(f"label_smoothing={self.label_smoothing} is no share. Choose 0 or more, below 1.")
        if self.learning_rate and self.learning_rate_per_256:
            raise OptionError("--learning-rate and --learning-rate-per-256 say the same twice. Give one of them")

    def for_method(self, method: Method) -> "RecognizerFitConfig":
        """With the learning rate of one step's batch."""
        scaled = learning_rate_of_batch(self.learning_rate_per_256, self.batch_size)
        return replace(
            self, learning_rate=self.learning_rate or scaled or LEARNING_RATES[method], learning_rate_per_256=0.0
        )


@dataclass(frozen=True)
class TrainingPlan:
    """All that makes a run what it is.

    Attributes:
        data: which clips.
        model: which network.
        sampling: which frames of a clip.
        augmentation: how training clips are varied.
        config: how to train.
        initialize: A recognizer whose adapters training starts from: stage_actions (built in, how people move),
            camera, or a file. Its classes may be others. Without options for adapters, they are as in it.
        augment: stylize=STYLES paints half of the clips, each in one of these styles, all its frames alike: built-in
            names, pictures, folders of pictures. stylize=STYLES:0.3 paints that share of them.
        cache: A folder that keeps what the frozen blocks make of each clip, so that all passes but the first skip
            them, in later runs too. Wants --blocks or --method head, and goes without augmentation.
        cache_views: Places in time at which each clip is kept there; training draws one of them.
        keep_views: How often each clip is read, beside as a test sees it, at other times and crops, to keep what the
            frozen blocks make of it in memory; training draws one of all views. By default the more often, the fewer
            clips there are. What does not fit into memory is kept on disk, without further views. Where something
            must be done to frames at each pass, clips are read at each pass; 0 does so always.
        spread: Spread the frozen blocks of the image model over the processes that torchrun starts, for one that is
            larger than a GPU's memory. Adapters stay whole in each.
    """

    data: Annotated[ClipData, FLAT, DATA]
    _: KW_ONLY
    model: Annotated[RecognizerConfig, FLAT, NETWORK] = field(default_factory=RecognizerConfig)
    sampling: Annotated[SamplingOptions, FLAT, AUGMENTATION] = field(default_factory=SamplingOptions)
    augmentation: Annotated[AugmentationConfig, FLAT, AUGMENTATION] = field(default_factory=AugmentationConfig)
    config: Annotated[RecognizerFitConfig, FLAT, TRAINING] = field(default_factory=RecognizerFitConfig)
    initialize: Annotated[str | None, NETWORK] = None
    augment: Annotated[tuple[str, ...], AUGMENTATION] = ()
    cache: Annotated[Path | None, RUN] = None
    cache_views: Annotated[int, RUN] = 1
    keep_views: Annotated[int | None, RUN] = None
    spread: Annotated[bool, RUN, PLAIN] = False

    def __post_init__(self) -> None:
        require_within(self, {"cache_views": Within(0, 100), "keep_views": Within(0, 1000)})
        varied = replace(self.augmentation, crop=None) != AugmentationConfig() or self.augment
        if self.cache is not None and (varied or self.augmentation.crop not in (None, "center")):
            raise OptionError("cache keeps clips as they are, which cannot be varied. Choose --crop center alone")

    def resolved(self, adapters: AdapterConfig | None, readout: Readout) -> "TrainingPlan":
        """With the numbers that follow from others filled in, and the network's own."""
        crop = self.augmentation.crop or ("jitter" if self.cache is None else "center")
        return replace(
            self,
            model=replace(self.model, adapters=adapters, readout=readout),
            augmentation=replace(self.augmentation, crop=crop),
            config=self.config.for_method(self.model.method),
        )


@dataclass(frozen=True)
class WindowConfig:
    """How a long video is cut.

    Attributes:
        window_seconds: Length of the stretch of time that one answer is about, such as 2s or 500ms. By default as
            long as the clips the model was trained on. For a live source and a causal model the default is an answer
            a frame.
        step_seconds: Time from one window to the next; by default half a window.
    """

    window_seconds: Annotated[float | None, TIME, Parameter(name="--window")] = None
    step_seconds: Annotated[float | None, TIME, Parameter(name="--step")] = None

    def __post_init__(self) -> None:
        for name in ("window_seconds", "step_seconds"):
            value = getattr(self, name)
            if value is not None and not LEAST_SECONDS <= value < inf:
                raise OptionError(f"{name}={value} must be {LEAST_SECONDS} or more and finite, such as 2")
        if self.window_seconds and self.step_seconds and self.step_seconds > self.window_seconds:
            raise OptionError(
                f"step_seconds={self.step_seconds} passes over what lies between windows of {self.window_seconds} s. "
                "Choose at most the window"
            )

    def resolved(self, sampling: SamplingConfig) -> tuple[float, float]:
        """(window, step) in seconds for a model."""
        window = self.window_seconds or sampling.span_seconds or 2.0
        return window, min(self.step_seconds or window / 2, window)


@dataclass(frozen=True)
class EvaluateConfig:
    """What a model file is measured on, and how.

    Attributes:
        data: Labelled clips, as `muybridge train recognizer` takes them; their classes must be the model's.
        model: camera, a .safetensors file, or OWNER/NAME on the Hugging Face hub.
        split: train, val, test or all, as far as the data has them; held-out draws again the clips that training held
            out of undivided data. By default test, else val, else held-out where the model was trained on this very
            data, else all.
        root: Folder that the paths in a list are relative to.
        group_pattern: That of the training, for held-out clips of a model that was trained with one. It is not taken
            from the model file: a stranger's may never come to an end.
        temporal_views: Places in time that a clip is looked at, by default as the model file says.
        spatial_views: 1 looks at the centre, 3 at both ends of the long side too; by default as the model file says.
        order: Also measure the clips with their frames shuffled, backwards, and by one frame alone.
        batch_size: Clips at a time.
        workers: Processes that read clips.
        backbone_weights: A file with the backbone's weights, if they do not come by its name, or
            timm to fetch the published ones.
        report: An HTML page to write, with the confusion matrix and the clips confused most.
        device: auto, cpu, cuda, mps.
    """

    data: Path
    _: KW_ONLY
    model: Annotated[str, Parameter(alias="-m")]
    split: str | None = None
    root: Path | None = None
    group_pattern: str | None = None
    temporal_views: int | None = None
    spatial_views: int | None = None
    order: bool = True
    batch_size: int = 8
    workers: int = 0
    backbone_weights: Path | None = None
    report: Path | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise OptionError(f"{name}={getattr(self, name)} is too small. Choose {least} or more.")
        require_within(self, {"batch_size": Within(1, MOST_AT_ONCE), "workers": Within(0, MOST_READERS)})
