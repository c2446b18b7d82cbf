"""What the frequency branch of Frame2Freq brings to adapters on one's own clips.

    python recipes/frequency_ablation.py CLIPS --out runs/frequency [--seeds 3] [--folds 5] [--epochs 30]
    python recipes/frequency_ablation.py --out runs/frequency --table

CLIPS is a folder or list as `muybridge train recognizer` takes it. Without --folds its own splits are used, or a
seeded fifth is held out; with --folds all its clips are dealt anew, clips of one source together, and each is tested
once a seed. Both arms get the same clips in the same order, the same steps, width and new weights; the branch takes
half of the bottleneck's channels. What is scored is the last step, so that no test clip chooses anything. Each run
appends a line to results.jsonl and is left out when its line is there already.
"""

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from muybridge.data.clips.augmentation import AugmentationConfig
from muybridge.data.clips.lists import ClipList, read_clip_list
from muybridge.data.clips.splits import k_folds
from muybridge.models.st_adapter.video_vit import AdapterConfig
from muybridge.recognize.options import (
    ClipData,
    RecognizerConfig,
    RecognizerFitConfig,
    SamplingOptions,
    TrainingPlan,
)
from muybridge.recognize.train import train

ARMS: dict[str, tuple[int, ...]] = {"time": (), "time and frequency": (1, 2, 4)}
COLUMNS = ("top1", "mean_class_accuracy", "shuffled", "reversed", "single_frame", "order_gap")


def parts(args: argparse.Namespace, seed: int) -> Iterator[tuple[str, ClipData]]:
    """The data of each run of a seed: the given splits, or one list a fold."""
    if not args.folds:
        yield "given", ClipData(args.clips)
        return
    splits = read_clip_list(args.clips)
    first = next(iter(splits.values()))
    clips = replace(first, entries=tuple(entry for split in splits.values() for entry in split.entries))
    for number, (kept, held_out) in enumerate(k_folds(clips, folds=args.folds, seed=seed)):
        path = args.out / "lists" / f"seed {seed} fold {number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "group", "start", "end", "split"])
            for split, part in (("train", kept), ("test", held_out)):
                writer.writerows([*row, split] for row in rows(part))
        yield f"fold{number}", ClipData(path)


def rows(clips: ClipList) -> Iterator[list[Any]]:
    for entry in clips.entries:
        labels = "|".join(clips.classes.names[label] for label in entry.labels)
        times = ["" if t is None else t for t in (entry.start_seconds, entry.end_seconds)]
        yield [entry.path.resolve(), labels, entry.group, *times]


def run(args: argparse.Namespace, data: ClipData, arm: str, seed: int, name: str) -> dict[str, Any]:
    adapters = AdapterConfig(width=args.width or 0, frequency_scales=ARMS[arm])
    plan = TrainingPlan(
        data=data,
        model=RecognizerConfig(args.backbone, args.backbone_weights, adapters=adapters, readout=args.readout),
        sampling=SamplingOptions(frames=args.frames, mode=args.sampling, size=args.size),
        augmentation=AugmentationConfig(flip=args.flip),
        config=RecognizerFitConfig(
            epochs=args.epochs,
            steps=args.steps,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate or 0.0,
            precision=args.precision,
            workers=args.workers,
            seed=seed,
            validations=0,
        ),
    )
    outcome = train(plan, args.out / f"{name}.safetensors")
    numbers = outcome.evaluation.numbers() if outcome.evaluation else {}
    return {"arm": arm, "run": name, "seed": seed, "steps": outcome.fit.step, **numbers}


def table(path: Path) -> None:
    """Mean and deviation over seeds, in Markdown; folds are averaged within a seed."""
    results = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    print("| adapters over | runs | " + " | ".join(COLUMNS) + " |")
    print("| --- " * (2 + len(COLUMNS)) + "|")
    for arm in ARMS:
        of_arm = [row for row in results if row["arm"] == arm]
        seeds = sorted({row["seed"] for row in of_arm})
        cells: list[str] = []
        for column in COLUMNS:
            values = [mean(row[column] for row in of_arm if row["seed"] == seed) for seed in seeds]
            spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{100 * mean(values):.1f}{spread}" if values else "")
        print(f"| {arm} | {len(of_arm)} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--epochs", type=float, default=30)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument("--backbone", default="muybridge_vit")
    parser.add_argument("--backbone-weights", type=Path, default=None)
    parser.add_argument("--readout", default="auto")
    parser.add_argument("--width", type=int, default=None)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--sampling", default="segments")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    results = args.out / "results.jsonl"
    if args.table:
        table(results)
        return
    if args.clips is None:
        parser.error("give the clips, or --table")
    args.out.mkdir(parents=True, exist_ok=True)
    done = {json.loads(line)["run"] for line in results.read_text().splitlines()} if results.is_file() else set()
    for seed in range(args.seeds):
        for part, data in parts(args, seed):
            for arm in ARMS:
                name = f"{arm.replace(' ', '-')}-{part}-{seed}"
                if name in done:
                    continue
                row = run(args, data, arm, seed, name)
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    table(results)


if __name__ == "__main__":
    main()
