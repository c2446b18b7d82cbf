"""Many inputs, one after another: a broken one is named and counted, the rest goes on."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from muybridge.errors import InputError, OptionError
from muybridge.escapes import printable
from muybridge.media.films import check_opens
from muybridge.media.images import check_picture_suffix
from muybridge.media.outputs import same_place
from muybridge.media.sources import Source
from muybridge.media.video_writer import check_video_suffix

FAILED = 2
# Makes a target from a source and returns notes for the user.
Work = Callable[[Source, Path], Sequence[str]]


def run(
    sources: Sequence[Source],
    targets: Sequence[Path],
    load: Callable[[], Work],
    *,
    check: Callable[[Source], None] = check_opens,
    say_targets: bool = True,
) -> int:
    """Do the work for each pair and say where each result is.

    A single input's error is raised; among several, an `InputError` costs only its own input. Any other error (a
    full disk, a broken model) would meet every input alike and ends the batch.

    Args:
        load: makes the model ready, which takes seconds; asked once, for the first input that `check` lets pass.
        check: raises InputError for what is told at a glance to be no input of this verb.
        say_targets: False where the work itself prints its result.

    Returns:
        The exit code: 0, or 2 where an input failed.
    """
    failed: list[str] = []

    def skip(error: InputError) -> None:
        if len(sources) == 1:
            raise error
        failed.append(str(error))
        _say(f"skipped: {error}")

    work: Work | None = None
    for source, target in zip(sources, targets, strict=True):
        try:
            check(source)
        except InputError as error:
            skip(error)
            continue
        work = work or load()
        try:
            notes = work(source, target)
        except InputError as error:
            skip(error)
            continue
        for note in notes:
            _say(f"note: {note}")
        if say_targets:
            print(printable(str(target)), flush=True)  # noqa: T201
    if failed:
        _say(f"{len(failed)} of {len(sources)} inputs failed, the others are done")
    return FAILED if failed else 0


def check_model(name: str, *, task: str, built_in: Mapping[str, str]) -> None:
    """Look at the header of a model's file, before all is imported that the model needs.

    Args:
        built_in: files of the models that come with it, by name.

    Raises:
        MissingInput, ModelError: there is no such model, or it is for another task.
    """
    from muybridge.artifacts import find_model, open_model

    open_model(find_model(name, built_in=built_in, task=task), task=task)


def check_targets(sources: Sequence[Source], targets: Sequence[Path], *, films_only: bool = False) -> None:
    """Refuse names that what is made of the sources cannot have: of a picture a picture, of a film a video.

    Args:
        films_only: pictures are refused later, as such.

    Raises:
        OptionError: a suffix is of something else.
    """
    for source, target in zip(sources, targets, strict=True):
        if source.kind != "image":
            check_video_suffix(target)
        elif not films_only:
            check_picture_suffix(target)


def check_live(sources: Sequence[Source], wanted: Mapping[str, bool]) -> None:
    """Refuse live sources where an option is given that needs files.

    Args:
        wanted: whether each such option is given.

    Raises:
        OptionError: names the option and the source.
    """
    live = next((source.location for source in sources if source.kind == "stream"), None)
    option = next((name for name, given in wanted.items() if given), None)
    if live is not None and option is not None:
        raise OptionError(f"{option} needs a file, but {live} is live and has no end. Leave {option} out")


def check_apart(out: Path, others: Iterable[str | Path]) -> None:
    """Refuse a result that would replace what it is made from, or another result.

    Raises:
        OptionError: `out` is one of `others`.
    """
    if any(same_place(out) == same_place(other) for other in others):
        raise OptionError(f"{out} would be replaced, but is another file of this command. Write elsewhere with -o")


def _say(text: str) -> None:
    print(f"muybridge: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201
