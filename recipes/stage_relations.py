"""Shows that the ACAR head sees what the baseline head cannot: labels that follow from what somebody else does.

    python recipes/stage_relations.py --out runs/stage_relations [--seeds 0 1 2]

A scene of the stage's kind "relation": one figure performs with a ball, box, flag or lantern; three others, far off,
watch it or turn their backs. Whoever watches is labelled by what it watches.

Why the baseline head has a ceiling. Held-out scenes come in fours, which differ only in the performance. The pixels
of the watchers, and all pixels up to `SEPARATION` of the picture's width around them, are the same in all four. The
trunk's receptive field and RoIAlign's sampling together reach TRUNK_REACH pixels beyond a box, which is less. So the
baseline head gets the same numbers for a watcher in all four scenes, and its label is right in one: average precision
1/4 for each of the four classes "watch ...". The run measures by how much these numbers differ.

Trunk: trained on what each figure does by itself (four performances, watching, turned away), under a baseline head,
then frozen. Both heads start afresh on it and train equally long on the same maps, with the same seed.
"""

import argparse
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from stage_localization import (
    TRUNK,
    TRUNK_REACH,
    ClipData,
    Clips,
    HeadObjective,
    acar_head,
    baseline_head,
    context_maps,
    cut,
    frame_map,
    mean_precision,
    mirrored_boxes,
    probabilities,
    together,
    train,
    train_trunk,
)
from torch import Tensor
from torch.utils.data import Dataset

from muybridge.data.sampling import Draw
from muybridge.models.acar.slowfast import SlowFast
from muybridge.stage import Scene, SceneSpec, blind_ceiling, num_siblings, stage_labels
from muybridge.training.fit import FitConfig

WIDTH, HEIGHT = 256, 72
SEPARATION = 0.28
RATE = 2
LABELS = stage_labels("relation")
PERFORMED = 4  # the first columns of LABELS: performances, then who watches which, then who is unaware
HELD_OUT = 1_000_000  # seeds of held-out scenes start here
assert TRUNK_REACH < SEPARATION * WIDTH


def clips_of(seeds: range, siblings: int) -> Clips:
    """One clip of each scene, siblings next to each other."""
    parts: list[Clips] = []
    for seed in seeds:
        for sibling in range(siblings):
            spec = SceneSpec(
                seed=seed, sibling=sibling, scenario="relation", actors=4, width=WIDTH, height=HEIGHT,
                rate=Fraction(RATE), duration_seconds=TRUNK.frames / RATE, figure_share=0.62, separation=SEPARATION,
            )  # fmt: skip
            parts.append(cut(Scene(spec).clip(), [0], len(parts), RATE))
    return together(parts)


def own_actions(clips: Clips) -> np.ndarray:
    """(N, A, 6) float32: the four performances, watching anything, unaware."""
    watching = clips.targets[..., PERFORMED : 2 * PERFORMED].sum(-1, keepdims=True)
    return np.concatenate([clips.targets[..., :PERFORMED], watching, clips.targets[..., 2 * PERFORMED :]], -1)


class MapData(Dataset[dict[str, Tensor]]):
    """Context maps, half of them of mirrored clips."""

    def __init__(self, trunk: SlowFast, clips: Clips, *, mirror: bool) -> None:
        self.clips = clips
        self.maps = [context_maps(trunk, clips.frames)]
        if mirror:
            self.maps.append(context_maps(trunk, clips.frames, mirror=True))

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        side = int(np.random.default_rng(draw.seed).integers(len(self.maps)))
        boxes = self.clips.boxes[draw.index]
        return {
            "maps": self.maps[side][draw.index],
            "boxes": torch.from_numpy(mirrored_boxes(boxes) if side else boxes),
            "present": torch.from_numpy(self.clips.present[draw.index]),
            "targets": torch.from_numpy(self.clips.targets[draw.index]),
        }


