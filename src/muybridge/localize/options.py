"""What a user can choose of a localizer, as data: its training, its evaluation, what is asked of it."""

from dataclasses import KW_ONLY, dataclass, field
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from muybridge.data.options import LARGEST_SIDE, MOST_FRAMES, BankSpan, BoxAugmentation, check_clip_size
from muybridge.errors import OptionError
from muybridge.evaluation.options import DEFAULT_AVA_PROTOCOL, AvaProtocolName
from muybridge.models.acar.slowfast_config import SLOWFAST_R50, SLOWFAST_R101, SLOWFAST_SMALL, SlowFastConfig
from muybridge.models.st_adapter.config import AdapterConfig
from muybridge.options import (
    AUGMENTATION,
    BASIC,
    DATA,
    FLAT,
    HIDDEN,
    LEAST_SECONDS,
    LIST,
    MOST_AT_ONCE,
    NETWORK,
    PLAIN,
    TRAINING,
    Seconds,
)
from muybridge.schema import Within, require_within
from muybridge.training.fit_config import ClipFitConfig

# Models that come with it: their files by name.
BUILT_IN = {"people_actions": "localizer.safetensors"}

ContextMaps = Literal["last", "change"]
SLOWFAST_TRUNKS = {"slowfast": SLOWFAST_SMALL, "slowfast_r50": SLOWFAST_R50, "slowfast_r101": SLOWFAST_R101}
# As far as a model file may go; 0 leaves the choice to the trunk.
_LIMITS = {
    "depth": Within(0, 64),
    **dict.fromkeys(("reduced", "hidden"), Within(0, 1 << 16)),
    "adapter_width": Within(0, 16384),
    "frames": Within(0, MOST_FRAMES),
    "short_side": Within(0, LARGEST_SIDE),
}


@dataclass(frozen=True)
class BoxData:
    """Which key frames are trained on.

    Attributes:
        annotations: Who does what, where and when: AVA CSV, CVAT for video XML, VIA, COCO JSON, tubes as JSON, or a
            folder of such files.
        videos: Folder of the videos that they name; they are read as they are.
        labels: The classes: pbtxt, text or JSON. Groups of which a person has exactly one are part of it.
        validation: Annotations to measure on, of videos in the same folder.
        held_out: Share of the videos held out to measure, where there is no --validation, or of one lone video's end;
            0 trains on all.
        every_seconds: Least time between key frames, where every frame is annotated.
        boxes: Detections with scores, in any format of boxes: confident ones are trained on beside the true boxes,
            and measured with in place of them.
        train_score: Detections are trained on from this score on.
        test_score: Detections are measured with from this score on.
        balance: Weigh classes against their frequency.
    """

    annotations: Annotated[Path, BASIC]
    _: KW_ONLY
    videos: Annotated[Path, BASIC]
    labels: Annotated[Path, BASIC]
    validation: Path | None = None
    held_out: float = 0.2
    every_seconds: Annotated[Seconds, Parameter(name="--every")] = 0.5
    boxes: Path | None = None
    train_score: float = 0.9
    test_score: float = 0.85
    balance: Annotated[bool, PLAIN] = False

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise OptionError(f"held_out={self.held_out} is no share of the videos. Choose 0 or more, below 1.")


