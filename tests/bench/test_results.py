"""Figures as files and pages, and that what is measured is the same work."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from muybridge.apps.cli import main
from muybridge.bench.comparisons import COMPARISONS, Comparison
from muybridge.bench.measure import PeakGauge, compare_sides, measure
from muybridge.bench.minutes import VERBS
from muybridge.bench.results import Minute, Peaks, Ratio, Results, compare, is_page, page_of, read_results
from muybridge.errors import InputError, MissingInput


def results(**changes) -> Results:
    found = Results(
        {"processor": "x86_64 AVX2", "threads": "1"},
        False,
        Peaks(50.0, 8.0),
        {
            "style swap": Ratio("64x64", 3.0, 0.5, 1e-6, "matrix", 0.75),
            "live stream": Ratio("a frame", 1, 2, None, "", None, "it remembers nothing"),
        },
        {"stylize": Minute(90.0, {"reading": 9.0, "the rest": 81.0}, 50.0)},
    )
    return replace(found, **changes)


def test_a_file_of_figures_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text(results().to_json())
    assert read_results(path) == results()


def test_two_runs_are_compared_by_their_ratios_and_at_the_same_peak():
    now = results(
        ratios={"style swap": Ratio("64x64", 3.0, 1.0, 1e-6, "matrix", 0.75)},
        # A machine at half its speed, on which the film took twice the time.
        minutes={"stylize": Minute(180.0, {"the rest": 180.0}, 25.0)},
    )
    assert list(compare(results(), now)) == [
        "style swap: 6.00x before, 3.00x now (-50%)",
        "stylize, a minute of film: 180.0 s before (at this run's matrix peak), 180.0 s now (+0%)",
    ]
    with pytest.raises(InputError, match="two of a kind"):
        list(compare(results(quick=True), now))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "[" * 100_000, '{"format": 2}', "\x00"),
        results().to_json().replace("0.5", "NaN"),
        results().to_json().replace("81.0", "181.0"),  # stages that sum to more than the whole
    ],
)
def test_another_file_is_refused_before_anything_is_measured(tmp_path, text, capsys):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match="was not written by muybridge bench"):
        read_results(path)
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--compare", str(path)])
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingInput, match="there is no"):
        read_results(tmp_path / "none.json")


def test_the_page_of_the_documentation_is_of_its_form():
    page = Path(__file__).parents[2] / "docs" / "performance.md"
    assert is_page(page.read_text(encoding="utf-8"), list(COMPARISONS), list(VERBS))


def test_a_page_is_known_by_its_form():
    text = page_of(results())
    assert is_page(text, ["style swap", "live stream"], ["stylize"])
    assert not is_page(text, ["style swap", "live stream", "another"], ["stylize"])
    assert not is_page(text.replace("6.00x", "fast"), ["style swap", "live stream"], ["stylize"])


def test_a_page_says_why_something_takes_longer():
    text = page_of(results())
    assert "- live stream, 100% longer: the reference does less: it remembers nothing." in text.splitlines()
    assert "style swap," not in text  # which is faster
    slower = results(ratios={"style swap": Ratio("64x64", 1.0, 1.25, 1e-6, "matrix", 0.75)})
    assert "- style swap, 25% longer: at this size the reference is faster." in page_of(slower).splitlines()
    assert "Below 1x" not in page_of(results(ratios={"style swap": Ratio("64x64", 3.0, 0.5, None, "", None)}))


def test_printed_shares_of_a_minute_sum_to_a_hundred():
    stages = dict.fromkeys("abcdefg", 1.0)  # a seventh is 14.3 %
    text = page_of(results(minutes={"stylize": Minute(7.0, stages, 50.0)}))
    row = next(line for line in text.splitlines() if line.startswith("| stylize |"))
    percents = [int(percent) for percent in re.findall(r"(\d+)%", row)]
    assert sum(percents) == 100
    assert set(percents) == {14, 15}


class Machine:
    """A machine that does so many operations a second, until another load changes it; its clock is its own."""

    def __init__(self):
        self.now, self.speed = 0.0, 100e9

    def clock(self):
        return self.now

    def do(self, operations):
        self.now += operations / self.speed


@pytest.mark.parametrize(("change", "wanted"), [(1, 0.8), (3, 0.8), (1 / 3, 0.8 / 3)])
def test_a_share_of_the_peak_is_of_the_best_around_and_never_more_than_all(change, wanted):
    """Ours does a product at four fifths of the machine's speed, which changes after the first of five runs."""
    machine, tries = Machine(), []
    a, b = torch.ones(100, 200), torch.ones(200, 50)
    operations = 2 * 100 * 200 * 50

    def rate(limit):
        assert limit == "matrix"
        tries.append(machine.speed)
        if len(tries) == 2:
            machine.speed *= change
        return machine.speed / 1e9

    def ours():
        machine.do(operations / 0.8)
        return a @ b

    def reference():
        machine.do(2 * operations)
        return a @ b

    ratio = compare_sides(Comparison("", reference, ours, "matrix"), machine.clock, rate, repeats=5)
    assert ratio.share == pytest.approx(wanted)
    assert len(tries) == 10  # before and after each


def test_a_gauge_tells_its_best_try():
    seconds = iter([0.0, 2.0, 2.0, 3.0, 3.0, 7.0])  # of three tries: two, one and four
    gauge = PeakGauge(lambda: next(seconds), quick=True)
    rates = [gauge.rate("matrix") for _ in range(3)]
    assert rates == pytest.approx([2 * 768**3 / 1e9 / taken for taken in (2, 1, 4)])
    assert gauge.peaks.gflops == max(rates)


@pytest.mark.slow
def test_a_quick_run_measures_everything_and_both_ways_agree(tmp_path):
    found = measure(quick=True, threads=1, tell=lambda line: None)
    assert list(found.ratios) == list(COMPARISONS)
    assert list(found.minutes) == list(VERBS)
    for name in ("style swap", "whole painting", "ACAR head", "convolution over time", "mixed adapters"):
        assert found.ratios[name].difference < 1e-3, name
    assert found.ratios["reading a clip"].difference == 0
    for ratio in found.ratios.values():
        assert (ratio.share is None) == (not ratio.limit)
        assert ratio.share is None or ratio.share > 0
    for minute in found.minutes.values():
        assert sum(minute.stages.values()) == pytest.approx(minute.seconds)
        assert min(minute.stages.values()) > 0
    assert json.loads(found.to_json())["quick"] is True
    assert is_page(page_of(found), list(COMPARISONS), list(VERBS))
