"""What a start costs: each verb on the smallest input, against `import torch` alone, in processor time.

Each command is a process of its own, from its start to its end: imports, the model, one answer. They run in turn, so
that all meet the same machine, and medians are told.

    python benchmarks/start_time.py
    python benchmarks/start_time.py --against ../other/src    # another checkout's, in the same run
"""

import argparse
import os
import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from muybridge.media.video_writer import VideoWriter

SOURCE = Path(__file__).parents[1] / "src"
COMMANDS = {
    "localize": "localize film.mp4 -o film.localized.mp4",
    "localize --no-actions": "localize film.mp4 --no-actions -o film.people.mp4",
    "recognize": "recognize film.mp4",
    "stylize": "stylize photo.png --style glass -o painted.png",
}


def processor_seconds(arguments: list[str], source: Path, folder: str) -> float:
    """User and system time of a process, with its threads."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a line a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="src of another checkout")
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    sources = [SOURCE, *([options.against.resolve()] if options.against else [])]
    with TemporaryDirectory() as folder:
        picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
        Image.fromarray(picture).save(Path(folder) / "photo.png")
        with VideoWriter(Path(folder) / "film.mp4", width=128, height=96, rate=Fraction(10)) as writer:
            for _ in range(3):
                writer.write(picture)
        runs: dict[tuple[str, Path], list[float]] = {}
        for _ in range(options.times):
            for source in sources:
                for name, command in {"import torch": "", **COMMANDS}.items():
                    started = ["-m", "muybridge.apps.cli", *command.split()] if command else ["-c", "import torch"]
                    runs.setdefault((name, source), []).append(processor_seconds(started, source, folder))
    found = {key: median(times) for key, times in runs.items()}
    torch = median(time for source in sources for time in runs["import torch", source])
    print(f"import torch: {torch:.2f} s of processor time")
    for name in COMMANDS:
        here = found[name, SOURCE]
        line = f"{name}: {here:.2f} s, {here / torch:.2f} of import torch"
        if options.against:
            there = found[name, sources[1]]
            line += f"; the other: {there:.2f} s, this / other {here / there:.2f}"
        print(line)


if __name__ == "__main__":
    main()
