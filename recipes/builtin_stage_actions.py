"""Makes the built-in adapters `stage_actions`: they know how figures of the stage move, to start trainings from.

    python recipes/builtin_stage_actions.py --data ../shared/data \
        --artifact src/muybridge/weights/stage_actions.safetensors

Writes 1,045 clips of one figure each and trains in two parts, from `camera` and then from the first part, with what
`muybridge stage` and `muybridge train recognizer` are made of. A tenth of the clips is held out. `--clips-only` ends
when the clips are written; parts that are finished are not made again.
"""

import argparse
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from muybridge.data.clips.augmentation import AugmentationConfig
from muybridge.media.images import read_image
from muybridge.progress import progress_line
from muybridge.recognize.options import (
    ClipData,
    RecognizerConfig,
    RecognizerFitConfig,
    SamplingOptions,
    TrainingPlan,
)
from muybridge.recognize.train import train
from muybridge.stage import Scene, SceneSpec
from muybridge.stage.export import export_class_folders, scene_name

ACTIONS = ("walk", "run", "jump", "sit down", "stand up", "turn left", "turn right")
MOST_OF_A_CLASS = 100
MIRRORED = ("turn left=turn right",)
PLACE = SceneSpec(
    scenario="action",
    actors=1,
    width=160,
    height=120,
    rate=Fraction(12),
    duration_seconds=2.5,
    grain=8.0,
    shake=0.01,
)


def choose(first: SceneSpec, count: int) -> list[SceneSpec]:
    """So many scenes of consecutive seeds in which one of `ACTIONS` is done."""
    left = dict.fromkeys(ACTIONS, MOST_OF_A_CLASS)
    chosen: list[SceneSpec] = []
    seed = first.seed
    while len(chosen) < count:
        spec = replace(first, seed=seed)
        label = Scene(spec).label
        if label is not None and left.get(label):
            left[label] -= 1
            chosen.append(spec)
        seed += 1
    return chosen


def write_clips(photos: Path, folder: Path) -> None:
    """FOLDER/CLASS/photo-NAME.mp4 before photographs, and FOLDER/CLASS/room-NAME.mp4 in painted places."""
    partial = folder.with_name("partial")
    pictures = [read_image(path).rgb for path in sorted(photos.iterdir())]
    kinds = (
        ("photo", choose(replace(PLACE, figure_share=0.75), 345), pictures),
        ("room", choose(replace(PLACE, figure_share=0.9, seed=50_000), 700), []),
    )
    for kind, specs, photographs in kinds:
        with progress_line(f"stage, {kind}", total=len(specs), unit="scenes") as line:
            export_class_folders(specs, partial / kind, photographs=photographs, on_scene=line.advance)
        for name in {scene_name(spec) for spec in specs}:
            (written,) = (partial / kind).glob(f"*/{name}.mp4")
            target = partial / "all" / written.parent.name / f"{kind}-{written.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            written.rename(target)
    (partial / "all").rename(folder)


def plan(clips: Path, *, initialize: str | Path, steps: int, color: float, dropout: float) -> TrainingPlan:
    return TrainingPlan(
        data=ClipData(clips, held_out=0.1),
        model=RecognizerConfig(dropout=dropout),
        sampling=SamplingOptions(frames=8, mode="segments", size=112),
        augmentation=AugmentationConfig(crop="jitter", flip=True, mirror=MIRRORED, color=color),
        config=RecognizerFitConfig(steps=steps, validations=2, precision="bf16-mixed"),
        initialize=initialize,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/stage_actions"))
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--clips-only", action="store_true")
    args = parser.parse_args()
    clips = args.out / "clips"
    if not clips.exists():
        write_clips(args.data / "photos" / "imagenet", clips)
    if args.clips_only:
        return
    first = args.out / "first.safetensors"
    if not first.exists():
        train(plan(clips, initialize="camera", steps=800, color=0.5, dropout=0.3), first)
    second = args.artifact or args.out / "second.safetensors"
    train(plan(clips, initialize=first, steps=1600, color=0.3, dropout=0.2), second)


if __name__ == "__main__":
    main()
