"""`muybridge bench`."""

from pathlib import Path
from typing import Annotated

from muybridge.errors import OptionError
from muybridge.options import PLAIN


def bench(
    *,
    quick: Annotated[bool, PLAIN] = False,
    threads: int = 1,
    json: Path | None = None,
    compare: Path | None = None,
    page: Path | None = None,
) -> None:
    """Measure this machine: each part against its reference, and where the time of a film goes.

    Parameters
    ----------
    quick
        Smaller work, in seconds in place of minutes; for whether it runs, not for figures.
    threads
        Of torch. With one, the processor's time is measured, which other work on the machine disturbs little. Films
        are always measured so.
    json
        A file to write the figures to.
    compare
        Such a file of an earlier run, to say what became faster and slower.
    page
        A Markdown page to write.
    """
    from muybridge.bench.measure import measure
    from muybridge.bench.results import compare as compared
    from muybridge.bench.results import lines_of, page_of, read_results
    from muybridge.media.outputs import atomic_output, check_writable

    if threads < 1:
        raise OptionError(f"threads={threads} is too small. Choose 1 or more.")
    before = None if compare is None else read_results(compare)
    for path in (json, page):
        if path is not None:
            check_writable(path)
    results = measure(quick=quick, threads=threads, tell=lambda line: print(f"measuring {line}", flush=True))  # noqa: T201
    lines = list(lines_of(results)) + ([] if before is None else list(compared(before, results)))
    print("\n".join(lines))  # noqa: T201
    for path, text in ((json, results.to_json()), (page, page_of(results))):
        if path is not None:
            with atomic_output(path) as beside:
                beside.write_text(text, encoding="utf-8")
            print(path)  # noqa: T201
