"""`python -m torture`: all targets, or some, and a table of how their mutants ended."""

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

from torture.harness import MB, Outcome, Target, torture
from torture.targets import TARGETS


def main() -> int:
    """Returns 1 if any mutant was a fault."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=sys.modules["torture"].__doc__)
    parser.add_argument("names", nargs="*", help="targets; by default all: " + ", ".join(t.name for t in TARGETS))
    parser.add_argument("--count", type=int, default=300, help="mutants of each target (300)")
    parser.add_argument("--seed", type=int, default=0, help="all chance follows from it (0)")
    parser.add_argument("--keep", type=Path, help="a folder for copies of the mutants that are faults")
    parser.add_argument("--verbose", action="store_true", help="tell of every mutant, not of faults alone")
    args = parser.parse_args()
    unknown = set(args.names) - {target.name for target in TARGETS}
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}")
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0")}
    _import_once()
    rows = [_run(t, args) for t in TARGETS if not args.names or t.name in args.names]
    print(_table(rows))
    return 1 if any(outcome.is_fault for _, outcomes, _ in rows for outcome in outcomes) else 0


def _import_once() -> None:
    """What the mutants' processes inherit, so that they need not import it."""
    import av  # noqa: F401
    import torch
    import torchvision  # noqa: F401

    import muybridge.localize.localizer
    import muybridge.recognize.files
    import muybridge.recognize.recognizer
    import muybridge.stylize.files
    import muybridge.stylize.stylizer  # noqa: F401

    torch.set_num_threads(1)


_Row = tuple[Target, list[Outcome], float]


def _run(target: Target, args: argparse.Namespace) -> _Row:
    started = time.monotonic()
    outcomes: list[Outcome] = []
    for outcome in torture(target, args.count, seed=args.seed, keep=args.keep):
        outcomes.append(outcome)
        if outcome.is_fault or args.verbose:
            print(f"{outcome.mutant}: {outcome.kind}, {outcome.seconds:.1f} s, {outcome.memory // MB} MB")
            print("    " + outcome.detail.strip().replace("\n", "\n    "), flush=True)
    return target, outcomes, time.monotonic() - started


def _table(rows: list[_Row]) -> str:
    lines = ["", f"{'':16}{'files':>7}{'read':>7}{'refused':>9}{'faults':>8}{'slowest':>10}{'most':>9}{'all':>8}"]
    for target, outcomes, seconds in rows:
        kinds = Counter(outcome.kind for outcome in outcomes)
        faults = {kind: count for kind, count in kinds.items() if kind not in ("read", "refused")}
        slowest, most = max(o.seconds for o in outcomes), max(o.memory for o in outcomes) // MB
        lines.append(
            f"{target.name:16}{len(outcomes):7}{kinds['read']:7}{kinds['refused']:9}{sum(faults.values()):8}"
            f"{slowest:8.1f} s{most:6} MB{seconds:6.0f} s"
            + (f"   {', '.join(f'{count} {kind}' for kind, count in faults.items())}" if faults else "")
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
