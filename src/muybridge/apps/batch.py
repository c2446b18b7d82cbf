"""Many inputs, one after another: a broken one is named and counted, the rest goes on."""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from muybridge.errors import InputError, OptionError
from muybridge.escapes import printable
from muybridge.media.outputs import same_place
from muybridge.media.sources import Source

FAILED = 2


def run(
    sources: Sequence[Source],
    targets: Sequence[Path],
    work: Callable[[Source, Path], Sequence[str]],
    *,
    say_targets: bool = True,
) -> int:
    """Do `work` for each pair and say where each result is.

    A single input's error is raised; among several, an `InputError` costs only its own input. Any other error (a
    full disk, a broken model) would meet every input alike and ends the batch.

    Args:
        work: makes the target from the source and returns notes for the user.
        say_targets: False where the work itself prints its result.

    Returns:
        The exit code: 0, or 2 where an input failed.
    """
    failed: list[str] = []
    for source, target in zip(sources, targets, strict=True):
        try:
            notes = work(source, target)
        except InputError as error:
            if len(sources) == 1:
                raise
            failed.append(str(error))
            _say(f"skipped: {error}")
            continue
        for note in notes:
            _say(f"note: {note}")
        if say_targets:
            print(printable(str(target)), flush=True)  # noqa: T201
    if failed:
        _say(f"{len(failed)} of {len(sources)} inputs failed, the others are done")
    return FAILED if failed else 0


def check_apart(out: Path, others: Iterable[str | Path]) -> None:
    """Refuse a result that would replace what it is made from, or another result.

    Raises:
        OptionError: `out` is one of `others`.
    """
    if any(same_place(out) == same_place(other) for other in others):
        raise OptionError(f"{out} would be replaced, but is another file of this command. Write elsewhere with -o")


def _say(text: str) -> None:
    print(f"muybridge: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201