@dataclass(frozen=True)
class LocalizerConfig:
    """The network to be trained.

    Attributes:
        trunk: slowfast is a small SlowFast for a CPU; slowfast_r50 and slowfast_r101 are the published ones; any
            other name is an image model that stays frozen and gets adapters: muybridge_vit is built in, or any ViT
            of timm.
        slowfast: other numbers for a SlowFast trunk.
        context: What of an image model's maps the head reads: last is the mean over time of its last maps, with
            adapters;
            change is for a convolutional one, without adapters: maps of two scales, at half its stride, and how they
            change over time. Nothing but the head is trained then.
        head: acar relates people to their surroundings and each other; baseline looks at each alone.
        depth: Layers of relations in the acar head.
        output_kernel: Side of the last convolution in each of them.
        reduced: Channels after the head's first convolution; 0 chooses by the trunk.
        hidden: Channels of the relations; 0 for half of that.
        dropout: In the layers of relations.
        roi_margin: Share of its side by which a person's box grows at each edge before it is read.
        head_bias: whether the head's last layer has a bias; published are none.
        adapter_width: Channels of the adapters of an image model; by default half of its own.
        adapters: of an image model, all their numbers.
        backbone_weights: A file with an image model's weights, in place of those that belong to its name.
        frames: Frames that the network sees around a key frame; 0 for the trunk's own.
        rate: Frames a second of them, whatever the file's own rate; 0 for the trunk's own.
        short_side: Pixels that the frame's short side is scaled to; 0 for the trunk's own.
        freeze_norms: Keep the batch norms' statistics, as fine-tuning wants it.
        motion: Read also how each person moves, by optical flow, and let a second classifier on that have its say.
    """

    trunk: Annotated[str, BASIC] = "slowfast"
    slowfast: Annotated[SlowFastConfig | None, HIDDEN] = None
    context: ContextMaps = "last"
    head: Literal["acar", "baseline"] = "acar"
    depth: int = 2
    output_kernel: Literal[1, 3] = 3
    reduced: int = 0
    hidden: int = 0
    dropout: float = 0.2
    roi_margin: float = 0.0
    head_bias: Annotated[bool, HIDDEN] = False
    adapter_width: int | None = None
    adapters: Annotated[AdapterConfig | None, HIDDEN] = None
    backbone_weights: Path | None = None
    frames: int = 0
    rate: float = 0.0
    short_side: int = 0
    freeze_norms: Annotated[bool, PLAIN] = False
    motion: bool = True

    def __post_init__(self) -> None:
        require_within(self, _LIMITS)
        check_clip_size(self.frames, self.short_side, self.short_side)
        if self.head not in ("acar", "baseline"):
            raise OptionError(f"head={self.head!r} is unknown. Choose one of: acar, baseline.")
        if self.slowfast is not None and self.trunk not in SLOWFAST_TRUNKS:
            raise OptionError(f"trunk={self.trunk!r} is no SlowFast network. Leave slowfast out.")
        if (self.adapters or self.adapter_width is not None) and self.trunk in SLOWFAST_TRUNKS:
            raise OptionError(f"trunk={self.trunk!r} takes no adapters. Leave them out, or name an image model.")
        if self.context == "change" and (
            self.trunk in SLOWFAST_TRUNKS or self.adapters or self.adapter_width is not None
        ):
            raise OptionError(
                "context=change reads a convolutional image model without adapters. Choose such a trunk."
            )


@dataclass(frozen=True)
class BankPlan:
    """The feature bank to train with.

    Attributes:
        folder: Folder of feature banks, as `muybridge write-bank` makes them, to train a model that reads them.
        span: what is read of them around a key frame.
    """

    folder: Annotated[Path, Parameter(name="--banks")]
    span: Annotated[BankSpan, FLAT] = field(default_factory=BankSpan)


@dataclass(frozen=True)
class LocalizerPlan:
    """All that makes a run what it is.

    Attributes:
        data: which key frames.
        model: which network.
        augmentation: how training clips are varied.
        config: how to train.
        focal_gamma: Plays well-classified cases down in the loss; 2 is usual, 0 the published loss.
        bank: feature banks to train with; None for none.
        initialize: A localizer file that training starts from; its classes may be others.
        augment: stylize=STYLES paints half of the clips, each in one of these styles, all its frames alike: built-in
            names, pictures, folders of pictures. stylize=STYLES:0.3 paints that share of them.
    """

    data: Annotated[BoxData, FLAT, DATA]
    _: KW_ONLY
    model: Annotated[LocalizerConfig, FLAT, NETWORK] = field(default_factory=LocalizerConfig)
    augmentation: Annotated[BoxAugmentation, FLAT, AUGMENTATION] = field(default_factory=BoxAugmentation)
    augment: Annotated[tuple[str, ...], AUGMENTATION] = ()
    config: Annotated[ClipFitConfig, FLAT, TRAINING] = field(default_factory=ClipFitConfig)
    focal_gamma: Annotated[float, TRAINING] = 0.0
    bank: Annotated[BankPlan | None, FLAT, DATA] = None
    initialize: Annotated[str | None, NETWORK] = None


