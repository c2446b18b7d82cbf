"""What the two localization proofs on the stage share: clips, a small SlowFast trunk, heads on its maps, frame-mAP.

    scenes ── clips, uint8 ── trunk (trained on what each figure does by itself, then frozen) ── context maps ──
    heads (trained on the labels in question, the same steps each) ── frame-mAP

`stage_relations.py` and `stage_memory.py` are the proofs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from muybridge.data.annotations.table import Annotations
from muybridge.data.label_maps import LabelMap
from muybridge.data.sampling import Draw
from muybridge.evaluation.ava import AvaReport, evaluate_frames
from muybridge.models.acar.actors import Actors, BankWindow, ContextMap, Grouping
from muybridge.models.acar.head import ACARConfig, ACARHead, ACARNet, BaselineConfig, BaselineHead
from muybridge.models.acar.loss import action_loss, action_probabilities
from muybridge.models.acar.slowfast import SlowFast, SlowFastConfig
from muybridge.stage import Clip
from muybridge.training.fit import CHECKPOINT, FitConfig, fit

# One bottleneck a stage keeps the receptive field small. Of 4 frames the slow pathway sees the first, the key frame.
TRUNK = SlowFastConfig(blocks=(1, 1, 1, 1), width=16, fast_ratio=4, frames=4)
# A feature of this trunk sees 107 pixels: 7 and 3 of the stem, then 3x3 convolutions at strides 4, 8, 16 and, dilated
# by 2, at 16. RoIAlign reads features that lie up to one stride outside of the box.
TRUNK_REACH = (1 + 6 + 4 + 8 + 8 + 16 + 64 - 1) // 2 + 16
REDUCED, HIDDEN = 96, 64


@dataclass(frozen=True, eq=False)
class Clips:
    """N clips of T frames, with A figures each, as a cache holds them.

    Attributes:
        frames: (N, T, H, W, 3) uint8 RGB.
        boxes: (N, A, 4) float32, fractions of the frame, at the key frame.
        present: (N, A) bool.
        targets: (N, A, K) float32.
        video: (N,) int64, which scene a clip is of.
        seconds: (N,) float64, the key frame's time.
    """

    frames: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    present: NDArray[np.bool_]
    targets: NDArray[np.float32]
    video: NDArray[np.int64]
    seconds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frames)

    @classmethod
    def cached(cls, path: Path, render: Callable[[], "Clips"]) -> "Clips":
        """Those of the file, or rendered and written there."""
        if not path.is_file():
            clips = render()
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, **vars(clips))
            partial.replace(path)
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in file.files})


def cut(clip: Clip, first: Sequence[int], video: int, rate: float) -> Clips:
    """Windows of a scene's clip that start at these frames, which are the key frames.

    Boxes and labels of absent figures are left out by `present`.
    """
    starts = np.asarray(first)
    frames = clip.frames[starts[:, None] + np.arange(TRUNK.frames)]
    height, width = clip.frames.shape[1:3]
    boxes = clip.boxes_xyxy[starts] / np.array([width, height, width, height], np.float32)
    return Clips(
        frames, boxes, clip.present[starts], clip.actions[starts].astype(np.float32),
        np.full(len(starts), video, np.int64), starts / rate,
    )  # fmt: skip


def together(parts: Sequence[Clips]) -> Clips:
    """All clips in one."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    return Clips(**columns)


# --- data sets: pixels for the trunk, maps for the heads ---


class ClipData(Dataset[dict[str, Tensor]]):
    """Clips of pixels, half of them mirrored."""

    def __init__(self, clips: Clips, targets: NDArray[np.float32]) -> None:
        self.clips, self.targets = clips, targets

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        frames, boxes = self.clips.frames[draw.index], self.clips.boxes[draw.index]
        if np.random.default_rng(draw.seed).random() < 0.5:
            frames, boxes = np.ascontiguousarray(frames[:, :, ::-1]), mirrored_boxes(boxes)
        return {
            "frames": torch.from_numpy(frames),
            "boxes": torch.from_numpy(boxes),
            "present": torch.from_numpy(self.clips.present[draw.index]),
            "targets": torch.from_numpy(self.targets[draw.index]),
        }


