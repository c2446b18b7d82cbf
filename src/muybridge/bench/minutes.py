"""Where a minute of film spends its time, for each verb, as its command does it.

Of the stages that the product tells of, "reading" is FFmpeg's decoding, "converting" the making of RGB of those of
its pictures that are asked for, "writing" the way back, "style decorator" what the paper's does between encoder and
decoder, and "coherence" what is carried from frame to frame.
"""

import os
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from muybridge.bench.results import Minute
from muybridge.bench.stages import Clocks, StageTimes, shares_of
from muybridge.localize.files import LocalizeJob, localize_file
from muybridge.localize.localizer import Localizer
from muybridge.localize.options import LocalizeConfig
from muybridge.media.sources import Source
from muybridge.people.built_in import BuiltInDetector
from muybridge.recognize.files import RecognizeJob, recognize_file
from muybridge.recognize.options import WindowConfig
from muybridge.recognize.recognizer import Recognizer
from muybridge.stylize.files import PaintJob, StylesAtSize, paint_file
from muybridge.stylize.options import StylizeConfig, TemporalConfig
from muybridge.stylize.stylizer import Stylizer


@dataclass(frozen=True, eq=False)
class FilmWork:
    """What a verb does with a film.

    Attributes:
        run: does it.
        models: all that it may run.
    """

    run: Callable[[], object]
    models: Sequence[nn.Module]


def spend(work: FilmWork, seconds: float, peak: Callable[[], float], clocks: Clocks | None = None) -> Minute:
    """Seconds of the processor for a minute of film, in one run, with one thread for models and one for FFmpeg.

    Args:
        seconds: how long the film is.
        peak: the machine's matrix peak now, asked before and after.
    """
    clocks = clocks or Clocks()
    threads = torch.get_num_threads()
    at_first = peak()
    torch.set_num_threads(1)
    try:
        times = StageTimes(clocks.thread)
        with on_one_core(), times.watching(work.models):
            total, stages = shares_of(work.run, times, clocks)
    finally:
        torch.set_num_threads(threads)
    scale = 60 / seconds
    return Minute(total * scale, {name: value * scale for name, value in stages.items()}, max(at_first, peak()))


@contextmanager
def on_one_core() -> Generator[None, None, None]:
    """The body, and the threads that it starts, are done by one core, where the system lets a thread choose.

    FFmpeg takes as many threads as there are cores for it: here none beside the one that asks it, so that what it
    takes can be told from the rest.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def recognizing(path: Path) -> FilmWork:
    """`muybridge recognize`."""
    job = RecognizeJob(Recognizer.from_pretrained("camera", device="cpu"), WindowConfig())
    return FilmWork(lambda: recognize_file(job, _film(path), quiet=True), [job.recognizer.model])


def localizing(path: Path) -> FilmWork:
    """`muybridge localize`, with the annotated film and without the report."""
    localizer = Localizer.from_pretrained(device="cpu")
    detector = localizer.detector  # loaded before the time is taken
    models = [localizer.network, *([detector.network] if isinstance(detector, BuiltInDetector) else [])]
    job = LocalizeJob(localizer, LocalizeConfig(), report=False)
    target = Path(tempfile.mkdtemp(dir=path.parent)) / "out.mp4"
    return FilmWork(lambda: localize_file(job, _film(path), target, quiet=True), models)


def stylizing(path: Path) -> FilmWork:
    """`muybridge stylize`, in one style."""
    stylizer = Stylizer.from_pretrained(device="cpu")
    styles = StylesAtSize(stylizer, ["ember"], StylizeConfig())
    job = PaintJob(stylizer, styles, [1.0], [], StylizeConfig(), TemporalConfig())
    target = Path(tempfile.mkdtemp(dir=path.parent)) / "out.mp4"
    return FilmWork(lambda: paint_file(job, _film(path), target, quiet=True), [stylizer.network])


def _film(path: Path) -> Source:
    return Source(str(path), "video", Path(path.name))


VERBS: dict[str, Callable[[Path], FilmWork]] = {
    "recognize": recognizing,
    "localize": localizing,
    "stylize": stylizing,
}
