"""The torture harness sees each kind of fault, and its mutators break files in the ways they say."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torture.mutators import BYTES, MODEL, break_json, joined, json_values, split
from torture.targets import TARGETS

ROOT = Path(__file__).resolve().parents[1]
FILE = save({"a": torch.arange(6.0), "b": torch.ones(2, 3)}, {"muybridge": json.dumps({"x": 1, "y": [1.5, "z"]})})


@pytest.mark.slow
def test_each_kind_of_fault_is_seen() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile_targets"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    ends = json.loads(done.stdout.splitlines()[-1])
    assert {first for first, _, _ in ends.values()} == {"read"}
    assert {name: second for name, (_, second, _) in ends.items()} == {
        "refuse": "refused",
        "refuse_in_two_lines": "untidy",
        "leave_in_silence": "untidy",
        "fail": "traceback",
        "crash": "crash",
        "hang": "hang",
        "take_memory": "memory",
        "connect": "network",
        "write_elsewhere": "wrote",
        "start_a_program": "executed",
        "unpickle": "executed",
        "oversized": "refused",
    }
    assert "ValueError: unforeseen" in ends["fail"][2]


@pytest.mark.parametrize("mutate", sorted({*BYTES, *MODEL}, key=lambda each: each.__name__))
def test_a_mutant_follows_from_chance_alone_and_is_not_always_the_same(mutate) -> None:
    mutants = [mutate(FILE, random.Random(seed)) for seed in range(20)]
    assert mutants == [mutate(FILE, random.Random(seed)) for seed in range(20)]
    assert len(set(mutants)) > 1 and any(mutant != FILE for mutant in mutants)


def test_a_safetensors_file_is_taken_apart_and_put_together() -> None:
    header, tensors = split(FILE)
    assert split(joined(header, tensors)) == (header, tensors)
    assert torch.equal(torch.frombuffer(bytearray(tensors), dtype=torch.float32)[:6], torch.arange(6.0))


def test_altered_json_has_every_kind_of_alteration() -> None:
    text = json.dumps({"a": 1, "b": {"c": [True, "x"]}})
    altered = [break_json(text, random.Random(seed)) for seed in range(400)]
    assert len(set(altered)) > 150 and altered.count(text) < 20
    values: list[object] = []
    unreadable = 0
    for each in altered:
        try:
            values.append(json.loads(each))
        except (ValueError, RecursionError):
            unreadable += 1
    assert unreadable > 5
    roots = [value for value in values if isinstance(value, dict)]
    assert any("a" not in value for value in roots) and any(len(value) > 2 for value in roots)
    assert any(isinstance(value, float) and value != value for root in roots for value in root.values())  # NaN
    assert any(each.count('"a":') > 1 for each in altered)
    assert json.loads(json_values(b'{"a": 1}', random.Random(3)).decode(errors="replace") or "0") != {"a": 1}


def test_targets_have_names_of_their_own() -> None:
    assert len({target.name for target in TARGETS}) == len(TARGETS)
