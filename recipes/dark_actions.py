"""Human actions filmed in the dark: head only, full fine-tuning and ST-Adapter, across scenes and by clip.

    python recipes/dark_actions.py [--split fold0 given ...] [--seed 0 ...] [--method adapters ...] [--init FILE]
    python recipes/dark_actions.py --table

The data are 246 clips of ARID with six actions, of which Sit and Stand are each other's reversal, in folders train
and val that were filmed at different places. Splits: `given` trains on the one and tests on the other, across scenes;
`fold0` to `fold4` part all clips at random, class by class. A run is one split, seed and method; each adds a line to
`--results`, and runs that are in there already are left out, so that an interrupted command goes on where it was.
`--table` prints the lines as Markdown, folds taken together.

All methods share data, steps, read-out and augmentation; nothing is chosen by the test clips, the last weights
count. `--init` starts the adapters from a recognizer's file, such as the built-in `stage_actions` or `camera`. Clips
are dark and flat: the inputs' contrast is stretched, clip by clip. `--picture difference` shows each moment with what
changes before and after it as colours, in place of RGB. The camera often follows the person, so that how it moves
tells actions too.
"""

import argparse
import hashlib
import json
import statistics
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from muybridge.data.clips.lists import ClipList, read_clip_list
from muybridge.data.clips.sampling import SamplingConfig, normalize
from muybridge.data.clips.splits import k_folds
from muybridge.data.sampling import Draw
from muybridge.evaluation.classification import OrderReport, frame_orders
from muybridge.media.outputs import atomic_output
from muybridge.media.video_reader import VideoReader
from muybridge.models.backbones import fuse_attention
from muybridge.models.st_adapter.sets import load_trained_state, trained_state
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import load_backbone
from muybridge.progress import progress_line
from muybridge.recognize.recognizer import Recognizer
from muybridge.training.fit import FitConfig, fit, steps_of_epochs

FOLDS = 5
SPLITS = ("given", *(f"fold{number}" for number in range(FOLDS)))
REVERSALS = ("Sit", "Stand")
METHODS = ("head", "full", "adapters")
LEARNING_RATES = {"adapters": 2e-3, "head": 5e-3, "full": 3e-4}
# Moments that are kept of a clip for each that the model sees, for training to choose from.
CHOICES = 2
KEPT_HEIGHT, KEPT_WIDTH = 120, 160
# A change of the picture by this many grey levels is white or black in `--picture difference`.
FULL_CHANGE = 32.0


