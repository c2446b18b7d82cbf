"""Whose time is whose: on a clock that runs only when the test says so, with models and films of known times."""

import os
import threading
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch
from torch import nn

from muybridge.bench.comparisons import RATE, draw_film
from muybridge.bench.minutes import VERBS, FilmWork, on_one_core, spend
from muybridge.bench.stages import Clocks, StageTimes, shares_of
from muybridge.media import colour
from muybridge.media.pipeline import prefetch
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter
from muybridge.stages import staged

FRAMES = 20


class Work:
    """A clock for each thread, moved by the work that the thread does."""

    def __init__(self):
        self.done = defaultdict(int)

    def take(self, seconds):
        self.done[threading.get_ident()] += seconds

    @property
    def clocks(self):
        return Clocks(lambda: sum(self.done.values()), lambda: self.done[threading.get_ident()])


class Part(nn.Module):
    def __init__(self, work, seconds):
        super().__init__()
        self.work, self.seconds = work, seconds

    def forward(self, x):
        self.work.take(self.seconds)
        return x


class Whole(nn.Module):
    """A model of which a part may be asked alone, and whose forward does something beside its parts."""

    def __init__(self, work):
        super().__init__()
        self.work = work
        self.parts = nn.Sequential(Part(work, 3), Part(work, 4))

    def first_half(self, x):
        self.work.take(10)
        return self.parts[0](x)

    def forward(self, x):
        self.work.take(100)
        return self.parts(x)


def test_all_that_a_model_does_is_told_of_the_model_whatever_part_was_asked():
    work = Work()
    model, other = Whole(work), Part(work, 1000)
    times = StageTimes(work.clocks.thread)
    x = torch.zeros(1)

    def run():
        work.take(50000)
        model(x)
        model.first_half(x)
        model.parts[1](x)
        other(x)

    with times.watching([model]):
        total, stages = shares_of(run, times, work.clocks)
    assert stages == {"Whole": (100 + 3 + 4) + (10 + 3) + 4, "Part": 1000, "the rest": 50000}
    assert list(stages)[-1] == "the rest"
    assert total == sum(stages.values())
    run()  # hooks and stages are gone
    assert dict(times.seconds) == {name: stages[name] for name in ("Whole", "Part")}


def test_a_stage_is_told_without_those_in_it_and_of_all_threads():
    work = Work()

    class Film:
        @staged("reading")
        def frames(self):
            for _ in range(3):
                work.take(5)
                yield self.picture()
            work.take(1)

        @staged("converting")
        def picture(self):
            work.take(20)
            return object()

    times = StageTimes(work.clocks.thread)

    def run():
        for _ in prefetch(Film().frames(), depth=1):
            work.take(300)

    with times.watching([]):
        total, stages = shares_of(run, times, work.clocks)
    assert stages == {"reading": 3 * 5 + 1, "converting": 3 * 20, "the rest": 3 * 300}
    assert total == 3 * 325 + 1


def test_a_stage_that_fails_is_left():
    work = Work()

    class Broken(nn.Module):
        def forward(self, x):
            work.take(7)
            raise ValueError

    times = StageTimes(work.clocks.thread)
    broken = nn.Sequential(Broken())

    def run():
        with pytest.raises(ValueError):
            broken(torch.zeros(1))
        work.take(90)

    with times.watching([broken]):
        _, stages = shares_of(run, times, work.clocks)
    assert stages == {"Sequential": 7, "the rest": 90}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return draw_film(tmp_path_factory.mktemp("film"), 96, 64, FRAMES / RATE)


def counted(monkeypatch, owner, name, work, seconds, calls):
    """A function that works within a stage, as it is, beside which its calls are counted and take so long."""
    original = getattr(owner, name)

    def call(*arguments, **options):
        calls[name] += 1
        work.take(seconds)
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize(
    ("verb", "stages", "pictures"),
    [
        ("recognize", {"VideoViT", "reading", "converting"}, range(1, FRAMES)),
        ("localize", {"PersonDetector", "reading", "converting", "writing"}, [FRAMES]),
        (
            "stylize",
            {"DetailedAvatarNet", "style decorator", "coherence", "reading", "converting", "writing"},
            [FRAMES],
        ),
    ],
)
def test_the_row_of_a_verb_holds_what_its_models_and_films_took(verb, stages, pictures, film, monkeypatch):
    """Each call of a layer takes a second, and each picture converted or written others, which are counted beside."""
    work, calls, expected = Work(), Counter(), Counter()
    made = VERBS[verb](film)
    names = {id(layer): type(model).__name__ for model in made.models for layer in model.modules()}

    def before(layer, inputs):
        expected[names[id(layer)]] += 1
        work.take(1)

    layers = {m for model in made.models for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    handles = [layer.register_forward_pre_hook(before) for layer in layers]
    counted(monkeypatch, colour, "_source_colorspace", work, 1000, calls)
    counted(monkeypatch, VideoWriter, "_encoded", work, 100_000, calls)

    def run():
        work.take(10_000_000)
        made.run()

    minute = spend(FilmWork(run, made.models), 60, lambda: 1.0, work.clocks)
    for handle in handles:
        handle.remove()
    assert set(minute.stages) == stages | {"the rest"}
    assert calls["_source_colorspace"] in pictures
    expected += {"converting": 1000 * calls["_source_colorspace"], "writing": 100_000 * calls["_encoded"]}
    expected["the rest"] = 10_000_000
    assert {name: seconds for name, seconds in minute.stages.items() if seconds} == +expected
    assert sum(minute.stages.values()) == minute.seconds == sum(work.done.values())


def test_a_film_is_read_and_written_in_the_thread_that_asks(film, tmp_path):
    """What FFmpeg did in threads of its own would be told as the rest."""
    cores = os.sched_getaffinity(0)
    with on_one_core():
        before = set(_threads())
        with VideoReader(film) as reader:
            frames = [frame.image for frame in reader]
            assert set(_threads()) <= before
        with VideoWriter(tmp_path / "out.mp4", width=96, height=64, rate=25) as writer:
            for image in frames:
                writer.write(image)
            assert set(_threads()) <= before
    assert os.sched_getaffinity(0) == cores


def _threads():
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("the system does not list threads")
    return [task.name for task in tasks.iterdir()]
