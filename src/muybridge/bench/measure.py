"""Medians of runs that take turns, the machine's own peaks, and where the time of a film goes."""

import platform
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode

from muybridge import __version__
from muybridge.bench.comparisons import COMPARISONS, Comparison, draw_film
from muybridge.bench.results import QUICK_REPEATS, REPEATS, Minute, Peaks, Ratio, Results
from muybridge.localize.files import LocalizeJob, localize_file
from muybridge.localize.localizer import Localizer
from muybridge.localize.options import LocalizeConfig
from muybridge.media.sources import Source
from muybridge.media.video_reader import VideoReader
from muybridge.recognize.files import RecognizeJob, recognize_file
from muybridge.recognize.options import WindowConfig
from muybridge.recognize.recognizer import Recognizer
from muybridge.stylize.files import PaintJob, StylesAtSize, paint_file
from muybridge.stylize.options import StylizeConfig, TemporalConfig
from muybridge.stylize.stylizer import Stylizer


def measure(*, quick: bool, threads: int, tell: Callable[[str], None]) -> Results:
    """Everything, in one run; a quick one does smaller work fewer times, and its figures are not comparable.

    With one thread, time is that of the processor, which a busy machine disturbs less than the clock on the wall.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    clock = time.process_time if threads == 1 else time.perf_counter
    try:
        tell("the machine's own peaks")
        peaks = measure_peaks(clock, quick=quick)
        ratios: dict[str, Ratio] = {}
        for name, make in COMPARISONS.items():
            tell(name)
            with torch.no_grad():
                comparison = make(quick)
            with torch.set_grad_enabled(comparison.trains):
                ratios[name] = _compare(comparison, clock, peaks, repeats=QUICK_REPEATS if quick else REPEATS)
            if comparison.close is not None:
                comparison.close()
        minutes: dict[str, Minute] = {}
        size = (160, 96, 2) if quick else (512, 288, 4)
        with tempfile.TemporaryDirectory() as folder:
            path = draw_film(Path(folder), *size)
            for verb, make_run in VERBS.items():
                tell(verb)
                minutes[verb] = _spend(make_run(path), path, size[2], clock)
    finally:
        torch.set_num_threads(before)
    return Results(describe_machine(threads), quick, peaks, ratios, minutes)


def describe_machine(threads: int) -> dict[str, str]:
    """What the figures depend on."""
    return {
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(threads),
        "time": "of the processor" if threads == 1 else "by the clock",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "muybridge": __version__,
    }


def measure_peaks(clock: Callable[[], float], *, quick: bool) -> Peaks:
    """The best of some products of large matrices, and of some copies of a large array."""
    side, size = (768, 1 << 24) if quick else (2048, 1 << 26)
    a, b = torch.randn(side, side), torch.randn(side, side)
    source, target = torch.zeros(size), torch.zeros(size)
    products = min(_times(lambda: torch.mm(a, b), clock, 7))
    copies = min(_times(lambda: target.copy_(source), clock, 7))
    return Peaks(2 * side**3 / products / 1e9, 2 * source.nbytes / copies / 1e9)


def _times(run: Callable[[], object], clock: Callable[[], float], repeats: int) -> list[float]:
    taken: list[float] = []
    for _ in range(repeats + 1):
        start = clock()
        run()
        taken.append(clock() - start)
    return taken[1:]


def _compare(comparison: Comparison, clock: Callable[[], float], peaks: Peaks, *, repeats: int) -> Ratio:
    difference = _difference(comparison.reference(), comparison.ours())  # neither pays for the first call
    times: dict[str, list[float]] = {"reference": [], "ours": []}
    for _ in range(repeats):
        for name, run in (("reference", comparison.reference), ("ours", comparison.ours)):
            start = clock()
            run()
            times[name].append(clock() - start)
    theirs, ours = (statistics.median(times[name]) for name in ("reference", "ours"))
    share: float | None = None
    if comparison.limit == "matrix":
        with FlopCounterMode(display=False) as counter:
            comparison.ours()
        share = counter.get_total_flops() / ours / 1e9 / peaks.gflops
    elif comparison.limit == "memory":
        share = comparison.bytes_moved / ours / 1e9 / peaks.gigabytes_per_second
    return Ratio(comparison.about, theirs, ours, difference, comparison.limit, share, comparison.spares)


def _difference(reference: Tensor | None, ours: Tensor | None) -> float | None:
    """Of the answers, largest, as a share of the reference's largest number."""
    if reference is None or ours is None:
        return None
    wanted = reference.double()
    return float((ours.double() - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))


@contextmanager
def time_of_modules(clock: Callable[[], float]) -> Generator[Mapping[str, float]]:
    """Seconds in each kind of outermost module while the body runs, by the name of its class."""
    spent: defaultdict[str, float] = defaultdict(float)
    here = threading.local()

    def enter(module: nn.Module, inputs: Any) -> None:
        del module, inputs
        here.depth = getattr(here, "depth", 0) + 1
        if here.depth == 1:
            here.start = clock()

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        del inputs, output
        here.depth -= 1
        if here.depth == 0:
            spent[type(module).__name__] += clock() - here.start

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


def _spend(run: Callable[[], object], path: Path, seconds: float, clock: Callable[[], float]) -> Minute:
    """Seconds of work for a minute of film: reading it, inside each network, and all the rest."""
    start = clock()
    with VideoReader(path) as reader:
        for _ in reader:
            pass
    read = clock() - start
    start = clock()
    with time_of_modules(time.thread_time if clock is time.process_time else clock) as spent:
        run()
    total = clock() - start
    scale = 60 / seconds
    stages = {"read": read * scale} | {name: value * scale for name, value in sorted(spent.items())}
    return Minute(total * scale, stages | {"the rest": max(0.0, total * scale - sum(stages.values()))})


def _recognize(path: Path) -> Callable[[], object]:
    job = RecognizeJob(Recognizer.from_pretrained("camera", device="cpu"), WindowConfig())
    return lambda: recognize_file(job, Source(str(path), "video", Path(path.name)), quiet=True)


def _localize(path: Path) -> Callable[[], object]:
    localizer = Localizer.from_pretrained(device="cpu")
    _ = localizer.detector  # loaded before the time is taken
    job = LocalizeJob(localizer, LocalizeConfig(), report=False)
    target = Path(tempfile.mkdtemp(dir=path.parent)) / "out.mp4"
    return lambda: localize_file(job, Source(str(path), "video", Path(path.name)), target, quiet=True)


def _stylize(path: Path) -> Callable[[], object]:
    stylizer = Stylizer.from_pretrained(device="cpu")
    styles = StylesAtSize(stylizer, ["ember"], StylizeConfig())
    job = PaintJob(stylizer, styles, [1.0], [], StylizeConfig(), TemporalConfig())
    target = Path(tempfile.mkdtemp(dir=path.parent)) / "out.mp4"
    return lambda: paint_file(job, Source(str(path), "video", Path(path.name)), target, quiet=True)


VERBS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "recognize": _recognize,
    "localize": _localize,
    "stylize": _stylize,
}