@dataclass(frozen=True)
class Settings:
    """What makes runs comparable, besides split, seed and method."""

    frames: int
    size: tuple[int, int]
    picture: str
    stretch: bool
    epochs: float
    batch_size: int
    width: int
    kernel: tuple[int, int, int]
    blocks: int | None
    dropout: float
    weight_decay: float
    rate_factor: float
    init: str
    reverse: bool = False

    @property
    def name(self) -> str:
        """Short and different for different settings."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


# --- data ---


class DarkClips:
    """All clips: `frames` (N, T * CHOICES, 3, 120, 160) uint8, kept in a file once decoded; `labels` (N,) int64."""

    def __init__(self, clips: ClipList, *, frames: int, stretch: bool, folder: Path) -> None:
        self.names = list(clips.classes.names)
        self.labels = torch.tensor([entry.labels[0] for entry in clips.entries])
        count = frames * CHOICES
        paths = hashlib.sha256("\n".join(str(entry.path.resolve()) for entry in clips.entries).encode()).hexdigest()
        kept = folder / f"clips-{count}-{paths[:8]}.npy"
        if not kept.exists():
            with atomic_output(kept) as partial:
                np.save(partial, decode(clips, count))
        decoded = np.load(kept)
        if stretch:
            decoded = np.stack([stretch_contrast(clip) for clip in decoded])
        self.frames = torch.from_numpy(decoded).permute(0, 1, 4, 2, 3).contiguous()

    def test_clips(self, indices: list[int], size: tuple[int, int]) -> Tensor:
        """(N, T, 3, height, width) uint8: every second moment, the centre of the picture."""
        top, left = ((kept - wanted) // 2 for kept, wanted in zip((KEPT_HEIGHT, KEPT_WIDTH), size, strict=True))
        return self.frames[indices, CHOICES // 2 :: CHOICES, :, top : top + size[0], left : left + size[1]]


class TrainingClips(Dataset[dict[str, Tensor]]):
    """Clips with light augmentation: moments, crop, mirror, light. None of these tells one action from another.

    With `reverse`, half of Sit is shown backwards as Stand, and the other way round.
    """

    def __init__(self, clips: DarkClips, indices: list[int], size: tuple[int, int], *, reverse: bool) -> None:
        self.clips, self.indices, self.size = clips, indices, size
        sit, stand = (clips.names.index(name) for name in REVERSALS)
        self.backwards = {sit: stand, stand: sit} if reverse else {}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        random = np.random.default_rng(draw.seed)
        index = self.indices[draw.index]
        height, width = self.size
        count = self.clips.frames.shape[1] // CHOICES
        moments = torch.from_numpy(np.arange(count) * CHOICES + random.integers(0, CHOICES, count))
        top = int(random.integers(0, KEPT_HEIGHT - height + 1))
        # The person is seldom at the edge: crops are drawn around the middle.
        slack = KEPT_WIDTH - width
        left = round(slack * float(random.triangular(0, 0.5, 1))) if slack else 0
        frames = self.clips.frames[index, moments, :, top : top + height, left : left + width]
        if random.random() < 0.5:
            frames = frames.flip(-1)
        gain, shift = random.uniform(0.8, 1.25), random.uniform(-20, 20)
        frames = ((frames.float() - 128) * gain + 128 + shift).clamp(0, 255).to(torch.uint8)
        label = int(self.clips.labels[index])
        if label in self.backwards and random.random() < 0.5:
            frames, label = frames.flip(0), self.backwards[label]
        return {"frames": frames, "labels": torch.tensor(label)}


def decode(clips: ClipList, count: int) -> NDArray[np.uint8]:
    """(N, count, 120, 160, 3) uint8."""
    decoded: list[NDArray[np.uint8]] = []
    with progress_line("reading clips", total=len(clips), unit="clips") as line:
        for entry in clips.entries:
            decoded.append(read_evenly(entry.path, count))
            line.advance()
    return np.stack(decoded)


def read_evenly(path: Path, count: int) -> NDArray[np.uint8]:
    """(count, 120, 160, 3) uint8: `count` moments of a clip, one from the middle of each equal part."""
    with VideoReader(path, size=(KEPT_WIDTH, KEPT_HEIGHT)) as reader:
        frames = [frame.image for frame in reader]
    chosen = ((np.arange(count) + 0.5) * len(frames) / count).astype(int)
    return np.stack([frames[i] for i in chosen])


def stretch_contrast(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The darkest and lightest hundredth of the whole clip to black and white; movement in it is kept as it is."""
    low, high = np.percentile(clip[::4, ::2, ::2], (1, 99))
    scaled = (clip.astype(np.float32) - low) * (255 / max(1.0, float(high - low)))
    return scaled.clip(0, 255).astype(np.uint8)


def read_splits(data: Path) -> tuple[ClipList, dict[str, tuple[list[int], list[int]]]]:
    """All clips, and for each split the places of its training and its test clips among them."""
    parts = read_clip_list(data)
    train, val = parts["train"], parts["val"]
    # Each clip is a source of its own here: `given` is the split that keeps scenes apart.
    entries = tuple(replace(entry, group=str(entry.path)) for entry in (*train.entries, *val.entries))
    clips = replace(train, entries=entries)
    place = {entry.path: index for index, entry in enumerate(entries)}
    splits = {"given": (list(range(len(train))), list(range(len(train), len(entries))))}
    for number, halves in enumerate(k_folds(clips, folds=FOLDS, seed=0)):
        first, second = ([place[entry.path] for entry in half.entries] for half in halves)
        splits[f"fold{number}"] = (first, second)
    return clips, splits


# --- model ---


class ActionObjective(nn.Module):
    """Cross-entropy of the action, from uint8 frames."""

    def __init__(self, model: VideoViT, picture: str) -> None:
        super().__init__()
        self.model, self.picture = model, picture

    def logits(self, frames: Tensor) -> Tensor:
        """(B, K) float32 of clips (B, T, 3, H, W) uint8."""
        pixels = changes(frames) if self.picture == "difference" else frames
        return self.model(normalize(pixels, SamplingConfig())).float()

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.logits(batch["frames"])
        right = logits.argmax(dim=-1) == batch["labels"]
        return {"loss": F.cross_entropy(logits, batch["labels"]), "accuracy": right.float().mean().detach()}

    @torch.no_grad()
    def answers(self, clips: Tensor) -> Tensor:
        """Logits (N, K) float32 on the CPU, in evaluation mode."""
        self.eval()
        device = next(self.parameters()).device
        with torch.autocast(device.type, torch.bfloat16):
            return torch.cat([self.logits(part.to(device)).cpu() for part in clips.split(16)])


def changes(frames: Tensor) -> Tensor:
    """(B, T, 3, H, W) uint8: light, change since the moment before, and change until the moment after."""
    light = frames.float().mean(dim=2)
    step = F.pad((light[:, 1:] - light[:, :-1]) * (127.5 / FULL_CHANGE), (0, 0, 0, 0, 1, 1))
    shown = torch.stack([light, 127.5 + step[:, :-1], 127.5 + step[:, 1:]], dim=2)
    return shown.clamp(0, 255).to(torch.uint8)


