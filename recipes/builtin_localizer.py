r"""Makes the built-in localizer, `weights/localizer.safetensors`, and compares two trunks on real clips.

    python recipes/builtin_localizer.py --split fold0 --trunk adapters --artifact runs/localizer/first.safetensors
    python recipes/builtin_localizer.py --split fold0 --trunk adapters --name more- --steps 320 \
        --init runs/localizer/first.safetensors --artifact src/muybridge/weights/localizer.safetensors
    python recipes/builtin_localizer.py --split given --trunk adapters --steps 120
    python recipes/builtin_localizer.py --split given --trunk slowfast --steps 50
    python recipes/builtin_localizer.py --table

Data are clips of one person each (`composed_clips.py`): 246 filmed in the dark (ARID), of which each is one action,
and 19 of falls and daily living (GMDCSA24), whose moments were labelled by eye; and scenes of the stage. FastestDet
finds the person. Several clips are put into one frame, so that people with different actions share it.

Splits: `given` tests on clips filmed at other places; `fold0` holds out a fifth of the clips, class by class. Both
trunks stand under the same ACAR head and train on the same draws; a step of SlowFast takes 2.4 times as long. Nothing
is chosen by the test clips, the last weights count. `adapters`: ST-Adapters on the frozen built-in backbone, from
those of `camera`. `slowfast`: a small SlowFast network, all of it trained, from random numbers.

The first two commands make the shipped file: a fifth of the clips was never trained on. An interrupted command goes
on where it was; `--table` prints what `--results` holds.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from composed_clips import (
    CANVAS,
    LABELS,
    NAMES,
    RATE,
    ComposedFrames,
    Scenes,
    Source,
    as_filmed,
    composed,
    read_all,
    summary,
)
from torch import Tensor

from muybridge.artifacts import load_artifact
from muybridge.data.annotations.table import AnnotationRows
from muybridge.data.localization import collate_boxes
from muybridge.evaluation.ava import AvaReport, evaluate_frames
from muybridge.localize.localizer import Localizer
from muybridge.localize.objective import (
    BuiltLocalizer,
    LocalizerObjective,
    batch_logits,
    build_localizer,
    describe_localizer,
    load_localizer_state,
)
from muybridge.localize.options import LocalizerConfig
from muybridge.models.acar.head import TokenTrunk
from muybridge.models.acar.loss import action_probabilities
from muybridge.models.acar.slowfast_config import SLOWFAST_SMALL
from muybridge.models.backbones import fuse_attention
from muybridge.models.st_adapter.sets import load_trained_state, trained_state
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.people.detector import Detector
from muybridge.people.detectors import load_detector
from muybridge.recognize.recognizer import Recognizer
from muybridge.training.fit import CHECKPOINT, FitConfig, fit

TRUNKS = ("adapters", "slowfast")
FIRST_TRAINED_BLOCK = 4
MIN_SCORE = 0.5  # of boxes of the built-in detector that count
Item = dict[str, Tensor]


def build(trunk: str) -> BuiltLocalizer:
    """The network of one trunk, ready for training; both see about two seconds around a key frame."""
    if trunk == "slowfast":
        slowfast = replace(SLOWFAST_SMALL, short_side=CANVAS[0])  # 16 frames at 7.5 a second
        return build_localizer(LocalizerConfig("slowfast", slowfast=slowfast, reduced=128, depth=1), len(NAMES))
    camera = Recognizer.from_pretrained("camera", device="cpu").model
    config = LocalizerConfig(
        "muybridge_vit", adapters=camera.config, reduced=128, depth=1, frames=8, rate=RATE / 4, short_side=CANVAS[0]
    )
    built = build_localizer(config, len(NAMES))
    assert isinstance(built.network.trunk, TokenTrunk)
    model = built.network.trunk.model
    assert isinstance(model, VideoViT)
    load_trained_state(model, trained_state(camera), head="keep")
    # What moves where is found in the first half already; leaving it as it is saves a third of the time.
    for name, adapters in model.adapters.items():
        if int(name) < FIRST_TRAINED_BLOCK:
            adapters.requires_grad_(False)
    fuse_attention(model, fused=False)  # trains in 0.6 of the time in bfloat16 on a CPU
    return built


def train(built: BuiltLocalizer, sources: Sequence[Source], args: argparse.Namespace, folder: Path) -> float:
    """Train in place; returns the seconds it took since it was last resumed."""
    config = FitConfig(
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        weight_decay=0.01,
        warmup=0.1,
        schedule="cosine",
        clip_norm=1.0,
        precision="bf16-mixed",
        seed=args.seed,
        save_every=25,
    )
    started = time.perf_counter()
    fit(
        LocalizerObjective(built.network, built.sampling, exclusive=LABELS.exclusive),
        ComposedFrames(sources, built.sampling, staged=args.staged_share),
        config,
        folder=folder,
        resume=(folder / CHECKPOINT).is_file(),
        collate=collate_boxes,
        accelerator="cpu",
        title=folder.name,
    )
    return time.perf_counter() - started


# --- measuring ---


@torch.no_grad()
def answers(built: BuiltLocalizer, items: Sequence[Item]) -> list[Tensor]:
    """Probabilities (n, K) of the people of each item."""
    built.network.eval()
    found: list[Tensor] = []
    for item in items:
        if not len(item["boxes"]):
            found.append(torch.zeros(0, len(NAMES)))
            continue
        with torch.autocast("cpu", torch.bfloat16):
            logits = batch_logits(built.network, built.sampling, collate_boxes([item]))
        found.append(action_probabilities(logits.float(), LABELS.exclusive))
    return found


def detected(items: Sequence[Item], detector: Detector) -> list[Item]:
    """The same items with the detector's boxes of the key frame, and no targets."""
    result: list[Item] = []
    size = torch.tensor([CANVAS[1], CANVAS[0]] * 2)
    for item in items:
        key = item["frames"][len(item["frames"]) // 2].permute(1, 2, 0).numpy()
        seen = detector(np.ascontiguousarray(key)[None])[0]
        boxes = torch.from_numpy(seen.boxes[seen.scores >= MIN_SCORE]) / size
        result.append({**item, "boxes": boxes, "targets": torch.zeros(len(boxes), len(NAMES))})
    return result


def frame_map(truth: Sequence[Item], asked: Sequence[Item], found: Sequence[Tensor]) -> AvaReport:
    """AVA frame-mAP at IoU 0.5, of boxes and probabilities against true boxes and targets."""
    rows, guesses = AnnotationRows("normalised"), AnnotationRows("normalised")
    for number, (real, item, probabilities) in enumerate(zip(truth, asked, found, strict=True)):
        video = f"frame {number}"
        for box, target in zip(real["boxes"].tolist(), real["targets"], strict=True):
            rows.add(video, 0.0, box, label=LABELS.ids[int(target.argmax())])
        for box, scores in zip(item["boxes"].tolist(), probabilities.tolist(), strict=True):
            for column, score in enumerate(scores):
                guesses.add(video, 0.0, box, label=LABELS.ids[column], score=score)
    return evaluate_frames(rows.annotations(), guesses.annotations(), LABELS)


def measure(built: BuiltLocalizer, sources: Sequence[Source]) -> dict[str, Any]:
    """Figures on sources that were not trained on: one clip, four to a frame, and with the detector's boxes."""
    single = [item for _, _, item in as_filmed(sources, built.sampling)]
    four = composed(sources, built.sampling)
    result: dict[str, Any] = {"moments": len(single), "composed frames": len(four)}
    for name, items in (("single", single), ("composed", four)):
        found = answers(built, items)
        report = frame_map(items, items, found)
        truth, guess = (torch.cat(x).argmax(1) for x in ([i["targets"] for i in items], found))
        confusion = torch.zeros(len(NAMES), len(NAMES), dtype=torch.long)
        confusion.index_put_((truth, guess), torch.tensor(1), accumulate=True)
        result[name] = {
            "frame_mAP": report.mean_average_precision,
            "by class": {c.name: c.average_precision for c in report.classes},
            "right": float((truth == guess).float().mean()),
            "confusion": confusion.tolist(),
        }
    truth = torch.cat([item["targets"] for item in single])
    # Scores by chance rank at random: precision is the class's share, whatever the recall.
    result["chance"] = float(truth.mean(0)[truth.sum(0) > 0].mean())
    asked = detected(single, load_detector(device="cpu"))
    report = frame_map(single, asked, answers(built, asked))
    result["detector"] = {"frame_mAP": report.mean_average_precision, "boxes": sum(len(i["boxes"]) for i in asked)}
    return result


# --- runs ---


def run(split: str, trunk: str, scenes: Scenes, args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    built = build(trunk)
    lines = describe_localizer(built)
    print("\n".join(lines))
    train_places, test_places = scenes.splits[split]
    if args.init:
        load_localizer_state(built.network, load_artifact(args.init, task="localize").tensors, source=str(args.init))
    folder = args.out / f"{args.name}{split}-{trunk}-{args.seed}"
    if args.staged_share:
        folder = folder.with_name(folder.name + f"-staged{args.staged_share:g}")
    seconds = train(built, [scenes.sources[i] for i in train_places], args, folder)
    test = [scenes.sources[i] for i in test_places]
    result = {
        "split": split,
        "trunk": trunk,
        "seed": args.seed,
        "steps": args.steps,
        "init": str(args.init or ""),
        "staged share": args.staged_share,
        "trained": sum(p.numel() for p in built.network.parameters() if p.requires_grad),
        "described": lines,
        "seconds": seconds,
        **measure(built, test),
    }
    with args.results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    figures = {name: round(result[name]["frame_mAP"], 3) for name in ("single", "composed", "detector")}
    print(split, trunk, figures, f"{seconds / args.steps:.2f} s a step")
    if args.artifact:
        ship(built, result, [source.name for source in test], args)


def ship(built: BuiltLocalizer, result: dict[str, Any], held_out: list[str], args: argparse.Namespace) -> None:
    names = ("single", "composed", "detector")
    Localizer(
        built.network,
        built.config,
        LABELS,
        built.sampling,
        backbone=built.backbone,
        device="cpu",
        provenance={
            "recipe": "recipes/builtin_localizer.py",
            "data": "clips filmed in the dark (ARID), falls and daily living (GMDCSA24), people found by FastestDet, "
            "up to four clips composed into a frame; scenes of the stage",
            "steps": args.steps,
            "seed": args.seed,
            "held_out": held_out,
        },
        scores={f"frame_mAP {name}": result[name]["frame_mAP"] for name in names},
    ).save(args.artifact)


def table(results: Path) -> str:
    """One row for each run, as Markdown."""
    lines = [
        "| split | trunk | trained | frame-mAP, one clip | four to a frame | detector's boxes | right, one clip |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for line in results.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        figures = [f"{100 * row[name]['frame_mAP']:.1f}" for name in ("single", "composed", "detector")]
        split = "across scenes" if row["split"] == "given" else "by clip"
        right = f"{100 * row['single']['right']:.1f} %"
        lines.append(f"| {split} | {row['trunk']} | {row['trained']:,} | {' | '.join(figures)} | {right} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/localizer"))
    parser.add_argument("--results", type=Path, default=Path("runs/localizer/results.jsonl"))
    parser.add_argument("--split", nargs="+", default=["given", "fold0"])
    parser.add_argument("--trunk", nargs="+", choices=TRUNKS, default=list(TRUNKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--staged-share", type=float, default=0.15, help="of the clips that stage scenes stand for")
    parser.add_argument("--init", type=Path, help="localizer file of the same trunk to go on from")
    parser.add_argument("--name", default="", help="put before the run's folder, to tell parts of a training apart")
    parser.add_argument("--artifact", type=Path, help="model file to write")
    parser.add_argument("--table", action="store_true", help="print what --results holds")
    args = parser.parse_args()
    if args.table:
        print(table(args.results))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    teacher = load_detector(args.data / "weights/fastestdet/FastestDet.onnx", device="cpu")
    scenes = read_all(args.data / "clips", args.out / "clips", teacher, staged=120 if args.staged_share else 0)
    print(summary(scenes))
    for split in args.split:
        for trunk in args.trunk:
            run(split, trunk, scenes, args)


if __name__ == "__main__":
    main()
