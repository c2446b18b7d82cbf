"""Shows what the feature bank is for: labels that follow from an event eight seconds earlier.

    python recipes/stage_memory.py --out runs/stage_memory [--seeds 0 1 2]

A scene of the stage's kind "memory": a light flashes red, green or blue for a second; eight seconds later figures
raise an arm in answer, which is labelled by the colour and looks the same for all three. A clip shows a second and a
half.

Why a model without a bank has a ceiling. Held-out scenes come in threes, which differ only in the flashes' colours:
in every frame in which the light is dark they agree pixel by pixel. A clip of an answer shows none of the flash, so
the model gets the same clip in all three scenes, and its label is right in one: average precision 1/3 for each of the
three classes "answer ...". The run measures by how much the logits of such clips differ.

While the light is lit, all are labelled as seeing its colour: that is in the label list of writer and reader alike,
and says nothing of answers to a clip that shows no flash. Training scenes come in threes too, so that knowing a
layout tells no colour.

Trunk: trained to tell waiting, seeing each colour and answering, under a baseline head, then frozen. The ACAR head
without a bank starts afresh on it; trained, it writes the bank of every scene. A second ACAR head starts from the
same weights as the first one did and trains equally long, on the same clips in the same order, reading the bank's
window of ten seconds to each side. Flashes are so far apart that a window around an answer holds no flash but
its own.
"""

import argparse
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stage_localization import (
    TRUNK,
    ClipData,
    Clips,
    HeadObjective,
    acar_head,
    actors_of,
    context_maps,
    cut,
    frame_map,
    mean_precision,
    probabilities,
    together,
    train,
    train_trunk,
)
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from muybridge.data.feature_bank import FeatureBank, FeatureBankWriter
from muybridge.data.sampling import Draw
from muybridge.models.acar.actors import ContextMap
from muybridge.models.acar.head import ACARHead
from muybridge.models.acar.slowfast import SlowFast
from muybridge.stage import Scene, SceneSpec, blind_ceiling, num_siblings, stage_labels
from muybridge.training.fit import FitConfig

WIDTH, HEIGHT = 128, 96
RATE = 2
SECONDS = 13.0
WINDOW = 10.0
LABELS = stage_labels("memory")
ANSWERS = [column for column, name in enumerate(LABELS.names) if name.startswith("answer ")]
OTHERS = [column for column in range(len(LABELS)) if column not in ANSWERS]
HELD_OUT = 1_000_000  # seeds of held-out scenes start here


def clips_of(seeds: range, siblings: int) -> Clips:
    """A clip from each whole second on of each scene, siblings next to each other."""
    parts: list[Clips] = []
    for seed in seeds:
        for sibling in range(siblings):
            spec = SceneSpec(
                seed=seed, sibling=sibling, scenario="memory", actors=3, width=WIDTH, height=HEIGHT,
                rate=Fraction(RATE), duration_seconds=SECONDS, figure_share=0.7,
            )  # fmt: skip
            assert spec.delay_seconds <= WINDOW < spec.period - spec.delay_seconds
            starts = range(0, spec.num_frames - TRUNK.frames + 1, RATE)
            parts.append(cut(Scene(spec).clip(), starts, len(parts), RATE))
    return together(parts)


def what_shows(clips: Clips) -> NDArray[np.float32]:
    """(N, A, 5) float32: waiting, seeing each colour, answering; all that a clip can tell by itself."""
    answering = clips.targets[..., ANSWERS].sum(-1, keepdims=True)
    return np.concatenate([clips.targets[..., OTHERS], answering], -1)


def who_answers(clips: Clips) -> NDArray[np.bool_]:
    """(N, A)."""
    return clips.present & (clips.targets[..., ANSWERS] > 0).any(-1)


def answers(clips: Clips) -> NDArray[np.bool_]:
    """(N,) whether anyone in the clip answers."""
    return who_answers(clips).any(1)


def lit(clips: Clips) -> NDArray[np.bool_]:
    """(N,) whether the key frame shows the flash."""
    return (clips.present & (clips.targets[..., OTHERS[1:]] > 0).any(-1)).any(1)


def draw_weights(clips: Clips) -> Tensor:
    """Half of the clips drawn show an answer, a quarter the flash."""
    answer, flash = answers(clips), lit(clips)
    rest = ~(answer | flash)
    return torch.from_numpy(np.select([answer, flash], [0.5 / answer.sum(), 0.25 / flash.sum()], 0.25 / rest.sum()))


class MemoryData(Dataset[dict[str, Tensor]]):
    """Context maps, and what the banks hold around them, if there are banks."""

    def __init__(self, clips: Clips, maps: Tensor, banks: list[FeatureBank] | None = None) -> None:
        self.clips, self.maps = clips, maps
        self.windows: list[Tensor] | None = None
        if banks is not None:
            self.windows = [
                banks[video].window(time, before=WINDOW, after=WINDOW).maps
                for video, time in zip(clips.video.tolist(), clips.seconds.tolist(), strict=True)
            ]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        return self.item(draw.index)

    def item(self, index: int) -> dict[str, Tensor]:
        item = {
            "maps": self.maps[index],
            "boxes": torch.from_numpy(self.clips.boxes[index]),
            "present": torch.from_numpy(self.clips.present[index]),
            "targets": torch.from_numpy(self.clips.targets[index]),
        }
        return item if self.windows is None else item | {"bank": self.windows[index]}


def collate(items: list[dict[str, Tensor]]) -> dict[str, Any]:
    """Windows differ in length: they are concatenated, their lengths beside them."""
    banks = [item["bank"] for item in items if "bank" in item]
    batch = default_collate([{name: item[name] for name in item if name != "bank"} for item in items])
    if banks:
        batch |= {"bank": torch.cat(banks), "bank_counts": torch.tensor([len(bank) for bank in banks])}
    return batch


