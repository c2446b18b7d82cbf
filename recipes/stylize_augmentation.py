"""What painting training clips is worth: human actions in clips repainted with styles that training never saw.

    python recipes/stylize_augmentation.py [--data FOLDER] [--steps 40] [--seed 0]

The data are the 246 clips with six actions of `recipes/dark_actions.py`, parted by clip (its fold 0). Adapters start
from the built-in recognizer `camera` and are trained twice, on the same draws: on clips as they are, and with half of
them painted in built-in styles, as `muybridge train recognizer --augment stylize=...` does. Both are measured on the
test clips as they are and repainted in other styles, of other kinds. Nothing is chosen by the test clips.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from dark_actions import ActionObjective, DarkClips, Settings, TrainingClips, make_model, read_splits
from torch import Tensor

from muybridge.data.clips.painting import ClipPainter, PaintedClips, PaintingConfig
from muybridge.stylize.clip_painter import load_clip_painter
from muybridge.training.fit import FitConfig, fit

SEEN = ("ember", "glass", "marble", "comic")
UNSEEN = ("hatching", "woodcut", "collage")  # of other kinds of texture than those above
STRENGTH = 0.5
SETTINGS = Settings(
    frames=8,
    size=(112, 112),
    picture="rgb",
    stretch=True,
    epochs=0,
    batch_size=8,
    width=96,
    kernel=(3, 1, 1),
    blocks=None,
    dropout=0.3,
    weight_decay=0.05,
    rate_factor=0.5,
    init="camera",
)


def train(
    clips: DarkClips, indices: list[int], painter: ClipPainter | None, args: argparse.Namespace
) -> ActionObjective:
    """Adapters trained with or without paint, all else alike."""
    torch.manual_seed(args.seed)
    objective = ActionObjective(make_model("adapters", SETTINGS, len(clips.names)), SETTINGS.picture)
    training = TrainingClips(clips, indices, SETTINGS.size)
    config = FitConfig(
        steps=args.steps,
        batch_size=SETTINGS.batch_size,
        learning_rate=2e-3 * SETTINGS.rate_factor,
        weight_decay=SETTINGS.weight_decay,
        warmup=0.1,
        schedule="cosine",
        clip_norm=1.0,
        precision="bf16-mixed",
        seed=args.seed,
        save_every=args.steps,
    )
    name = "clean" if painter is None else "painted"
    dataset = training if painter is None else PaintedClips(training, painter)
    fit(objective, dataset, config, folder=args.out / f"{name}-{args.seed}", accelerator="cpu", title=name)
    return objective


def tests(frames: Tensor) -> dict[str, Tensor]:
    """The test clips (N, T, 3, H, W) as they are, and repainted: each clip in each unseen style."""
    painter = load_clip_painter(PaintingConfig(UNSEEN))
    found = {"as they are": frames}
    for name, style in zip(UNSEEN, painter.styles, strict=True):
        found[name] = torch.stack([painter.paint(clip, style, strength=STRENGTH) for clip in frames])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clips/dark_actions"))
    parser.add_argument("--out", type=Path, default=Path("runs/stylize_augmentation"))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    clip_list, splits = read_splits(args.data)
    clips = DarkClips(clip_list, frames=SETTINGS.frames, stretch=SETTINGS.stretch, folder=args.out)
    indices, held_out = splits["fold0"]
    sets, labels = tests(clips.test_clips(held_out, SETTINGS.size)), clips.labels[held_out]
    results: dict[str, dict[str, float]] = {}
    for name, painter in (("clean", None), ("painted", load_clip_painter(PaintingConfig(SEEN)))):
        started = time.process_time()
        objective = train(clips, indices, painter, args)
        seconds = time.process_time() - started
        results[name] = {
            test: (objective.answers(frames).argmax(dim=1) == labels).float().mean().item()
            for test, frames in sets.items()
        }
        print(f"{name}: {seconds / args.steps:.2f} s of processor a step, {json.dumps(results[name])}", flush=True)
    print(f"\n| {len(labels)} test clips | trained on clips | trained with paint |\n| --- | ---: | ---: |")
    for test in sets:
        print(f"| {test} | {100 * results['clean'][test]:.1f} | {100 * results['painted'][test]:.1f} |")


if __name__ == "__main__":
    main()
