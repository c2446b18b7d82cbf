"""Figures as files and pages, and that what is measured is the same work."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from muybridge.apps.cli import main
from muybridge.bench.comparisons import COMPARISONS
from muybridge.bench.measure import VERBS, measure, time_of_modules
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
        {"stylize": Minute(90.0, {"read": 9.0, "the rest": 81.0})},
    )
    return replace(found, **changes)


def test_a_file_of_figures_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text(results().to_json())
    assert read_results(path) == results()


def test_two_runs_are_compared_by_their_ratios_and_at_the_same_peak():
    now = results(
        peaks=Peaks(25.0, 8.0),  # a machine at half its speed, on which the film took twice the time
        ratios={"style swap": Ratio("64x64", 3.0, 1.0, 1e-6, "matrix", 0.75)},
        minutes={"stylize": Minute(180.0, {})},
    )
    assert list(compare(results(), now)) == [
        "style swap: 6.00x before, 3.00x now (-50%)",
        "stylize, a minute of film: 180.0 s before (at this run's matrix peak), 180.0 s now (+0%)",
    ]
    with pytest.raises(InputError, match="two of a kind"):
        list(compare(results(quick=True), now))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 100_000, '{"format": 2}', results().to_json().replace("0.5", "NaN"), "\x00"]
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


def test_time_of_modules_is_that_of_the_outermost():
    class Slow(nn.Module):
        def forward(self, x):
            time.sleep(0.02)
            return x

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.Sequential(Slow(), Slow())

        def forward(self, x):
            return self.parts(x)

    network = Both()
    with time_of_modules(time.perf_counter) as spent:
        network(torch.zeros(1))
        network.parts[0](torch.zeros(1))
    assert set(spent) == {"Both", "Slow"}
    assert spent["Both"] >= 0.04
    assert 0.02 <= spent["Slow"] < spent["Both"]
    before = dict(spent)
    network(torch.zeros(1))  # the hooks are gone
    assert spent == before


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
        assert minute.stages["read"] > 0
        assert len(minute.stages) > 2  # some network ran
    assert json.loads(found.to_json())["quick"] is True
    assert is_page(page_of(found), list(COMPARISONS), list(VERBS))