@torch.inference_mode()
def write_banks(head: ACARHead, clips: Clips, maps: Tensor, folder: Path, model: str) -> list[FeatureBank]:
    """The bank of each scene: everybody at every key frame."""
    head.eval()
    folder.mkdir(parents=True, exist_ok=True)
    banks: list[FeatureBank] = []
    for video in range(int(clips.video.max()) + 1):
        path = folder / f"{video}.safetensors"
        rows = np.flatnonzero(clips.video == video)
        boxes, present = torch.from_numpy(clips.boxes[rows]), torch.from_numpy(clips.present[rows])
        actors = actors_of(boxes, present)
        first_order = head.first_order(ContextMap(maps[rows].float()), actors).maps
        with FeatureBankWriter(path, model=model, video=f"scene {video}") as writer:
            for place, row in enumerate(rows):
                mine = actors.groups.clips == place
                writer.append(float(clips.seconds[row]), first_order[mine], actors.boxes[mine])
        banks.append(FeatureBank(path, model=model))
    return banks


@torch.inference_mode()
def logits_of(objective: HeadObjective, data: MemoryData) -> Tensor:
    """(N, K), every figure that is present."""
    objective.eval()
    count = len(data)
    parts = [
        objective.logits(collate([data.item(index) for index in range(start, min(start + 64, count))]))
        for start in range(0, count, 64)
    ]
    return torch.cat(parts)


def largest_difference_of_siblings(logits: Tensor, clips: Clips) -> float:
    """Over all figures that answer."""
    by_clip = torch.zeros(*clips.present.shape, logits.shape[1])
    by_clip[torch.from_numpy(clips.present)] = logits
    answering = torch.from_numpy(who_answers(clips))
    siblings = num_siblings("memory")
    length = len(clips) // (int(clips.video.max()) + 1)
    by_clip, answering = (x.unflatten(0, (-1, siblings, length)) for x in (by_clip, answering))
    differences = (by_clip - by_clip[:, :1]).abs().amax((1, 4))  # over siblings and classes
    return float(differences[answering[:, 0]].max())


def training_clips(seed: int, options: argparse.Namespace) -> Clips:
    first = 1 + seed * 100_000
    path = options.out / f"seed{seed}" / "train.npz"
    return Clips.cached(path, lambda: clips_of(range(first, first + options.layouts), 3))


def trunk_of(seed: int, options: argparse.Namespace) -> SlowFast:
    """The trunk trained on the scenes of this seed."""
    clips = training_clips(seed, options)
    config = FitConfig(steps=options.trunk_steps, batch_size=16, learning_rate=2e-3, weight_decay=0.01,
                       warmup=30 / options.trunk_steps, schedule="cosine", clip_norm=1.0, seed=seed,
                       save_every=100)  # fmt: skip
    data, folder = ClipData(clips, what_shows(clips)), options.out / f"seed{seed}" / "trunk"
    return train_trunk(data, 5, config, folder, weights=draw_weights(clips))


def prove(seed: int, options: argparse.Namespace) -> dict[str, float]:
    folder: Path = options.out / f"seed{seed}"
    training = training_clips(seed, options)
    weights = draw_weights(training)
    first = HELD_OUT + 1 + seed * 100_000
    held_out = Clips.cached(folder / "test.npz", lambda: clips_of(range(first, first + options.held_out), 3))
    trunk = trunk_of(seed if options.trunk_seed is None else options.trunk_seed, options)
    maps = [context_maps(trunk, clips.frames) for clips in (training, held_out)]
    figures: dict[str, float] = {"seed": seed}
    config = FitConfig(steps=options.head_steps, batch_size=32, learning_rate=1e-3, weight_decay=0.01,
                       warmup=50 / options.head_steps, schedule="cosine", clip_norm=1.0, seed=seed,
                       save_every=400)  # fmt: skip
    banks: list[list[FeatureBank] | None] = [None, None]
    for name in ("no bank", "bank"):
        torch.manual_seed(seed)
        objective = HeadObjective(acar_head(len(LABELS)), LABELS.exclusive)
        data = [MemoryData(c, m, b) for c, m, b in zip((training, held_out), maps, banks, strict=True)]
        train(objective, data[0], config, folder / name, weights=weights, collate=collate)
        logits = logits_of(objective, data[1])
        report = frame_map(held_out, probabilities(logits, LABELS), LABELS)
        (folder / f"{name}.txt").write_text(str(report) + "\n")
        figures[name] = mean_precision(report)
        figures[f"{name}, answers"] = mean_precision(report, "answer ")
        figures[f"{name}, siblings differ by"] = largest_difference_of_siblings(logits, held_out)
        if name == "no bank":
            assert isinstance(objective.head, ACARHead)
            banks = [
                write_banks(objective.head, clips, each, folder / "banks" / part, f"stage memory {seed}")
                for clips, each, part in zip((training, held_out), maps, ("train", "test"), strict=True)
            ]
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/stage_memory"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trunk-seed", type=int, help="take the trunk of this seed for all, in half the time")
    parser.add_argument("--layouts", type=int, default=60, help="of training, three scenes each")
    parser.add_argument("--held-out", type=int, default=24, help="layouts, three scenes each")
    parser.add_argument("--trunk-steps", type=int, default=400)
    parser.add_argument("--head-steps", type=int, default=600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"ceiling without a bank on the answers' classes: {blind_ceiling('memory'):.4f}")
    for seed in options.seeds:
        print(json.dumps(prove(seed, options)), flush=True)


if __name__ == "__main__":
    main()
