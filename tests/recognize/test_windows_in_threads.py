"""Windows are filled, and their motion read, beside the model: answers do not depend on who is slower, what fails is
raised in the caller, and no thread outlives it."""

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import muybridge.recognize.files as files_module
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig
from muybridge.data.label_maps import LabelMap
from muybridge.errors import BrokenMedia
from muybridge.media.sources import Source
from muybridge.media.video_reader import Frame, VideoReader
from muybridge.recognize.files import RecognizeJob, recognize_file
from muybridge.recognize.motion import MotionReadout
from muybridge.recognize.windows import WindowConfig, WindowPrediction, window_predictions
from tests.data.clips.drawn_motion import small_codebook, wandering, write_film
from tests.media.test_pipeline import ends

CODEBOOK = small_codebook()
CONFIG = WindowConfig(0.4, 0.2)
FILM = np.concatenate([wandering(way, 25, size=(48, 48)) for way in ("right", "up", "left")])


class Light:
    """Stands for a recognizer: how bright and how much to the left something is, and how it moves."""

    sampling = SamplingConfig(frames=4, rate=10.0, size=(32, 32))
    labels = LabelMap(("a", "b", "c"), (0, 1, 2))
    multi_label = False
    views = ViewConfig()
    motion = MotionReadout(
        CODEBOOK, torch.randn(3, CODEBOOK.length, generator=torch.Generator().manual_seed(1)) * 2, torch.zeros(3)
    )

    def __init__(self, *, slow: float = 0.0, fails: BaseException | None = None) -> None:
        self.slow, self.fails, self.pictures = slow, fails, 0

    def each_frame(self, clips: torch.Tensor) -> torch.Tensor:
        time.sleep(self.slow)
        self.pictures += clips.shape[0] * clips.shape[1]
        if self.fails is not None and self.pictures > 10:
            raise self.fails
        return clips

    def probabilities_of(self, clips: torch.Tensor) -> torch.Tensor:
        return torch.stack([clips.float().mean(dim=(1, 3, 4))[:, channel] for channel in range(3)], dim=1) / 255


class Seen(Frame):
    """A frame of which motion is read slowly, or not at all."""

    slow, fails_at = 0.0, -1

    def grey(self, short_side: int):
        time.sleep(self.slow)
        if self.index == self.fails_at:
            raise BrokenMedia("this picture cannot be turned into RGB")
        return super().grey(short_side)


def frames(*, slow: float = 0.0, slow_motion: float = 0.0, fails_at: int = -1, motion_fails_at: int = -1):
    kind = type("SeenHere", (Seen,), {"slow": slow_motion, "fails_at": motion_fails_at})
    for number, picture in enumerate(FILM):
        time.sleep(slow)
        if number == fails_at:
            raise BrokenMedia("the film breaks off")
        yield kind(picture, Fraction(number, 25), number)


def answers(recognizer: Light, film: Iterator[Frame], batch_size: int = 3) -> list[WindowPrediction]:
    return list(window_predictions(recognizer, film, CONFIG, batch_size=batch_size))  # pyright: ignore[reportArgumentType]


def consume(recognizer: Light, film: Iterator[Frame]) -> None:
    answers(recognizer, film)


def numbers(found: Sequence[WindowPrediction]) -> list[tuple[float, float, list[float]]]:
    return [(each.start, each.end, each.prediction.probabilities.tolist()) for each in found]


def test_answers_do_not_depend_on_who_is_slower() -> None:
    wanted = numbers(answers(Light(), frames()))
    assert len(wanted) == 14
    assert len({round(row[0], 3) for _, _, row in wanted}) > 3  # they differ from window to window
    for recognizer, film in (
        (Light(), frames(slow=0.005)),
        (Light(slow=0.03), frames()),
        (Light(), frames(slow_motion=0.005)),
        (Light(slow=0.01), frames(slow=0.003, slow_motion=0.003)),
    ):
        assert numbers(answers(recognizer, film)) == wanted


def test_what_fails_anywhere_is_raised_here_and_nothing_runs_on() -> None:
    for recognizer, film, error in (
        (Light(), frames(fails_at=40), BrokenMedia),
        (Light(), frames(motion_fails_at=40), BrokenMedia),
        (Light(fails=KeyboardInterrupt()), frames(), KeyboardInterrupt),
        (Light(fails=RuntimeError("no memory")), frames(slow=0.002), RuntimeError),
    ):
        raised = ends(partial(consume, recognizer, film))
        assert isinstance(raised, error)


def test_windows_before_the_failure_are_answered() -> None:
    found: list[WindowPrediction] = []

    def work() -> None:
        found.extend(window_predictions(Light(), frames(fails_at=40), CONFIG, batch_size=1))  # pyright: ignore[reportArgumentType]

    assert isinstance(ends(work), BrokenMedia)
    assert numbers(found) == numbers(answers(Light(), frames(), batch_size=1))[: len(found)]
    assert [round(window.start, 3) for window in found] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_who_has_enough_leaves_no_thread() -> None:
    def work() -> None:
        windows = window_predictions(Light(), frames(), CONFIG, batch_size=1)  # pyright: ignore[reportArgumentType]
        next(windows)
        windows.close()

    assert ends(work) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_file_is_let_go_when_its_reader_is_interrupted_between_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    film = write_film(tmp_path / "film.mp4", FILM)

    convertible = VideoReader.convertible

    def slowly(self: VideoReader) -> Iterator[Frame]:
        for frame in convertible(self):
            time.sleep(0.02)  # so that others wait for it
            yield frame

    def interrupted(windows: Iterator[WindowPrediction], **_: object) -> Iterator[object]:
        next(windows)
        raise error("enough")
        yield

    monkeypatch.setattr(VideoReader, "convertible", slowly)
    monkeypatch.setattr(files_module, "iter_spans", interrupted)
    job = RecognizeJob(Light(), CONFIG, batch_size=1)  # pyright: ignore[reportArgumentType]
    source = Source(str(film), "video", Path("film.mp4"))
    assert isinstance(ends(lambda: recognize_file(job, source, quiet=True) and None), error)