@dataclass(frozen=True)
class LocalizeConfig:
    """What the user can ask of a localizer.

    Attributes:
        threshold: Actions less probable are not shown, nor written where a format holds no scores.
        min_score: Nobody begins with a box that the detector is less sure of; who is followed goes on with less.
        every: Time from one key frame, where actions are worked out, to the next, such as 1s or 500ms.
        look_every: Time from one look for people to the next, at most; between looks boxes move evenly.
        skip_still: Leave out looks at a picture that is as it was at the last one, for a second at most.
    """

    threshold: float = 0.5
    min_score: float = 0.5
    every: Seconds = 1.0
    look_every: Seconds = 0.2
    skip_still: bool = True

    def __post_init__(self) -> None:
        for name in ("every", "look_every"):
            if not LEAST_SECONDS <= getattr(self, name) < float("inf"):
                raise OptionError(f"{name}={getattr(self, name)} must be {LEAST_SECONDS} s or more, such as 1.")
        for name in ("min_score", "threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name}={getattr(self, name)} is out of range. Choose 0 to 1.")

    @property
    def looks_per_key(self) -> int:
        """Looks for people from one key frame to the next."""
        return max(1, ceil(self.every / self.look_every - 1e-6))


@dataclass(frozen=True)
class TestViews:
    """How often and how each clip is seen; its logits are averaged before they become probabilities.

    Attributes:
        scales: See each clip at several sizes, told as pixels of the frame's short side, such as 224 256 320, as was
            published; slower, surer.
        flip: See each clip mirrored too; not where classes tell left from right.
    """

    __test__ = False  # no test case, whatever pytest thinks of the name

    scales: Annotated[tuple[int, ...], LIST] = ()
    flip: Annotated[bool, PLAIN] = False

    def __post_init__(self) -> None:
        if any(side < 1 for side in self.scales):
            raise OptionError(f"scales={self.scales}: a short side has at least 1 pixel. Choose such as 224 256 320.")
        if len(set(self.scales)) < len(self.scales):
            raise OptionError(f"scales={self.scales} names one twice. Give each once.")


ONE_VIEW = TestViews()


@dataclass(frozen=True)
class EvaluateConfig:
    """What a model file is measured on, and how.

    Attributes:
        annotations: Who does what, as `muybridge train localizer` takes it; the classes must be the model's.
        videos: Folder of the videos that they name.
        model: A .safetensors file, or OWNER/NAME on the Hugging Face hub.
        boxes: Detections with scores, used in place of the true boxes, as published figures are.
        min_score: Detections less sure are left out; by default 0.85, for jhmdb 0.3.
        every_seconds: Least time between key frames, where every frame is annotated; 0s takes all.
        protocol: Whose rules, see `muybridge evaluate ava`. The report states them. jhmdb watches each clip from end
            to end with the detector and measures frame-mAP and video-mAP as JHMDB's papers do; annotations are then
            its folder puppet_mask or tubes as JSON.
        splits: JHMDB's folder of split lists; its test part alone is measured.
        split: Which of its splits.
        classes: Where JHMDB's classes and the model's labels differ in name: lines of CLASS, tab, LABEL.
        detector: What finds people, for jhmdb without --boxes; by default the built-in one.
        banks: Folder of feature banks, for a model that reads them.
        bank_writer: the model that wrote them, to check that they are its.
        batch_size: Clips at a time.
        views: how often and how each clip is seen.
        backbone_weights: A file with an image model's weights, if they do not come by its name, or
            timm to fetch the published ones.
        report: An HTML page to write, with a table of classes and the worst errors.
        device: auto, cpu, cuda, mps.
    """

    annotations: Path
    _: KW_ONLY
    videos: Path
    model: Annotated[str, Parameter(alias="-m")]
    boxes: Path | None = None
    min_score: float | None = None
    every_seconds: Annotated[Seconds, Parameter(name="--every")] = 0.0
    protocol: AvaProtocolName | Literal["jhmdb"] = DEFAULT_AVA_PROTOCOL
    splits: Path | None = None
    split: int = 1
    classes: Path | None = None
    detector: str | None = None
    banks: Path | None = None
    bank_writer: Annotated[str | None, HIDDEN] = None
    batch_size: int = 4
    views: Annotated[TestViews, FLAT] = ONE_VIEW
    backbone_weights: Path | None = None
    report: Path | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        require_within(self, {"batch_size": Within(1, MOST_AT_ONCE)})
