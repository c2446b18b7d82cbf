"""Named stages of the work, for whoever measures how long each takes; while nobody does, they do nothing.

Stages lie in one another, and each thread is in stages of its own.
"""

import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar, cast

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class StageListener(Protocol):
    """Is told of stages in the thread that enters and leaves them."""

    def enter(self, stage: str) -> None:
        """From here on this thread is in the stage, until it leaves it or enters another in it."""
        ...

    def leave(self) -> None:
        """This thread goes back to the stage that the last one lies in."""
        ...


_listener: StageListener | None = None


@contextmanager
def listening(listener: StageListener) -> Generator[None, None, None]:
    """While the body runs, the listener is told of the stages of all threads."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


@contextmanager
def stage(name: str) -> Generator[None, None, None]:
    """The body is of this stage."""
    with _within(_listener, name):
        yield


def staged(name: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """A function as a stage. Of a generator it is the work for each of its items, not what is done between."""

    def wrapped(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        is_generator = inspect.isgeneratorfunction(function)

        @wraps(function)
        def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
            listener = _listener
            if listener is None:
                return function(*arguments, **options)
            if is_generator:
                items = cast("Generator[Any, None, None]", function(*arguments, **options))
                return cast(Result, _items(items, listener, name))
            with _within(listener, name):
                return function(*arguments, **options)

        return call

    return wrapped


@contextmanager
def _within(listener: StageListener | None, name: str) -> Generator[None, None, None]:
    if listener is None:
        yield
        return
    listener.enter(name)
    try:
        yield
    finally:
        listener.leave()


def _items(generator: Generator[Any, None, None], listener: StageListener, name: str) -> Iterator[Any]:
    try:
        while True:
            with _within(listener, name):
                try:
                    item = next(generator)
                except StopIteration:
                    return
            yield item
    finally:
        generator.close()
