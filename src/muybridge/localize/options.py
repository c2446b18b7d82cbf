"""All that makes the training of a localizer what it is, as data: the options of `muybridge train localizer`."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from muybridge.data.options import BankSpan, BoxAugmentation
from muybridge.errors import OptionError
from muybridge.models.acar.slowfast_config import SLOWFAST_R50, SLOWFAST_R101, SLOWFAST_SMALL, SlowFastConfig
from muybridge.models.st_adapter.config import AdapterConfig
from muybridge.options import AUGMENTATION, BASIC, DATA, FLAT, HIDDEN, NETWORK, PLAIN, TRAINING, Seconds
from muybridge.training.fit_config import ClipFitConfig

SLOWFAST_TRUNKS = {"slowfast": SLOWFAST_SMALL, "slowfast_r50": SLOWFAST_R50, "slowfast_r101": SLOWFAST_R101}


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
        head: acar relates people to their surroundings and each other; baseline looks at each alone.
        depth: Layers of relations in the acar head.
        output_kernel: Side of the last convolution in each of them.
        reduced: Channels after the head's first convolution; 0 chooses by the trunk.
        hidden: Channels of the relations; 0 for half of that.
        dropout: In the layers of relations.
        adapter_width: Channels of the adapters of an image model; by default half of its own.
        adapters: of an image model, all their numbers.
        backbone_weights: A file with an image model's weights, in place of those that belong to its name.
        frames: Frames that the network sees around a key frame; 0 for the trunk's own.
        rate: Frames a second of them, whatever the file's own rate; 0 for the trunk's own.
        short_side: Pixels that the frame's short side is scaled to; 0 for the trunk's own.
        freeze_norms: Keep the batch norms' statistics, as fine-tuning wants it.
    """

    trunk: Annotated[str, BASIC] = "slowfast"
    slowfast: Annotated[SlowFastConfig | None, HIDDEN] = None
    head: Literal["acar", "baseline"] = "acar"
    depth: int = 2
    output_kernel: Literal[1, 3] = 3
    reduced: int = 0
    hidden: int = 0
    dropout: float = 0.2
    adapter_width: int | None = None
    adapters: Annotated[AdapterConfig | None, HIDDEN] = None
    backbone_weights: Path | None = None
    frames: int = 0
    rate: float = 0.0
    short_side: int = 0
    freeze_norms: Annotated[bool, PLAIN] = False

    def __post_init__(self) -> None:
        if self.head not in ("acar", "baseline"):
            raise OptionError(f"head={self.head!r} is unknown. Choose one of: acar, baseline.")
        if self.slowfast is not None and self.trunk not in SLOWFAST_TRUNKS:
            raise OptionError(f"trunk={self.trunk!r} is no SlowFast network. Leave slowfast out.")
        if (self.adapters or self.adapter_width is not None) and self.trunk in SLOWFAST_TRUNKS:
            raise OptionError(f"trunk={self.trunk!r} takes no adapters. Leave them out, or name an image model.")


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
