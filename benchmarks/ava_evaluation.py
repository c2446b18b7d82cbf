"""Time and peak memory of AVA frame-mAP on a file of the size that a challenge entry has.

    python benchmarks/ava_evaluation.py [--rows 6600000] [--protocol ava-2019]

Writes seeded ground truth and predictions into a temporary folder (about 330 MB), scores them in a fresh process and
prints wall time, processor time and peak resident memory of that process, and the load that it shared the machine
with: wall time means something only where the load is below the number of cores.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

VIDEOS, SECONDS, CLASSES = 64, range(902, 1799), 80
# As in AVA, 60 of the 80 classes count, so that their ids have gaps; rows of the others are in the files too.
COUNTED = [number for number in range(1, CLASSES + 1) if number % 4 != 2]
ROWS_AT_ONCE = 100_000


def write_case(folder: Path, num_rows: int) -> None:
    """Two people a frame with two actions each; every prediction is a jittered person with some action and score."""
    random = np.random.default_rng(0)
    frames = [(f"video{video:06d}", second) for video in range(VIDEOS) for second in SECONDS]
    people = np.sort(random.random((len(frames), 2, 2, 2)), axis=2).reshape(len(frames), 2, 4) * 0.6
    people[..., 2:] += 0.3
    actions = random.integers(1, CLASSES + 1, (len(frames), 2, 2))
    with (folder / "truth.csv").open("w") as file:
        for (video, second), boxes, labels in zip(frames, people, actions, strict=True):
            for person, (box, pair) in enumerate(zip(boxes, labels, strict=True)):
                edges = ",".join(f"{edge:.3f}" for edge in box)
                file.writelines(f"{video},{second:04d},{edges},{label},{person}\n" for label in set(pair.tolist()))
    (folder / "labels.pbtxt").write_text(
        "".join(f'item {{\n  name: "action {number}"\n  id: {number}\n}}\n' for number in COUNTED)
    )
    with (folder / "predictions.csv").open("w") as file:
        for start in range(0, num_rows, ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, num_rows))
            place = rows * len(frames) // num_rows
            boxes = people[place, rows % 2] + random.normal(0, 0.03, (len(rows), 4))
            labels = random.integers(1, CLASSES + 1, len(rows))
            right = random.random(len(rows)) < 0.1
            labels[right] = actions[place, rows % 2, 0][right]
            scores = random.beta(1, 6, len(rows)) + 0.3 * right
            file.writelines(
                f"{frames[at][0]},{frames[at][1]:04d},{b[0]:.3f},{b[1]:.3f},{b[2]:.3f},{b[3]:.3f},{label},{score:.4f}\n"
                for at, b, label, score in zip(
                    place.tolist(), boxes.tolist(), labels.tolist(), scores.tolist(), strict=True
                )
            )


def score(folder: Path, protocol: str) -> None:
    """Run in a process of its own, so that the peak is of the evaluation alone."""
    from muybridge.evaluation.ava import evaluate_ava

    wall, processor = time.perf_counter(), time.process_time()
    report = evaluate_ava(
        folder / "truth.csv", folder / "predictions.csv", folder / "labels.pbtxt", protocol=protocol
    )
    figures = {
        "protocol": protocol,
        "mAP": report.mean_average_precision,
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
        "load_average": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "peak_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6_600_000)
    parser.add_argument("--protocol", action="append", help="may be repeated; the default is ava-2019")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    protocols = arguments.protocol or ["ava-2019"]
    if arguments.score is not None:
        score(arguments.score, protocols[0])
        return
    with tempfile.TemporaryDirectory() as name:
        write_case(Path(name), arguments.rows)
        print(f"{arguments.rows} rows, {(Path(name) / 'predictions.csv').stat().st_size / 1e6:.0f} MB")
        for protocol in protocols:
            command = [sys.executable, __file__, "--score", name, "--protocol", protocol]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
