"""Medians of runs that take turns with their reference and with the machine's own peaks; and the whole run."""

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from muybridge import __version__
from muybridge.bench.comparisons import COMPARISONS, Comparison, draw_film
from muybridge.bench.minutes import VERBS, spend
from muybridge.bench.results import PEAK_TRIES, QUICK_REPEATS, REPEATS, Minute, Peaks, Ratio, Results


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
        gauge = PeakGauge(clock, quick=quick)
        for limit in ("matrix", "memory"):
            gauge.best_of(limit, PEAK_TRIES)
        ratios: dict[str, Ratio] = {}
        for name, make in COMPARISONS.items():
            tell(name)
            with torch.no_grad():
                comparison = make(quick)
            with torch.set_grad_enabled(comparison.trains):
                repeats = QUICK_REPEATS if quick else REPEATS
                ratios[name] = compare_sides(comparison, clock, gauge.rate, repeats=repeats)
            if comparison.close is not None:
                comparison.close()
        minutes: dict[str, Minute] = {}
        size = (160, 96, 2) if quick else (512, 288, 4)
        with tempfile.TemporaryDirectory() as folder:
            path = draw_film(Path(folder), *size)
            for verb, make_work in VERBS.items():
                tell(verb)
                minutes[verb] = spend(make_work(path), size[2], lambda: gauge.best_of("matrix", PEAK_TRIES))
    finally:
        torch.set_num_threads(before)
    return Results(describe_machine(threads), quick, gauge.peaks, ratios, minutes)


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


class PeakGauge:
    """What the machine can do, tried again and again between other work, since what else it does comes and goes.

    Args:
        quick: smaller matrices and arrays.
    """

    def __init__(self, clock: Callable[[], float], *, quick: bool) -> None:
        side, size = (768, 1 << 24) if quick else (2048, 1 << 26)
        a, b = torch.randn(side, side), torch.randn(side, side)
        source, target = torch.zeros(size), torch.zeros(size)
        self._clock = clock
        self._tries: dict[str, tuple[Callable[[], object], float]] = {
            "matrix": (lambda: torch.mm(a, b), 2 * side**3 / 1e9),
            "memory": (lambda: target.copy_(source), 2 * source.nbytes / 1e9),
        }
        self._best = dict.fromkeys(self._tries, 0.0)
        for run, _ in self._tries.values():
            run()  # the first pays for memory

    def rate(self, limit: str) -> float:
        """One try at a product of large matrices, "matrix", in GFLOP/s, or at a copy, "memory", in GB/s."""
        run, work = self._tries[limit]
        start = self._clock()
        run()
        rate = work / (self._clock() - start)
        self._best[limit] = max(rate, self._best[limit])
        return rate

    def best_of(self, limit: str, tries: int) -> float:
        """Of so many tries now."""
        return max(self.rate(limit) for _ in range(tries))

    @property
    def peaks(self) -> Peaks:
        """The best of all tries so far."""
        return Peaks(self._best["matrix"], self._best["memory"])


def compare_sides(
    comparison: Comparison, clock: Callable[[], float], rate: Callable[[str], float], *, repeats: int
) -> Ratio:
    """Both sides in turns, and where ours has a limit, a try at that peak before and after each of our runs.

    Args:
        rate: one try at the peak of a limit.
    """
    difference = _difference(comparison.reference(), comparison.ours())  # neither pays for the first call
    theirs, ours, rates = list[float](), list[float](), list[float]()
    for _ in range(repeats):
        theirs.append(_seconds(comparison.reference, clock))
        rates += [rate(comparison.limit)] if comparison.limit else []
        ours.append(_seconds(comparison.ours, clock))
        rates += [rate(comparison.limit)] if comparison.limit else []
    reference_seconds, seconds = statistics.median(theirs), statistics.median(ours)
    share: float | None = None
    if comparison.limit == "matrix":
        with FlopCounterMode(display=False) as counter:
            comparison.ours()
        share = counter.get_total_flops() / 1e9 / seconds / max(rates)
    elif comparison.limit == "memory":
        share = comparison.bytes_moved / 1e9 / seconds / max(rates)
    return Ratio(comparison.about, reference_seconds, seconds, difference, comparison.limit, share, comparison.spares)


def _seconds(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def _difference(reference: Tensor | None, ours: Tensor | None) -> float | None:
    """Of the answers, largest, as a share of the reference's largest number."""
    if reference is None or ours is None:
        return None
    wanted = reference.double()
    return float((ours.double() - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))
