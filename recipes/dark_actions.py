"""How far head only, full fine-tuning and ST-Adapter get on 246 real clips filmed in the dark (ARID, six actions).

    python recipes/dark_actions.py --out runs/dark [--split fold0] [--seed 0] [--method adapters] [--init FILE]
    python recipes/dark_actions.py --out runs/dark --table

Two splits: `scenes`, the given one (150 clips to train on, 96 from other scenes), and five folds by clip, seeded and
with as many clips of each class. All methods see the same clips in the same order, equally long. Each run appends a
line to results.jsonl and is left out when its line is there already.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from builtin_backbone import MEAN, STD
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from muybridge.artifacts import load_artifact
from muybridge.data.sampling import Draw
from muybridge.media.video_reader import VideoReader
from muybridge.models.backbones import fuse_attention
from muybridge.models.st_adapter import AdapterConfig, VideoViT
from muybridge.models.st_adapter_sets import load_trained_state
from muybridge.pretrained import load_backbone
from muybridge.training.fit import FitConfig, fit

CLASSES = ("Jump", "Run", "Sit", "Stand", "Turn", "Walk")
METHODS = ("head", "full", "adapters")
FOLDS = 5
FRAMES = 8
CANDIDATES = 24
STORED = (108, 144)
CROP = (96, 128)
RATES = {"adapters": 2e-3, "head": 5e-3, "full": 2e-4}


@dataclass(frozen=True)
class Clips:
    """All clips in memory: (N, 24, 3, 108, 144) uint8, evenly spread over each clip; labels and given split."""

    frames: Tensor
    labels: Tensor
    given_test: Tensor


def read_clips(data: Path, cache: Path) -> Clips:
    """Every clip once, with contrast stretched between the 1st and 99th percentile of the clip's grey levels."""
    if cache.is_file():
        stored = torch.load(cache, weights_only=True)
        return Clips(stored["frames"], stored["labels"], stored["given_test"])
    frames, labels, given_test = [], [], []
    for split in ("train", "val"):
        for label, name in enumerate(CLASSES):
            for path in sorted((data / "clips" / "dark_actions" / split / name).iterdir()):
                pictures = [frame.image for frame in VideoReader(path)]
                chosen = np.linspace(0, len(pictures) - 1, CANDIDATES).round().astype(int)
                clip = np.stack([np.array(Image.fromarray(pictures[i]).resize(STORED[::-1])) for i in chosen])
                low, high = np.percentile(clip, (1, 99))
                clip = np.clip((clip - low) * (235 / max(high - low, 1.0)) + 10, 0, 255).astype(np.uint8)
                frames.append(torch.from_numpy(clip).permute(0, 3, 1, 2))
                labels.append(label)
                given_test.append(split == "val")
    clips = Clips(torch.stack(frames), torch.tensor(labels), torch.tensor(given_test))
    cache.parent.mkdir(parents=True, exist_ok=True)
    torch.save(vars(clips), cache)
    return clips


def split_of(clips: Clips, name: str) -> tuple[Tensor, Tensor]:
    """Indices to train on and to test on."""
    if name == "scenes":
        return (~clips.given_test).nonzero()[:, 0], clips.given_test.nonzero()[:, 0]
    fold = torch.empty(len(clips.labels), dtype=torch.long)
    order = torch.Generator().manual_seed(2022)
    for label in range(len(CLASSES)):
        members = (clips.labels == label).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=order)]
        fold[members] = torch.arange(len(members)) % FOLDS
    test = fold == int(name.removeprefix("fold"))
    return (~test).nonzero()[:, 0], test.nonzero()[:, 0]