@torch.inference_mode()
def logits_of(objective: HeadObjective, data: MapData) -> Tensor:
    """(N * A, K), every figure of every clip."""
    objective.eval()
    clips = data.clips
    assert clips.present.all()
    parts: list[Tensor] = []
    for start in range(0, len(clips), 64):
        few = slice(start, start + 64)
        boxes, present = torch.from_numpy(clips.boxes[few]), torch.from_numpy(clips.present[few])
        parts.append(objective.logits({"maps": data.maps[0][few], "boxes": boxes, "present": present}))
    return torch.cat(parts)


def largest_difference_of_siblings(logits: Tensor, actors: int) -> float:
    """Over the watchers of each four scenes; the performer comes first in each scene and is left out."""
    scenes = logits.unflatten(0, (-1, num_siblings("relation"), actors))[:, :, 1:]
    return float((scenes - scenes[:, :1]).abs().max())


def training_clips(seed: int, options: argparse.Namespace) -> Clips:
    first = 1 + seed * 100_000
    path = options.out / f"seed{seed}" / "train.npz"
    return Clips.cached(path, lambda: clips_of(range(first, first + options.scenes), 1))


def trunk_of(seed: int, options: argparse.Namespace) -> SlowFast:
    """The trunk trained on the scenes of this seed."""
    clips = training_clips(seed, options)
    config = FitConfig(steps=options.trunk_steps, batch_size=16, learning_rate=2e-3, weight_decay=0.01,
                       warmup=50 / options.trunk_steps, schedule="cosine", clip_norm=1.0, seed=seed,
                       save_every=100)  # fmt: skip
    return train_trunk(
        ClipData(clips, own_actions(clips)), PERFORMED + 2, config, options.out / f"seed{seed}" / "trunk"
    )


def prove(seed: int, options: argparse.Namespace) -> dict[str, float]:
    folder: Path = options.out / f"seed{seed}"
    training = training_clips(seed, options)
    first = HELD_OUT + 1 + seed * 100_000
    held_out = Clips.cached(folder / "test.npz", lambda: clips_of(range(first, first + options.held_out), 4))
    trunk = trunk_of(seed if options.trunk_seed is None else options.trunk_seed, options)
    train_maps, test_maps = MapData(trunk, training, mirror=True), MapData(trunk, held_out, mirror=False)
    figures: dict[str, float] = {"seed": seed}
    config = FitConfig(steps=options.head_steps, batch_size=32, learning_rate=1e-3, weight_decay=0.01,
                       warmup=50 / options.head_steps, schedule="cosine", clip_norm=1.0, seed=seed,
                       save_every=400)  # fmt: skip
    for name, make in (("baseline", baseline_head), ("acar", acar_head)):
        torch.manual_seed(seed)
        objective = HeadObjective(make(len(LABELS)), LABELS.exclusive)
        train(objective, train_maps, config, folder / name)
        logits = logits_of(objective, test_maps)
        report = frame_map(held_out, probabilities(logits, LABELS), LABELS)
        (folder / f"{name}.txt").write_text(str(report) + "\n")
        figures[name] = mean_precision(report)
        figures[f"{name}, watchers"] = mean_precision(report, "watch ")
        figures[f"{name}, siblings differ by"] = largest_difference_of_siblings(logits, held_out.present.shape[1])
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/stage_relations"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trunk-seed", type=int, help="take the trunk of this seed for all, in half the time")
    parser.add_argument("--scenes", type=int, default=1200)
    parser.add_argument("--held-out", type=int, default=100, help="layouts, four scenes each")
    parser.add_argument("--trunk-steps", type=int, default=400)
    parser.add_argument("--head-steps", type=int, default=800)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"ceiling of the baseline head on the watchers' classes: {blind_ceiling('relation')}")
    for seed in options.seeds:
        print(json.dumps(prove(seed, options)), flush=True)


if __name__ == "__main__":
    main()
