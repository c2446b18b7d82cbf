"""Processes that die: how that is told of, and what is made of it where Ray runs them."""

import json
import os
import pickle
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from muybridge.engine import ray_data
from muybridge.engine.rows import Row
from muybridge.engine.tasks import Outcome
from muybridge.engine.work import Ended, Item
from muybridge.engine.worker import Worker
from muybridge.errors import InputError, ModelError
from muybridge.media.sources import Source

ENDS = {
    "is killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), -signal.SIGKILL),
    "exits": (lambda: os._exit(3), 3),
    "leaves": (lambda: sys.exit(4), 4),
    "raises": (lambda: 1 / 0, 1),
}


@dataclass(frozen=True)
class Fragile:
    """A model whose loading, and whose files of that name, end its process in one of the ways."""

    at_load: str = ""
    verb = "fragile"

    def load(self) -> "Fragile":
        if self.at_load == "has none":
            raise ModelError("there is no such model")
        if self.at_load:
            ENDS[self.at_load][0]()
        return self

    def __call__(self, source: Source, target: Path) -> Outcome:
        name = source.path.name
        if name in ENDS:
            ENDS[name][0]()
        if name == "broken":
            raise InputError("it is broken")
        return Outcome([], [], [str(os.getpid())])


def item_of(name: str, deaths: int = 0) -> Item:
    return Item(Source(name, "video", Path(name)), Path("out"), deaths)


@pytest.fixture
def start(tmp_path):
    workers = []

    def started(task):
        workers.append(Worker(task, tmp_path, 1))
        return workers[-1]

    yield started
    for worker in workers:
        worker.stop()
        worker.kill()


@pytest.mark.parametrize("end", ENDS)
def test_a_process_that_dies_of_a_file_is_told_without_an_answer_and_with_its_exit_code(end, start):
    worker = start(Fragile())
    fine, broken = worker.do(item_of("fine")), worker.do(item_of("broken"))
    assert isinstance(fine, Row) and fine.notes != (str(os.getpid()),)
    assert isinstance(broken, Row) and broken.error == "it is broken"
    assert worker.do(item_of(end)) is None
    assert worker.exit_code() == ENDS[end][1]
    assert worker.do(item_of("fine")) is None  # who died does nothing more


@pytest.mark.parametrize("end", ENDS)
def test_a_process_that_dies_before_it_has_a_model_ends_the_run_with_its_exit_code(end, start):
    told = start(Fragile(end)).do(item_of("fine"))
    assert told == Ended(f"a worker ended before it had a model (exit code {ENDS[end][1]}). See above")


def test_a_model_that_cannot_be_had_is_told_in_its_own_words(start):
    worker = start(Fragile("has none"))
    assert worker.do(item_of("fine")) == Ended("there is no such model")
    assert not worker.is_loaded and worker.exit_code() == 0


class Scripted:
    """A worker that answers from a list, of all of them together."""

    answers: list
    made: list

    def __init__(self, task, folder, workers):
        self.ended = []
        self.made.append(self)

    def do(self, item):
        return self.answers.pop(0)

    def stop(self):
        self.ended.append("stop")

    def kill(self):
        self.ended.append("kill")


DONE = Row("film.mp4", "done", None, 1.0)
LEFT = Row.failed("film.mp4", "film.mp4 ended its worker 2 times, as a lack of memory or a fault of a decoder does")


@pytest.mark.parametrize(
    ("begun", "answers", "expected", "processes"),
    [
        (0, [DONE], DONE, 1),
        (0, [None, DONE], DONE, 2),
        (0, [None, None], LEFT, 2),
        (1, [DONE], DONE, 1),  # an actor was lost with its machine while it was at it
        (1, [None], LEFT, 1),
        (2, [], LEFT, 0),
        (0, [Ended("the disk is full")], "the disk is full", 1),
        (0, [None, Ended("the disk is full")], "the disk is full", 2),
    ],
)
def test_ray_replaces_a_process_that_died_and_leaves_a_file_that_was_begun_twice(
    begun, answers, expected, processes, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda value: value))
    monkeypatch.setattr(ray_data, "Worker", type("Worker", (Scripted,), {"answers": [*answers], "made": []}))
    tries = ray_data._Tries([0, begun])
    remote = SimpleNamespace(begin=SimpleNamespace(remote=tries.begin))
    actor = ray_data._Actor(pickle.dumps(Fragile()), tmp_path, 1, remote)
    told = actor({"number": 1, "item": pickle.dumps(item_of("film.mp4"))})
    assert told["number"] == 1
    if isinstance(expected, str):
        assert told["ended"] == expected
    else:
        assert (Row.from_json(json.loads(told["row"])), told["ended"]) == (expected, "")
    made = ray_data.Worker.made
    assert len(made) == processes and not ray_data.Worker.answers
    died = [worker.ended for worker in made[: answers.count(None)]]
    assert all(each == ["stop", "kill"] for each in died)
    assert all(not worker.ended for worker in made[len(died) :])
