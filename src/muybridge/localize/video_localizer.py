"""What every localizer does with a video, and the one that tells people without actions."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muybridge.data.annotations.table import Annotations
from muybridge.data.feature_bank import FeatureBankReader
from muybridge.data.label_maps import LabelMap
from muybridge.data.localization import BankSpan, KeyFrameSampling
from muybridge.devices import choose_device
from muybridge.errors import OptionError
from muybridge.localize.results import LocalizeResult, People
from muybridge.localize.stream import LocalizeConfig, LocalizedFrame, LocalizeRun, configured
from muybridge.media.films import open_film
from muybridge.media.sources import film_name
from muybridge.media.video_reader import DEFAULT_RATE, Frame, FrameSource
from muybridge.people.detector import Detector
from muybridge.people.detectors import load_detector
from muybridge.people.sightings import DetectedPeople, GivenPeople, PeopleSource
from muybridge.people.stillness import StillTest
from muybridge.people.tracks import Tracker

if TYPE_CHECKING:
    from muybridge.localize.localizer import Localizer

PERSON = LabelMap(("person",), (1,))
_LOADING = threading.Lock()  # here, since a localizer with a lock of its own could not be pickled
_ONE_SMALL_FRAME = KeyFrameSampling(1, 1.0, 8)  # nobody looks at it


class VideoLocalizer(ABC):
    """Finds people, follows them and says what they do.

    Attributes:
        labels: the classes, and which exclude each other.
        bank_span: what is read of a video's feature bank around a key frame; None for who reads none.
        bank_model: fingerprint of the model whose banks are read.
        bank_writer: that model, where it is at hand.
    """

    labels: LabelMap
    bank_span: BankSpan | None = None
    bank_model: str = ""
    bank_writer: "Localizer | None" = None

    def __init__(self, labels: LabelMap, detector: str | Path | Detector | None) -> None:
        self.labels = labels
        self._detector = detector

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the models run."""

    @abstractmethod
    def run(
        self,
        people: PeopleSource,
        config: LocalizeConfig,
        *,
        bank: FeatureBankReader | None = None,
        keep: bool = True,
    ) -> LocalizeRun:
        """One pass over one video, to be walked with its frames."""

    @property
    def detector(self) -> Detector:
        """What finds people, loaded when first asked for."""
        with _LOADING:
            if self._detector is None or isinstance(self._detector, (str, Path)):
                device = str(self.device)
                self._detector = (
                    load_detector(device=device)
                    if self._detector is None
                    else load_detector(self._detector, device=device)
                )
            return self._detector

    def people(self, boxes: Annotations | None, config: LocalizeConfig) -> PeopleSource:
        """What tells who is in the frames of one video: the detector, or given boxes of that video."""
        step = config.every / config.looks_per_key
        if boxes is not None:
            return GivenPeople(boxes, min_score=config.min_score, tracker=Tracker(rate=1 / step))
        still = StillTest() if config.skip_still else None
        return DetectedPeople(self.detector, Tracker(rate=1 / step), min_score=config.min_score, still=still)

    def __call__(
        self,
        video: str | Path,
        *,
        boxes: Annotations | None = None,
        config: LocalizeConfig | None = None,
        bank: FeatureBankReader | None = None,
        **options: Any,
    ) -> LocalizeResult:
        """Who does what, where and when in a video file or a folder of frames.

        Args:
            boxes: who is where, of this one video, in place of the detector's.
            config, options: a `LocalizeConfig`, or its fields.
            bank: the video's feature bank, for a model that reads one; None writes one on the way, which then lacks
                what is still to come.

        Raises:
            InputError: the video cannot be read.
        """
        config = configured(config, options)
        with open_film(video) as reader:
            run = self.run(self.people(boxes, config), config, bank=bank)
            for _ in run.walk(reader):
                pass
            return self.result(run, reader, film_name(Path(video)), config)

    def stream(
        self,
        frames: Iterable[Frame],
        *,
        people: PeopleSource | None = None,
        config: LocalizeConfig | None = None,
        bank: FeatureBankReader | None = None,
        **options: Any,
    ) -> Iterator[LocalizedFrame]:
        """Every frame with who is in it and what they do, `config.every` / 2 and half a clip later than it came.

        Where a detector finds people, two seconds in place of half a clip, if that is more.

        Holds as many frames as that takes, whatever the length.

        Args:
            people: tells who is in a frame; None for the detector and a tracker.
            config, options, bank: as in a call.
        """
        config = configured(config, options)
        run = self.run(people or self.people(None, config), config, bank=bank, keep=False)
        yield from run.walk(frames)

    def result(self, run: LocalizeRun, reader: FrameSource, name: str, config: LocalizeConfig) -> LocalizeResult:
        """What a finished run recorded."""
        info = reader.info
        return LocalizeResult(
            name,
            self.labels,
            info.width,
            info.height,
            float(info.average_rate or DEFAULT_RATE),
            config.every,
            tuple(run.looks),
            tuple(run.key_frames),
            np.array(run.frame_seconds),
            (*reader.notes, *run.notes),
        )


class PeopleLocalizer(VideoLocalizer):
    """Finds people and follows them; what they do stays open, so that no model of actions is needed.

    Its one class is "person", whose probability is the detector's score, 1 for boxes given without scores.

    Example:
        >>> for span in PeopleLocalizer()("street.mp4").spans(threshold=0.0):
        ...     print(span.person, span.start, span.end)

    Args:
        detector: as `muybridge.people.detectors.load_detector` takes it; None for the built-in one.
    """

    def __init__(self, detector: str | Path | Detector | None = None, *, device: str = "auto") -> None:
        super().__init__(PERSON, detector)
        self._device = choose_device(device)

    @property
    def device(self) -> torch.device:
        """Where the detector runs."""
        return self._device

    def run(
        self,
        people: PeopleSource,
        config: LocalizeConfig,
        *,
        bank: FeatureBankReader | None = None,
        keep: bool = True,
    ) -> LocalizeRun:
        """One pass over one video, to be walked with its frames.

        Raises:
            OptionError: a bank is given.
        """
        if bank is not None:
            raise OptionError("people without actions are told without a feature bank. Leave it out")
        return LocalizeRun(_ONE_SMALL_FRAME, len(PERSON), people, _is_person, config, keep=keep)


def _is_person(seconds: float, clip: Tensor, people: People) -> NDArray[np.float32]:
    del seconds, clip
    return people.scores[:, None]