def mirrored_boxes(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 4) fractions of the frame, left and right exchanged."""
    return np.stack([1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]], -1).astype(np.float32)


def actors_of(boxes_BA4: Tensor, present_BA: Tensor) -> Actors:
    return Actors(boxes_BA4[present_BA], Grouping.from_counts(present_BA.sum(1).tolist()))


# --- objectives ---


class TrunkObjective(nn.Module):
    """The trunk under the baseline head, which tells what each figure does by itself."""

    def __init__(self, trunk: SlowFast, num_classes: int) -> None:
        super().__init__()
        self.net = ACARNet(trunk, BaselineHead(BaselineConfig(trunk.context_channels, num_classes)))
        self.group = tuple(range(num_classes))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        present = batch["present"]
        frames = pixels_to_input(self.net.trunk, batch["frames"])
        logits = self.net(frames, actors_of(batch["boxes"], present))
        targets = batch["targets"][present]
        right = (logits.argmax(1) == targets.argmax(1)).float().mean()
        return {"loss": action_loss(logits, targets, (self.group,)), "right": right}


def pixels_to_input(trunk: nn.Module, frames_BTHW3: Tensor) -> Tensor:
    """uint8 pixels to a normalized clip whose channels lie last in memory once the trunk has put time behind them."""
    assert isinstance(trunk, SlowFast)
    mean, std = trunk.mean.view(3), trunk.std.view(3)
    return ((frames_BTHW3.float() - mean) / std).permute(0, 1, 4, 2, 3)


class HeadObjective(nn.Module):
    """A head on maps of the frozen trunk."""

    def __init__(self, head: ACARHead | BaselineHead, exclusive: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.head, self.exclusive = head, exclusive

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """(N, K) of all figures that are present."""
        bank = None
        if "bank" in batch:
            bank = BankWindow(batch["bank"].float(), Grouping.from_counts(batch["bank_counts"].tolist()))
        return self.head(ContextMap(batch["maps"].float()), actors_of(batch["boxes"], batch["present"]), bank)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits, targets = self.logits(batch), batch["targets"][batch["present"]]
        right = (logits.argmax(1) == targets.argmax(1)).float().mean()
        return {"loss": action_loss(logits, targets, self.exclusive), "right": right}


def acar_head(num_classes: int) -> ACARHead:
    """Depth 2 and 3x3 as published for R-50, with fewer channels."""
    return ACARHead(ACARConfig(TRUNK.context_channels, num_classes, reduced=REDUCED, hidden=HIDDEN))


def baseline_head(num_classes: int) -> BaselineHead:
    return BaselineHead(BaselineConfig(TRUNK.context_channels, num_classes))


# --- training and measuring ---


def train(objective: nn.Module, data: Dataset[Any], config: FitConfig, folder: Path, **options: Any) -> None:
    """As `fit`, going on where the folder holds an earlier part of the same run."""
    fit(objective, data, config, folder=folder, resume=(folder / CHECKPOINT).is_file(), accelerator="cpu",
        title=folder.name, **options)  # fmt: skip


def train_trunk(data: ClipData, num_classes: int, config: FitConfig, folder: Path, **options: Any) -> SlowFast:
    """A trunk that tells what each figure does by itself, frozen."""
    torch.manual_seed(config.seed)
    trunk = SlowFast(TRUNK).to(memory_format=torch.channels_last_3d)
    train(TrunkObjective(trunk, num_classes), data, config, folder, **options)
    return trunk.eval().requires_grad_(False)


@torch.inference_mode()
def context_maps(trunk: SlowFast, frames: NDArray[np.uint8], *, mirror: bool = False) -> Tensor:
    """(N, C, h, w) float16, of the clips or of their mirror images."""
    maps: list[Tensor] = []
    for start in range(0, len(frames), 16):
        part = frames[start : start + 16]
        part = np.ascontiguousarray(part[:, :, :, ::-1]) if mirror else part
        maps.append(trunk(pixels_to_input(trunk, torch.from_numpy(part))).half())
    return torch.cat(maps)


def frame_map(clips: Clips, probabilities: Tensor, labels: LabelMap) -> AvaReport:
    """AVA frame-mAP on the true boxes.

    Args:
        clips: N key frames.
        probabilities: one row for each present figure, in order.
    """
    which, who = np.nonzero(clips.present)
    boxes = clips.boxes[which, who].astype(np.float64)
    names = tuple(f"scene {video}" for video in range(int(clips.video.max()) + 1))
    video, seconds = clips.video[which].astype(np.int32), clips.seconds[which]
    ids = np.array(labels.ids)
    row, column = np.nonzero(clips.targets[which, who])
    truth = Annotations(names, video[row], seconds[row], boxes[row], "normalised", ids[column])
    # Ties keep the order of rows, so that they must not lie ordered by scene.
    row, column = (x.ravel() for x in np.indices(probabilities.shape))
    order = np.random.default_rng(0).permutation(len(row))
    row, column = row[order], column[order]
    score = probabilities.double().numpy()[row, column]
    predicted = Annotations(names, video[row], seconds[row], boxes[row], "normalised", ids[column], score=score)
    return evaluate_frames(truth, predicted, labels)


def mean_precision(report: AvaReport, start: str = "") -> float:
    """Mean average precision over the classes whose names start so."""
    figures = [c.average_precision for c in report.classes if c.name.startswith(start)]
    return float(np.mean([figure for figure in figures if figure is not None]))


def probabilities(logits: Tensor, labels: LabelMap) -> Tensor:
    return action_probabilities(logits, labels.exclusive)
