"""One function asked from several threads at once, which are made to take turns as often as the interpreter can."""

import sys
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T, R = TypeVar("T"), TypeVar("R")


def in_threads(function: Callable[[T], R], inputs: Sequence[T]) -> list[R]:
    """What `function` gives of each input, one thread an input, all begun together. Raises what the first raised."""
    begin = threading.Barrier(len(inputs))
    results: dict[int, R] = {}
    errors: list[Exception] = []

    def ask(number: int) -> None:
        begin.wait()
        try:
            results[number] = function(inputs[number])
        except Exception as error:  # noqa: BLE001 - raised again below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(inputs))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(inputs))]
