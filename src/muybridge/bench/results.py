"""What a run found: as JSON for comparing commits, as lines for the terminal, as a page."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from muybridge.errors import InputError, MissingInput

FORMAT = 2
RATIO_HEAD = "| what | work | times as fast | difference | share of the peak |"
MINUTE_HEAD = "| command | seconds for a minute of film | where they go |"
_MOST_BYTES = 1 << 20
# Runs of each side of a comparison, in turns; the medians are told.
REPEATS, QUICK_REPEATS = 5, 3
# Tries at a peak before and after a film, beside those around each run of a comparison.
PEAK_TRIES = 4
_RATIO, _SECONDS = re.compile(r"\d+\.\d\dx"), re.compile(r"\d+\.\d")


@dataclass(frozen=True)
class Peaks:
    """The most that this machine was seen to do in all of a run, with as many threads as the figures.

    Attributes:
        gflops: of a product of float32 matrices, in 10^9 operations a second.
        gigabytes_per_second: read and written by a copy.
    """

    gflops: float
    gigabytes_per_second: float


@dataclass(frozen=True)
class Ratio:
    """A piece of work done in two ways.

    Attributes:
        about: the work.
        reference_seconds, seconds: medians.
        difference: of the answers, as a share of the largest number; None where they have none to compare.
        limit: "matrix", "memory" or "".
        share: of that peak, as it was just before and after our runs; None without.
        spares: what the reference does without, where it is no other way to do the same.
    """

    about: str
    reference_seconds: float
    seconds: float
    difference: float | None
    limit: str
    share: float | None
    spares: str = ""

    @property
    def times_as_fast(self) -> float:
        """The reference's time over ours."""
        return self.reference_seconds / self.seconds


@dataclass(frozen=True)
class Minute:
    """What a minute of film takes.

    Attributes:
        seconds: of the processor, with one thread.
        stages: the same by stage; they sum to it.
        gflops: the matrix peak just before and after.
    """

    seconds: float
    stages: Mapping[str, float]
    gflops: float


