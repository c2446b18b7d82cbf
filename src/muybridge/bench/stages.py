"""Which stage of a run takes how much of the processor, in whatever thread it runs.

Each thread has a clock of its own, which runs only while the thread does, and stages that lie in one another are told
without what lies in them. So the stages never come to more than the clock of the whole process tells, whose rest is
what no stage has, threads of libraries among it.
"""

import inspect
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from muybridge.stages import listening, staged


@dataclass(frozen=True)
class Clocks:
    """Seconds of the processor: of all threads together, and of the one that asks."""

    process: Callable[[], float] = time.process_time
    thread: Callable[[], float] = time.thread_time


class StageTimes:
    """Seconds by stage, of all threads; see `muybridge.stages`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._here = threading.local()
        self._lock = threading.Lock()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def enter(self, stage: str) -> None:
        """See `StageListener`: from here on this thread's time is the stage's."""
        stages = self._stages()
        if not stages or stages[-1] != stage:
            self._hand_over(stages)
        stages.append(stage)

    def leave(self) -> None:
        """See `StageListener`."""
        stages = self._stages()
        if len(stages) < 2 or stages[-2] != stages[-1]:
            self._hand_over(stages)
        stages.pop()

    def _stages(self) -> list[str]:
        if not hasattr(self._here, "stages"):
            self._here.stages, self._here.since = list[str](), 0.0
        return self._here.stages

    def _hand_over(self, stages: Sequence[str]) -> None:
        now = self._clock()
        if stages:
            with self._lock:
                self.seconds[stages[-1]] += now - self._here.since
        self._here.since = now

    @contextmanager
    def watching(self, models: Sequence[nn.Module]) -> Generator[None, None, None]:
        """While the body runs, the product's stages are told, and each model is one, by the name of its class.

        Of a model it is every public method and every call of a part of it, from wherever. A module of no known
        model is a stage by the name of its own class.
        """
        names = {id(part): type(model).__name__ for model in models for part in model.modules()}

        def before(module: nn.Module, inputs: Any) -> None:
            del inputs
            self.enter(names.get(id(module), type(module).__name__))

        def after(module: nn.Module, inputs: Any, output: Any) -> None:
            del module, inputs, output
            self.leave()

        with ExitStack() as stack:
            stack.enter_context(listening(self))
            for model in models:
                for name in _own_methods(model):
                    # torch hooks calls of modules alone; a method is found in the object before its class.
                    setattr(model, name, staged(type(model).__name__)(getattr(model, name)))
                    stack.callback(delattr, model, name)
            stack.callback(register_module_forward_pre_hook(before).remove)
            stack.callback(register_module_forward_hook(after, always_call=True).remove)
            yield


def _own_methods(model: nn.Module) -> Iterator[str]:
    """Public methods that torch's modules do not have, beside which forward is called through hooks."""
    theirs = set(dir(nn.Module))
    for name, _ in inspect.getmembers(type(model), inspect.isfunction):
        if not name.startswith("_") and name not in theirs:
            yield name


def shares_of(run: Callable[[], object], times: StageTimes, clocks: Clocks) -> tuple[float, Mapping[str, float]]:
    """Run it: seconds in all, and of each stage, what no stage has as "the rest" at the end."""
    start = clocks.process()
    run()
    total = clocks.process() - start
    stages = dict(sorted(times.seconds.items()))
    return total, stages | {"the rest": total - sum(stages.values())}
