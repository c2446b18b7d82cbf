"""What a service answers with: loaded models by verb and name, and what each makes of one upload."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeVar

from muybridge.artifacts import find_model, open_model
from muybridge.errors import InputError, MissingInput, ModelMismatch, OptionError
from muybridge.localize.localizer import Localizer
from muybridge.localize.options import BUILT_IN as LOCALIZERS
from muybridge.localize.options import LocalizeConfig
from muybridge.media.images import begins_as_picture, count_pictures, image_size
from muybridge.media.pipeline import prefetch
from muybridge.media.sources import Source
from muybridge.media.video_reader import VideoReader
from muybridge.people.detectors import load_detector
from muybridge.recognize.options import BUILT_IN as RECOGNIZERS
from muybridge.recognize.recognizer import Recognizer
from muybridge.recognize.windows import WindowConfig, iter_spans, window_predictions
from muybridge.serve.batching import SharedDetector, SharedRecognizer
from muybridge.serve.options import Limits
from muybridge.stylize.files import PaintJob, StylesAtSize, paint_file
from muybridge.stylize.options import BUILT_IN as STYLIZERS
from muybridge.stylize.options import TemporalConfig
from muybridge.stylize.styles import BUILT_IN_STYLES
from muybridge.stylize.stylizer import Style, StylizeConfig, Stylizer

T = TypeVar("T")
Verb = Literal["recognize", "localize", "stylize"]
_BUILT_IN: Mapping[Verb, Mapping[str, str]] = {
    "recognize": RECOGNIZERS,
    "localize": LOCALIZERS,
    "stylize": STYLIZERS,
}


VERBS = tuple(_BUILT_IN)
_MOST_FRAMES_A_SECOND = 240


class TooLargeError(InputError):
    """An upload that is more than a request may ask for."""


def verb_of(name: str) -> Verb:
    """What a model is for.

    Raises:
        MissingInput, ModelError: there is no such model, or it is for none of the verbs.
    """
    for verb, built_in in _BUILT_IN.items():
        if name in built_in:
            return verb
    for verb, built_in in _BUILT_IN.items():
        try:
            open_model(find_model(name, built_in=built_in, task=verb), task=verb)
        except ModelMismatch:
            continue
        return verb
    raise ModelMismatch(f"{name} is a model of none of recognize, localize, stylize")


@dataclass(eq=False)
class Models:
    """Loaded models by name, for each verb.

    Attributes:
        limits: what an upload may be.
        styles: pictures and saved styles by the names that clients call them by, beside the built-in ones.
    """

    limits: Limits
    recognizers: dict[str, Recognizer] = field(default_factory=dict[str, Recognizer])
    localizers: dict[str, Localizer] = field(default_factory=dict[str, Localizer])
    stylizers: dict[str, Stylizer] = field(default_factory=dict[str, Stylizer])
    styles: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self._lock, self._encoded = Lock(), dict[tuple[str, str], Style]()

    @classmethod
    def load(
        cls,
        names: Sequence[str],
        limits: Limits,
        *,
        styles: Sequence[Path] = (),
        device: str = "auto",
        observe: Callable[[str, int], object] = lambda *_: None,
    ) -> "Models":
        """Load models by name, path or repository.

        Args:
            observe: told of each batch what was in it, "clips" or "frames", and how many.

        Raises:
            MuybridgeError: see `from_pretrained` of each.
        """
        models = cls(limits, styles={path.stem: str(path) for path in styles})
        with ExitStack() as stack:
            stack.callback(models.close)  # unless all can be had
            for name in names:
                verb, short = verb_of(name), Path(name).stem
                if verb == "recognize":
                    recognizer = Recognizer.from_pretrained(name, device=device)
                    models.recognizers[short] = SharedRecognizer(recognizer, observe=partial(observe, "clips"))
                elif verb == "localize":
                    detector = SharedDetector(load_detector(device=device), observe=partial(observe, "frames"))
                    models.localizers[short] = Localizer.from_pretrained(name, detector=detector, device=device)
                else:
                    models.stylizers[short] = Stylizer.from_pretrained(name, device=device)
            for path in styles:
                if not models.stylizers:
                    raise OptionError(f"--style {path} is for a stylizer, and no --model is one. Add --model builtin")
                for short in models.stylizers:
                    models.encoded(short, path.stem)
            stack.pop_all()
        return models

    def names(self) -> dict[str, list[str]]:
        """What can be asked for."""
        loaded = {"recognize": self.recognizers, "localize": self.localizers, "stylize": self.stylizers}
        shown = {verb: list(models) for verb, models in loaded.items() if models}
        return shown | ({"styles": [*self.styles, *BUILT_IN_STYLES]} if self.stylizers else {})

    def close(self) -> None:
        """End the threads of batches."""
        for shared in (*self.recognizers.values(), *(each.detector for each in self.localizers.values())):
            if isinstance(shared, (SharedRecognizer, SharedDetector)):
                shared.close()

    # ---- what each verb makes of an upload ----

    def recognize(
        self, path: Path, *, model: str | None, windows: WindowConfig, threshold: float | None, top: int
    ) -> dict[str, Any]:
        """Spans and windows, as plain numbers and text.

        Raises:
            TooLargeError, InputError, OptionError: the upload or the request cannot be used.
        """
        recognizer = _chosen(self.recognizers, model)
        least = recognizer.threshold if threshold is None else threshold
        with VideoReader(path) as reader, ExitStack() as stack:
            self._check_film(reader)
            info = reader.info
            end = float(info.duration_seconds) if info.duration_seconds else float("inf")
            shots = [(0.0, end), (end, float("inf"))] if end < float("inf") else None
            rate = float(info.average_rate) if info.average_rate else None
            frames = prefetch(reader.convertible(), depth=4)
            stack.callback(frames.close)
            answers = list(window_predictions(recognizer, frames, windows, shots=shots, frame_rate=rate))
            spans = iter_spans(answers, threshold=least, multi_label=recognizer.multi_label)
            return {
                "spans": [span.to_json() for span in sorted(spans, key=lambda span: (span.start, span.label))],
                "windows": [window.to_json(top=top) for window in answers],
                "notes": list(reader.notes),
            }

    def localize(self, path: Path, *, model: str | None, config: LocalizeConfig) -> dict[str, Any]:
        """Key frames, people and what they do, as `LocalizeResult.to_json`."""
        localizer = _chosen(self.localizers, model)
        with VideoReader(path) as reader:
            self._check_film(reader)
            run = localizer.run(localizer.people(None, config), config)
            for _ in run.walk(reader):
                pass
            result = localizer.result(run, reader, path.stem, config)
        return result.to_json(threshold=config.threshold) | {"notes": list(result.notes)}

    def stylize(self, path: Path, folder: Path, *, model: str | None, style: str, config: StylizeConfig) -> Path:
        """A painted picture (.png) or film (.mp4) in `folder`.

        Raises:
            TooLargeError, InputError, OptionError: the upload or the request cannot be used.
        """
        short = next(iter(self.stylizers), "") if model is None else model
        stylizer, encoded = _chosen(self.stylizers, model), self.encoded(short, style)
        job = PaintJob(stylizer, StylesAtSize(stylizer, [encoded], config), [1.0], (), config, TemporalConfig())
        pictures = count_pictures(path)
        if pictures is None and begins_as_picture(path):
            image_size(path)  # tells what is wrong with it
        if pictures == 1:
            self._check_pixels(*image_size(path))
            source, target = Source(str(path), "image", Path(path.name)), folder / "painted.png"
        else:
            with VideoReader(path) as reader:
                self._check_film(reader)
            source, target = Source(str(path), "video", Path(path.name)), folder / "painted.mp4"
        paint_file(job, source, target, quiet=True)
        return target

    def encoded(self, stylizer: str, style: str) -> Style:
        """A style as a stylizer knows it, made once.

        Raises:
            OptionError: no style has the name.
        """
        if style not in self.styles and style not in BUILT_IN_STYLES:
            raise OptionError(f"there is no style {style!r}. There are {', '.join([*self.styles, *BUILT_IN_STYLES])}")
        with self._lock:
            key = stylizer, style
            if key not in self._encoded:
                self._encoded[key] = self.stylizers[stylizer].encode_style(self.styles.get(style, style))
            return self._encoded[key]

    # ---- limits ----

    def _check_film(self, reader: VideoReader) -> None:
        """Hold a film against what a request may ask for, by the times of its packets: a header says what it likes.

        Raises:
            TooLargeError: it is more.
        """
        self._check_pixels(reader.info.width, reader.info.height)
        times, most = reader.timestamps(), self.limits.seconds
        if max([*times[-1:], reader.info.duration_seconds or 0]) > most or len(times) > most * _MOST_FRAMES_A_SECOND:
            raise TooLargeError(f"a film may last {most:g} s here, at {_MOST_FRAMES_A_SECOND} frames a second")

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height > self.limits.megapixels * 1e6:
            raise TooLargeError(
                f"{width}x{height} pixels are more than the {self.limits.megapixels:g} million that are allowed"
            )


def _chosen(models: Mapping[str, T], name: str | None) -> T:
    if not models:
        raise MissingInput("no model of this service does that")
    if name is None:
        return next(iter(models.values()))
    if name not in models:
        raise OptionError(f"there is no model {name!r}. There are {', '.join(models)}")
    return models[name]