@dataclass(frozen=True)
class Results:
    """All that one run found."""

    machine: Mapping[str, str]
    quick: bool
    peaks: Peaks
    ratios: Mapping[str, Ratio]
    minutes: Mapping[str, Minute]

    def to_json(self) -> str:
        """For a file; `read_results` reads it."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"


def read_results(path: Path) -> Results:
    """A file that was written by `to_json`.

    Raises:
        MissingInput: no such file.
        InputError: it is none.
    """
    if not path.is_file():
        raise MissingInput(f"there is no {path}. Write one with: muybridge bench --json {path}")
    try:
        with path.open("rb") as file:
            found: Any = json.loads(file.read(_MOST_BYTES))
        if found["format"] != FORMAT:
            raise ValueError
        results = Results(
            {str(name): str(value) for name, value in found["machine"].items()},
            bool(found["quick"]),
            Peaks(**found["peaks"]),
            {str(name): Ratio(**ratio) for name, ratio in found["ratios"].items()},
            {str(name): Minute(**minute) for name, minute in found["minutes"].items()},
        )
        numbers = [value for each in results.ratios.values() for value in (each.reference_seconds, each.seconds)]
        numbers += [value for each in results.minutes.values() for value in (each.seconds, each.gflops)]
        if not all(math.isfinite(value) and value > 0 for value in numbers):
            raise ValueError
        if not all(math.isclose(sum(each.stages.values()), each.seconds) for each in results.minutes.values()):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} was not written by muybridge bench --json. Choose another file") from error
    return results


def lines_of(results: Results) -> Iterator[str]:
    """For the terminal."""
    yield ", ".join(f"{name} {value}" for name, value in results.machine.items())
    yield (
        f"peaks: {results.peaks.gflops:.1f} GFLOP/s in float32, {results.peaks.gigabytes_per_second:.1f} GB/s copied"
    )
    for name, ratio in results.ratios.items():
        cells = _cells(name, ratio)
        timed = f"{name}: {cells[2]} ({ratio.seconds:.4f} of {ratio.reference_seconds:.4f} s)"
        yield "; ".join(
            cell for cell in (timed, cells[1], f"difference {cells[3]}" if cells[3] else "", cells[4]) if cell
        )
    for verb, minute in results.minutes.items():
        yield f"{verb}: {minute.seconds:.1f} s for a minute of film: {_stages(minute)}"


def _cells(name: str, ratio: Ratio) -> tuple[str, str, str, str, str]:
    difference = "" if ratio.difference is None else f"{ratio.difference:.0e}" if ratio.difference else "none"
    share = "" if ratio.share is None else f"{ratio.share:.0%} {ratio.limit}"
    return name, ratio.about, f"{ratio.times_as_fast:.2f}x", difference, share


def _stages(minute: Minute) -> str:
    percents = _whole_percents([seconds / minute.seconds for seconds in minute.stages.values()])
    return ", ".join(f"{name} {percent}%" for name, percent in zip(minute.stages, percents, strict=True))


def _whole_percents(shares: Sequence[float]) -> list[int]:
    """Of shares that sum to 1, rounded so that they sum to 100: up where the most is cut off."""
    exact = [100 * share for share in shares]
    rounded = [math.floor(value) for value in exact]
    by_what_is_cut = sorted(range(len(exact)), key=lambda place: rounded[place] - exact[place])
    for place in by_what_is_cut[: 100 - sum(rounded)]:
        rounded[place] += 1
    return rounded


def compare(before: Results, now: Results) -> Iterator[str]:
    """What became faster or slower, each against its own reference, and the time of a minute of film.

    Raises:
        InputError: one run was quick and the other was not.
    """
    if before.quick != now.quick:
        raise InputError("a quick run and a whole one did other work. Compare two of a kind")
    for name, ratio in now.ratios.items():
        if name in before.ratios:
            was = before.ratios[name].times_as_fast
            yield f"{name}: {was:.2f}x before, {ratio.times_as_fast:.2f}x now ({ratio.times_as_fast / was - 1:+.0%})"
        else:
            yield f"{name}: {ratio.times_as_fast:.2f}x now, not measured before"
    for verb in (verb for verb in now.minutes if verb in before.minutes):
        # Absolute times of two runs differ with the machine's mood; the matrix peak around each takes that out.
        mood = now.minutes[verb].gflops / before.minutes[verb].gflops
        was, became = before.minutes[verb].seconds / mood, now.minutes[verb].seconds
        change = f"{was:.1f} s before (at this run's matrix peak), {became:.1f} s now ({became / was - 1:+.0%})"
        yield f"{verb}, a minute of film: {change}"


def page_of(results: Results) -> str:
    """docs/performance.md."""
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    kind = (
        "a quick run, of work so small that overheads decide:\nwhat pays at full size may lose here"
        if results.quick
        else "a whole run"
    )
    option = " --quick" if results.quick else ""
    rows = ["| " + " | ".join(_cells(name, ratio)) + " |" for name, ratio in results.ratios.items()]
    minutes = [f"| {verb} | {m.seconds:.1f} | {_stages(m)} |" for verb, m in results.minutes.items()]
    return "\n".join(
        [
            "# Performance",
            "",
            f"Written by `muybridge bench{option} --page docs/performance.md`, {kind}. Figures depend on the",
            "machine; ratios less so, since reference and ours take turns in one run. Measure your own machine with",
            "`muybridge bench`, and two commits with `--json before.json` and, later, `--compare before.json`.",
            "",
            f"This one: {machine}. The most that it was seen to do in this run: {results.peaks.gflops:.1f} GFLOP/s",
            f"in a product of float32 matrices, {results.peaks.gigabytes_per_second:.1f} GB/s copied.",
            "",
            "## Against the reference",
            "",
            RATIO_HEAD,
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            *_about_ratios(results),
            "",
            "## A minute of film",
            "",
            MINUTE_HEAD,
            "| --- | --- | --- |",
            *minutes,
            "",
            "Seconds of the processor, with one thread for the models and one for FFmpeg, and their shares, all of",
            "one run. Reading is FFmpeg's decoding; converting is making RGB, of those pictures that are looked at;",
            "writing is both the other way round. Networks go by the names of their classes. The rest is what runs",
            "outside of these: scaling, windows, tracks, drawing. The film shows a drifting texture and nobody, so",
            "that localize looks for people and finds none.",
            "",
        ]
    )


def _about_ratios(results: Results) -> Iterator[str]:
    repeats = QUICK_REPEATS if results.quick else REPEATS
    yield f"Times are medians of {repeats} runs, in which both take turns. The reference is the published form,"
    yield "written out plainly on the same weights (`muybridge.bench.references`), where the row says nothing else."
    yield "The difference is that of the answers, as a share of the largest number. The share of the peak is that of"
    yield "the products counted, or of the least that has to be read and written, in the median of our runs. The peak"
    yield "is the best of tries just before and after each of these runs: it changes with what else the machine does."
    yield "Above 100 % the libraries do that row's work faster than the product or copy that was tried."
    below = {name: ratio for name, ratio in results.ratios.items() if ratio.times_as_fast < 1}
    if below:
        yield ""
        yield "Below 1x, where ours takes longer:"
        yield ""
    for name, ratio in below.items():
        more = ratio.seconds / ratio.reference_seconds - 1
        why = f"the reference does less: {ratio.spares}" if ratio.spares else "at this size the reference is faster"
        yield f"- {name}, {more:.0%} longer: {why}."


def is_page(text: str, ratios: list[str], verbs: list[str]) -> bool:
    """Whether a page has the form that `page_of` gives it, with a row for each of these."""
    lines = text.splitlines()
    if RATIO_HEAD not in lines or MINUTE_HEAD not in lines:
        return False
    first, second = lines.index(RATIO_HEAD) + 2, lines.index(MINUTE_HEAD) + 2
    named = [_row(line) for line in lines[first : first + len(ratios)]]
    timed = [_row(line) for line in lines[second : second + len(verbs)]]
    return (
        [row[0] for row in named] == ratios
        and all(len(row) == 5 and _RATIO.fullmatch(row[2]) for row in named)
        and [row[0] for row in timed] == verbs
        and all(len(row) == 3 and _SECONDS.fullmatch(row[1]) for row in timed)
        and not any(line.startswith("|") for line in (lines[first + len(ratios)], lines[second + len(verbs)]))
    )


def _row(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