def segment_frames(random: np.random.Generator | None) -> np.ndarray:
    """One of the stored frames from each of eight equal parts: a random one, or the middle one."""
    part = CANDIDATES // FRAMES
    offset = random.integers(0, part, FRAMES) if random is not None else np.full(FRAMES, part // 2)
    return np.arange(FRAMES) * part + offset


class TrainingClips(Dataset[dict[str, Tensor]]):
    """Random frames, crop, mirror image and light, the same for all frames of a clip."""

    def __init__(self, clips: Clips, indices: Tensor) -> None:
        self.frames, self.labels = clips.frames[indices], clips.labels[indices]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        random = np.random.default_rng(draw.seed)
        clip = self.frames[draw.index][segment_frames(random)]
        top, left = (int(random.integers(0, s - c + 1)) for s, c in zip(STORED, CROP, strict=True))
        clip = clip[..., top : top + CROP[0], left : left + CROP[1]]
        if random.random() < 0.5:
            clip = clip.flip(-1)
        light = (clip.float() - 127) * random.uniform(0.75, 1.25) + 127 + random.uniform(-25, 25)
        return {"frames": light.clamp(0, 255).byte(), "label": self.labels[draw.index]}


class ActionObjective(nn.Module):
    """Cross-entropy of the action."""

    def __init__(self, model: VideoViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.model((batch["frames"].float() / 255 - MEAN) / STD).float()
        return {"loss": F.cross_entropy(logits, batch["label"], label_smoothing=0.1)}

    @torch.no_grad()
    def predict(self, frames: Tensor) -> Tensor:
        """Logits (N, 6) of centre crops."""
        self.eval()
        top, left = ((s - c) // 2 for s, c in zip(STORED, CROP, strict=True))
        frames = frames[..., top : top + CROP[0], left : left + CROP[1]]
        with torch.autocast("cpu", torch.bfloat16):
            parts = [self.model((part.float() / 255 - MEAN) / STD).float() for part in frames.split(16)]
        return torch.cat(parts)


def order_report(objective: ActionObjective, frames: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy as filmed, on shuffled and reversed frames and on the middle frame alone; Sit against Stand."""
    order = torch.Generator().manual_seed(0)
    shuffled = torch.stack([clip[torch.randperm(FRAMES, generator=order)] for clip in frames])
    logits = objective.predict(frames)

    def accuracy(of: Tensor) -> float:
        return float((of.argmax(-1) == labels).float().mean())

    pair = (labels == 2) | (labels == 3)
    report = {
        "accuracy": accuracy(logits),
        "shuffled": accuracy(objective.predict(shuffled)),
        "reversed": accuracy(objective.predict(frames.flip(1))),
        "single frame": accuracy(objective.predict(frames[:, FRAMES // 2 : FRAMES // 2 + 1].expand_as(frames))),
        "sit against stand": float((logits[pair][:, 2:4].argmax(-1) + 2 == labels[pair]).float().mean()),
    }
    return {**report, "order_gap": report["accuracy"] - report["shuffled"]}


def make_model(args: argparse.Namespace, method: str) -> VideoViT:
    backbone, _ = load_backbone()
    fuse_attention(backbone, fused=False)
    model = VideoViT(
        backbone,
        len(CLASSES),
        adapters=AdapterConfig(width=args.width) if method == "adapters" else None,
        readout="patch_mean",
        dropout=0.3,
        train_backbone=method == "full",
    )
    if args.init and method == "adapters":
        load_trained_state(model, load_artifact(args.init, task="recognize").tensors, head="keep")
    return model


def run(args: argparse.Namespace, clips: Clips, split: str, seed: int, method: str) -> dict[str, object]:
    torch.manual_seed(seed)
    train, test = split_of(clips, split)
    objective = ActionObjective(make_model(args, method))
    config = FitConfig(
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=RATES[method],
        weight_decay=0.01,
        warmup_steps=args.steps // 10,
        schedule="cosine",
        clip_norm=1.0,
        precision="bf16-mixed",
        seed=seed,
        save_every=10_000,
    )
    name = f"{method}-{split}-{seed}"
    fit(objective, TrainingClips(clips, train), config, folder=args.out / name, title=name)
    middle = torch.from_numpy(segment_frames(None))
    report = order_report(objective, clips.frames[test][:, middle], clips.labels[test])
    trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    return {"method": method, "split": split, "seed": seed, "trained": trained, "steps": args.steps, **report}


def table(path: Path) -> None:
    """Mean and deviation over seeds of the two splits, in Markdown; folds are averaged within a seed."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    columns = ("accuracy", "shuffled", "reversed", "single frame", "order_gap", "sit against stand")
    print("| split | method | trained | runs | " + " | ".join(columns) + " |")
    print("| --- " * (4 + len(columns)) + "|")
    for kind in ("fold", "scenes"):
        for method in METHODS:
            own = [row for row in rows if row["method"] == method and row["split"].startswith(kind)]
            if not own:
                continue
            seeds = sorted({row["seed"] for row in own})
            cells = []
            for column in columns:
                of_seed = [np.mean([row[column] for row in own if row["seed"] == seed]) for seed in seeds]
                cells.append(f"{np.mean(of_seed):.3f} ± {np.std(of_seed):.3f}")
            print(f"| {kind} | {method} | {own[0]['trained']:,} | {len(own)} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/dark"))
    parser.add_argument("--split", action="append", help="scenes or fold0 to fold4; all by default")
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--method", action="append", choices=METHODS)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--init", type=Path, help="recognizer whose adapters to start from")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    results = args.out / "results.jsonl"
    if args.table:
        return table(results)
    clips = read_clips(args.data, args.out / "clips.pt")
    for split in args.split or [*(f"fold{i}" for i in range(FOLDS)), "scenes"]:
        for seed in args.seed or range(3):
            for method in args.method or METHODS:
                done = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
                key = (method, split, seed)
                if any((row["method"], row["split"], row["seed"]) == key for row in map(json.loads, done)):
                    continue
                result = run(args, clips, split, seed, method)
                print(json.dumps(result))
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
    return None


if __name__ == "__main__":
    main()
