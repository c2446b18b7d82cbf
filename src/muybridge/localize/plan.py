"""All that makes the training of a localizer what it is, as data."""

from dataclasses import dataclass, field
from pathlib import Path

from muybridge.data.clips.painting import PaintingConfig
from muybridge.data.localization import BankSpan, BoxAugmentation
from muybridge.errors import OptionError
from muybridge.localize.objective import LocalizerConfig
from muybridge.recognize.plan import RunLength
from muybridge.training.fit_config import FitConfig


@dataclass(frozen=True)
class BoxData:
    """Which key frames are trained on.

    Attributes:
        annotations: as `muybridge.data.annotations.files.read_annotated_videos` takes them.
        videos: folder of the videos that they name.
        labels: label map; which classes exclude each other is part of it.
        validation: annotations to measure on, of videos in the same folder; None holds some of `annotations` out.
        held_out: share of the videos held out where there is no `validation`, or of one lone video's end; 0 trains on
            all and measures nothing.
        every_seconds: least time between key frames, where every frame is annotated.
        boxes: detections with scores: confident ones are trained on beside the true boxes, and measured with in
            place of them.
        train_score: detections from this score on are trained on.
        test_score: detections from this score on are measured with.
        balance: weigh classes in the loss against their frequency.
    """

    annotations: Path
    videos: Path
    labels: Path
    validation: Path | None = None
    held_out: float = 0.2
    every_seconds: float = 0.5
    boxes: Path | None = None
    train_score: float = 0.9
    test_score: float = 0.85
    balance: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise OptionError(f"held_out={self.held_out} is no share of the videos. Choose 0 or more, below 1.")


@dataclass(frozen=True)
class BankPlan:
    """The feature bank to train with.

    Attributes:
        folder: of banks, one a video, as write-bank makes them.
        span: what is read of them around a key frame.
    """

    folder: Path
    span: BankSpan = field(default_factory=BankSpan)


@dataclass(frozen=True)
class LocalizerPlan:
    """All that makes a run what it is.

    Attributes:
        data: which key frames.
        model: which network.
        augmentation: how training clips are varied.
        painting: styles that some of them are painted in; None for none.
        config: how to train; steps, warm-up and validations are replaced by what `length` says.
        length: how long.
        focal_gamma: plays well-classified cases down in the loss; 0 is the published loss.
        bank: feature banks to train with; None for none.
        initialize: a localizer file that training starts from; its classes may be others.
    """

    data: BoxData
    model: LocalizerConfig = field(default_factory=LocalizerConfig)
    augmentation: BoxAugmentation = field(default_factory=BoxAugmentation)
    config: FitConfig = field(default_factory=FitConfig)
    length: RunLength = field(default_factory=RunLength)
    focal_gamma: float = 0.0
    bank: BankPlan | None = None
    initialize: str | Path | None = None
    painting: PaintingConfig | None = None