def make_model(method: str, settings: Settings, num_classes: int) -> VideoViT:
    backbone, _ = load_backbone("muybridge_vit")
    fuse_attention(backbone, fused=False)  # trains in 0.6 of the time in bfloat16 on a CPU
    adapters = AdapterConfig(width=settings.width, kernel=settings.kernel, blocks=settings.blocks)
    initial: Recognizer | None = None
    if settings.init and method == "adapters":
        initial = Recognizer.from_pretrained(settings.init, device="cpu")
        if initial.model.config is None:
            raise SystemExit(f"--init {settings.init} holds no adapters")
        adapters = initial.model.config
    model = VideoViT(
        backbone,
        num_classes,
        adapters=adapters if method == "adapters" else None,
        readout="patch_mean" if initial is None else initial.model.readout,
        dropout=settings.dropout,
        train_backbone=method == "full",
    )
    if initial is not None:
        load_trained_state(model, trained_state(initial.model), head="keep")
    return model


# --- runs ---


def run(
    split: str,
    seed: int,
    method: str,
    settings: Settings,
    clips: DarkClips,
    parts: tuple[list[int], list[int]],
    args: Any,
) -> dict[str, Any]:
    """Train and measure; the line that goes into the results."""
    torch.manual_seed(seed)
    train, test = parts
    model = make_model(method, settings, len(clips.names))
    objective = ActionObjective(model, settings.picture)
    steps = args.steps or steps_of_epochs(settings.epochs, len(train), settings.batch_size)
    config = FitConfig(
        steps=steps,
        batch_size=settings.batch_size,
        learning_rate=LEARNING_RATES[method] * settings.rate_factor,
        weight_decay=settings.weight_decay,
        warmup=0.1,
        schedule="cosine",
        clip_norm=1.0,
        precision="bf16-mixed",
        seed=seed,
        save_every=max(1, steps),
    )
    folder = args.out / f"{settings.name}-{split}-{method}-{seed}"
    started = time.perf_counter()
    fit(
        objective,
        TrainingClips(clips, train, settings.size, reverse=settings.reverse),
        config,
        folder=folder,
        accelerator=args.device,
        title=f"{split} {method} seed {seed}",
    )
    seconds = time.perf_counter() - started
    return {
        "split": split,
        "seed": seed,
        "method": method,
        "settings": asdict(settings),
        "steps": steps,
        "seconds": seconds,
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        **measure(objective, clips, test, settings.size),
    }


def measure(objective: ActionObjective, clips: DarkClips, test: list[int], size: tuple[int, int]) -> dict[str, Any]:
    """Counts of right answers, by order of frames, and of Sit against Stand alone."""
    frames, labels = clips.test_clips(test, size), clips.labels[test]
    own = objective.answers(frames)
    right = {"own": int((own.argmax(dim=1) == labels).sum())}
    for name in ("shuffled", "reversed", "single_frame"):
        ordered = torch.stack(
            [clip[frame_orders(len(clip), seed=number)[name]] for number, clip in enumerate(frames)]
        )
        right[name] = int((objective.answers(ordered).argmax(dim=1) == labels).sum())
    pair = torch.tensor([clips.names.index(name) for name in REVERSALS])
    of_pair = torch.isin(labels, pair)
    between = pair[own[of_pair][:, pair].argmax(dim=1)]
    confusion = torch.zeros(len(clips.names), len(clips.names), dtype=torch.long)
    confusion.index_put_((labels, own.argmax(dim=1)), torch.tensor(1), accumulate=True)
    return {
        "clips": len(test),
        "right": right,
        "sit_stand": {"clips": int(of_pair.sum()), "right": int((between == labels[of_pair]).sum())},
        "confusion": confusion.tolist(),
        "classes": clips.names,
    }


def known_runs(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["split"], row["seed"], row["method"], json.dumps(row["settings"], sort_keys=True)


def run_all(args: argparse.Namespace, settings: Settings) -> None:
    # Through JSON, which turns tuples into lists, so that a run is recognized in the results.
    stored = json.loads(json.dumps(asdict(settings)))
    known = {key_of(row) for row in known_runs(args.results)}
    wanted = [
        (split, seed, method)
        for seed in args.seed
        for split in args.split
        for method in args.method
        if key_of({"split": split, "seed": seed, "method": method, "settings": stored}) not in known
    ]
    print(f"{len(wanted)} runs to do, settings {settings.name}")
    if not wanted:
        return
    clip_list, splits = read_splits(args.data)
    clips = DarkClips(clip_list, frames=settings.frames, stretch=settings.stretch, folder=args.out)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    for split, seed, method in wanted:
        row = run(split, seed, method, settings, clips, splits[split], args)
        if args.steps is None:  # a trial of a few steps is no result
            with args.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        print(
            f"{split} {method} seed {seed}: {row['right']['own']} of {row['clips']}, Sit against Stand "
            f"{row['sit_stand']['right']} of {row['sit_stand']['clips']}, {row['trained']:,} trained, "
            f"{row['seconds'] / row['steps']:.2f} s a step"
        )


# --- table ---


def spread(values: list[float]) -> str:
    """Mean over seeds in percent, and the standard deviation where there are two or more."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def table(results: Path) -> str:
    """One row for each settings, kind of split and method: folds taken together, seeds as mean and deviation."""
    groups: dict[tuple[str, str, str], dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    settings: dict[str, dict[str, Any]] = {}
    for row in known_runs(results):
        fields = {
            **row["settings"],
            "size": tuple(row["settings"]["size"]),
            "kernel": tuple(row["settings"]["kernel"]),
        }
        name = Settings(**fields).name
        settings[name] = row["settings"]
        kind = "across scenes" if row["split"] == "given" else "by clip"
        groups[name, kind, row["method"]][row["seed"]].append(row)
    lines: list[str] = []
    for name, values in settings.items():
        lines += [
            "",
            f"Settings {name}: " + ", ".join(f"{k} {v}" for k, v in values.items() if v not in ("", None)),
            "",
        ]
        lines.append(
            "| split | method | seeds | trained | accuracy | shuffled | reversed | single frame | order gap | "
            "Sit against Stand |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        )
        for kind in ("by clip", "across scenes"):
            for method in METHODS:
                if (name, kind, method) in groups:
                    lines.append(table_row(kind, method, groups[name, kind, method]))
    return "\n".join(lines)


def table_row(kind: str, method: str, by_seed: dict[int, list[dict[str, Any]]]) -> str:
    whole = FOLDS if kind == "by clip" else 1
    complete = [rows for rows in by_seed.values() if len(rows) == whole]
    counted = complete or list(by_seed.values())

    def share(name: str) -> list[float]:
        return [sum(r["right"][name] for r in rows) / sum(r["clips"] for r in rows) for rows in counted]

    pair = [
        sum(r["sit_stand"]["right"] for r in rows) / sum(r["sit_stand"]["clips"] for r in rows) for rows in counted
    ]
    reports = [
        OrderReport(*values)
        for values in zip(share("own"), share("shuffled"), share("reversed"), share("single_frame"), strict=True)
    ]
    seeds = f"{len(counted)}" if complete else f"{len(counted)} (folds missing)"
    cells = [
        kind,
        method,
        seeds,
        f"{counted[0][0]['trained']:,}",
        *(
            spread([getattr(report, name) for report in reports])
            for name in ("accuracy", "shuffled", "reversed", "single_frame", "order_gap")
        ),
        spread(pair),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clips/dark_actions"))
    parser.add_argument("--out", type=Path, default=Path("runs/dark_actions"))
    parser.add_argument("--results", type=Path, help="by default results.jsonl in --out")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--seed", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument(
        "--init", default="", metavar="FILE", help="a recognizer to start the adapters from, or camera"
    )
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", nargs=2, type=int, default=[112, 112], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--picture", choices=("rgb", "difference"), default="rgb")
    parser.add_argument("--no-stretch", action="store_true", help="leave the contrast as it is")
    parser.add_argument("--reverse", action="store_true", help="half of Sit backwards as Stand, and the other way")
    parser.add_argument("--epochs", type=float, default=30)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--width", type=int, default=96, help="of the adapters")
    parser.add_argument("--kernel", type=int, default=1, help="height and width of the adapters' kernel")
    parser.add_argument("--blocks", type=int, help="adapt the last blocks only")
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--rate-factor", type=float, default=1.0, help="of each method's own learning rate")
    parser.add_argument("--steps", type=int, help="a trial of a few steps, not written to the results")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    args.results = args.results or args.out / "results.jsonl"
    if args.table:
        print(table(args.results))
        return
    settings = Settings(
        frames=args.frames,
        size=tuple(args.size),
        picture=args.picture,
        stretch=not args.no_stretch,
        epochs=args.epochs,
        batch_size=args.batch_size,
        width=args.width,
        kernel=(3, args.kernel, args.kernel),
        blocks=args.blocks,
        dropout=args.dropout,
        weight_decay=args.weight_decay,
        rate_factor=args.rate_factor,
        init=args.init,
        reverse=args.reverse,
    )
    run_all(args, settings)


if __name__ == "__main__":
    main()
