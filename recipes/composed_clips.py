"""Real clips of one person each, put together into frames in which several people do different things.

    clips (ARID, GMDCSA24), stage scenes ── frames at 15 a second, boxes by a detector ── kept in a folder
        └─ draw ── one whole clip, or cuts of two, three or four side by side ── frames, boxes, targets

`read_all` reads; `ComposedFrames` is the data set for training; `as_filmed` and `composed` are fixed items to
measure on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from dark_actions import read_splits
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from muybridge.data.label_maps import LabelMap
from muybridge.data.localization import KeyFrameSampling
from muybridge.data.sampling import Draw
from muybridge.media.outputs import atomic_output
from muybridge.media.video_reader import VideoReader
from muybridge.models.boxes import jitter_boxes_xyxy
from muybridge.people.detector import Detector
from muybridge.progress import progress_line
from muybridge.stage import ACTIONS, Scene, SceneSpec

NAMES = ("jump", "run", "sit down", "stand up", "turn", "walk", "fall", "stay")
LABELS = LabelMap(NAMES, tuple(range(1, len(NAMES) + 1)), (tuple(range(len(NAMES))),))
RATE = 15
HEIGHT = 192
CANVAS = (192, 256)
# The detector looks at every so many frames; in between, boxes are interpolated.
LOOK_EVERY = 4
SURE = 0.3
NOBODY = -1

DARK = {"Jump": "jump", "Run": "run", "Sit": "sit down", "Stand": "stand up", "Turn": "turn", "Walk": "walk"}
# What happens when, in seconds, seen by eye on contact sheets; what stands nowhere is not used, nor are clips and
# stretches in which the detector took a curtain for the person.
FALLS: dict[str, list[tuple[float, float, str]]] = {
    "Subject 1/ADL/10.mp4": [(0.3, 1.4, "walk"), (1.6, 2.2, "turn"), (2.5, 3.6, "walk")],
    "Subject 1/ADL/16.mp4": [(0.5, 3.0, "stay")],
    "Subject 1/Fall/13.mp4": [(0.6, 1.4, "fall"), (2.5, 4.0, "stay")],
    "Subject 1/Fall/14.mp4": [(0.7, 2.0, "fall"), (3.3, 5.4, "stay")],
    "Subject 1/Fall/15.mp4": [(0.3, 0.8, "stay"), (1.8, 2.9, "fall"), (4.0, 5.6, "stay")],
    "Subject 2/ADL/23.mp4": [(0.5, 6.8, "stay")],
    "Subject 2/Fall/12.mp4": [(0.5, 6.0, "stay"), (7.3, 8.4, "fall"), (9.7, 11.8, "stay")],
    "Subject 2/Fall/13.mp4": [(3.0, 4.1, "fall")],
    "Subject 2/Fall/14.mp4": [(1.0, 2.9, "stay"), (3.8, 4.6, "fall")],
    "Subject 3/ADL/18.mp4": [(0.7, 1.8, "sit down"), (3.0, 10.6, "stay")],
    "Subject 3/ADL/20.mp4": [(0.5, 8.9, "stay")],
    "Subject 3/Fall/15.mp4": [(0.4, 1.2, "stay"), (1.9, 2.8, "fall"), (3.9, 5.2, "stay")],
    "Subject 3/Fall/16.mp4": [(0.3, 1.0, "walk"), (2.0, 3.0, "fall"), (4.1, 5.6, "stay")],
    "Subject 3/Fall/19.mp4": [(0.4, 1.2, "stay"), (1.9, 2.9, "fall"), (4.0, 5.2, "stay")],
    "Subject 3/Fall/20.mp4": [(0.4, 1.6, "stay"), (2.3, 3.2, "fall"), (4.2, 5.8, "stay")],
    "Subject 4/ADL/19.mp4": [(0.6, 1.2, "walk"), (5.1, 6.2, "stay"), (6.7, 7.5, "sit down"), (8.4, 9.5, "stay")],
    "Subject 4/Fall/01.mp4": [(0.3, 1.1, "stay"), (1.7, 2.5, "fall"), (3.2, 4.3, "stay")],
    "Subject 4/Fall/02.mp4": [(0.3, 0.9, "stay"), (1.4, 2.3, "fall")],
    "Subject 4/Fall/03.mp4": [(0.6, 1.1, "walk"), (1.7, 2.6, "fall"), (3.7, 6.3, "stay")],
}
# Subjects whose clips stand beside the given split's test clips, which were filmed at other places.
TEST_SUBJECTS = ("Subject 1", "Subject 4")
STAGED = {
    "stand": "stay", "sit": "stay", "lie": "stay", "crouch": "stay", "walk": "walk", "run": "run", "jump": "jump",
    "fall": "fall", "sit down": "sit down", "stand up": "stand up", "turn left": "turn", "turn right": "turn",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Source:
    """One clip at 15 frames a second.

    Attributes:
        name: of the file, or of the scene.
        frames: (N, 192, W, 3) uint8 RGB.
        boxes: (N, P, 4) float32 fractions of the frame; NaN where someone is not seen.
        labels: (N, P) int64 columns of `LABELS`, -1 where nothing is said of them.
        found: (N,) bool, frames in which the detector was sure of the person itself.
    """

    name: str
    frames: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    found: NDArray[np.bool_]

    def moments(self) -> NDArray[np.int64]:
        """Frames in which somebody does something."""
        return np.flatnonzero(((self.labels != NOBODY) & np.isfinite(self.boxes[..., 0])).any(1))


@dataclass(frozen=True)
class Scenes:
    """All sources, and splits of their places: training and test."""

    sources: list[Source]
    splits: dict[str, tuple[list[int], list[int]]]


# --- reading ---


def read_frames(path: Path) -> NDArray[np.uint8]:
    """(N, 192, W, 3) uint8, 15 a second."""
    with VideoReader(path, short_side=HEIGHT) as reader:
        frames, next_time = [], 0.0
        for frame in reader:
            while float(frame.pts_seconds) >= next_time - 1e-6:
                frames.append(frame.image)
                next_time += 1 / RATE
    return np.stack(frames)


def find_person(frames: NDArray[np.uint8], detector: Detector) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Boxes (N, 4), fractions, of the one person of a clip, and in which frames the detector was sure itself.

    The surest and largest box counts. Where the detector sees nothing, boxes are interpolated between sightings; at
    the ends the nearest is held.
    """
    looks = np.arange(0, len(frames), LOOK_EVERY)
    times: list[int] = []
    boxes: list[NDArray[np.float32]] = []
    size = np.array([frames.shape[2], frames.shape[1]] * 2, np.float32)
    for look in looks.tolist():
        seen = detector(frames[look][None])[0]
        if not len(seen):
            continue
        shares = seen.boxes / size
        area = (shares[:, 2:] - shares[:, :2]).prod(1)
        best = int(np.argmax(seen.scores * np.sqrt(area)))
        if seen.scores[best] >= SURE:
            times.append(look)
            boxes.append(shares[best])
    if not times:
        return np.full((len(frames), 4), np.nan, np.float32), np.zeros(len(frames), bool)
    everywhere = np.arange(len(frames))
    filled = np.stack([np.interp(everywhere, times, side) for side in np.stack(boxes).T], 1).astype(np.float32)
    near = np.abs(everywhere[:, None] - np.array(times)[None]).min(1)
    return filled, near < LOOK_EVERY


def kept(folder: Path, name: str, frames: NDArray[np.uint8], **arrays: NDArray[Any]) -> None:
    path = folder / f"{name}.npz"
    with atomic_output(path) as partial, partial.open("wb") as file:
        np.savez(file, frames=frames, **arrays)


def read_all(data: Path, folder: Path, detector: Detector, *, staged: int) -> Scenes:
    """Every source, from `folder` where it was read before; stage scenes come last and are in no test."""
    folder.mkdir(parents=True, exist_ok=True)
    clips, dark_splits = read_splits(data / "dark_actions")
    named: list[tuple[str, Path, list[tuple[float, float, str]]]] = []
    for entry in clips.entries:
        label = DARK[clips.classes.names[entry.labels[0]]]
        named.append((f"dark-{entry.path.parent.parent.name}-{entry.path.stem}", entry.path, [(0, 99, label)]))
    num_dark = len(named)
    named += [(f"falls-{key.replace('/', '-')}", data / "falls" / key, spans) for key, spans in FALLS.items()]
    sources: list[Source] = []
    with progress_line("finding people", total=len(named), unit="clips") as line:
        for name, path, spans in named:
            if not (folder / f"{name}.npz").exists():
                frames = read_frames(path)
                boxes, found = find_person(frames, detector)
                kept(folder, name, frames, boxes=boxes, found=found)
            with np.load(folder / f"{name}.npz") as file:
                frames, boxes, found = file["frames"], file["boxes"], file["found"]
            sources.append(Source(name, frames, boxes[:, None], span_labels(len(frames), spans)[:, None], found))
            line.advance()
    splits = {
        name: _with_falls(halves, num_dark, across_scenes=name == "given") for name, halves in dark_splits.items()
    }
    sources.extend(staged_source(folder, number) for number in range(staged))
    for first, _ in splits.values():
        first += range(len(named), len(sources))
    return Scenes(sources, splits)


def span_labels(count: int, spans: Sequence[tuple[float, float, str]]) -> NDArray[np.int64]:
    labels = np.full(count, NOBODY)
    for start, end, name in spans:
        labels[round(start * RATE) : round(end * RATE) + 1] = NAMES.index(name)
    if len(spans) == 1 and spans[0][0] == 0:  # one action all along: its middle tells it best
        labels[: count // 4], labels[count - count // 4 :] = NOBODY, NOBODY
    return labels


def _with_falls(
    halves: tuple[list[int], list[int]], num_dark: int, *, across_scenes: bool
) -> tuple[list[int], list[int]]:
    """The split with clips of falls: by subject across scenes, else every fifth to the test."""
    train, test = list(halves[0]), list(halves[1])
    for place, key in enumerate(FALLS):
        held_out = key.startswith(TEST_SUBJECTS) if across_scenes else place % 5 == 2
        (test if held_out else train).append(num_dark + place)
    return train, test


def staged_source(folder: Path, number: int) -> Source:
    """A scene of the stage, in which figures improvise."""
    name = f"stage-{number}"
    if not (folder / f"{name}.npz").exists():
        spec = SceneSpec(
            seed=40_000 + number, actors=1 + number % 3, width=CANVAS[1], height=HEIGHT, duration_seconds=5.0,
            shake=0.01 * (number % 2), grain=4.0, figure_share=0.5 + 0.1 * (number % 4),
        )  # fmt: skip
        clip = Scene(spec).clip(list(range(0, spec.num_frames, 2)))  # 12.5 a second, near enough to 15
        boxes = clip.boxes_xyxy / np.array([CANVAS[1], HEIGHT] * 2, np.float32)
        boxes[~clip.present | (clip.visible < 0.5)] = np.nan
        labels = np.full(boxes.shape[:2], NOBODY)
        for column, action in enumerate(ACTIONS):
            if action in STAGED:
                labels[clip.actions[..., column]] = NAMES.index(STAGED[action])
        kept(folder, name, clip.frames, boxes=boxes, labels=labels)
    with np.load(folder / f"{name}.npz") as file:
        frames, boxes, labels = file["frames"], file["boxes"], file["labels"]
    return Source(name, frames, boxes, labels, np.ones(len(frames), bool))


# --- composing ---


@dataclass(frozen=True)
class Cut:
    """What of a source is shown: frames (T,), and a window x1 y1 x2 y2 in fractions of its picture."""

    frames: NDArray[np.int64]
    window: tuple[float, float, float, float]


def clip_indices(key: int, count: int, sampling: KeyFrameSampling) -> NDArray[np.int64]:
    """Frames of a clip around its key frame; those beyond either end repeat the edge."""
    step = round(RATE / sampling.rate)
    return (key + (np.arange(sampling.frames) - sampling.frames // 2) * step).clip(0, count - 1)


def choose_cut(
    source: Source,
    key: int,
    sampling: KeyFrameSampling,
    aspect: float,
    random: np.random.Generator,
    *,
    whole: bool,
) -> Cut:
    """A window of a source's picture that keeps the shape `aspect` (width over height) and holds the people."""
    frames = clip_indices(key, len(source.frames), sampling)
    height, width = source.frames.shape[1:3]
    shape = aspect * height / width  # of a window in fractions
    most = min(1.0, 1 / shape)
    doing = (source.labels[key] != NOBODY) & np.isfinite(source.boxes[key, :, 0])
    who = int(random.choice(np.flatnonzero(doing)))
    box = source.boxes[key, who]
    least = min(most, max(1.1 * float(box[3] - box[1]), 1.1 * float(box[2] - box[0]) / shape, 0.35))
    tall = most if whole else float(random.uniform(least, most))
    wide = tall * shape
    corner: list[float] = []
    for low, high, side in ((box[0], box[2], wide), (box[1], box[3], tall)):
        slack_low, slack_high = max(0.0, float(high) - side), min(1 - side, float(low))
        middle = min(max((float(low) + float(high) - side) / 2, 0.0), 1 - side)
        if whole:
            corner.append(middle)
        else:
            corner.append(float(random.uniform(slack_low, slack_high)) if slack_low < slack_high else middle)
    return Cut(frames, (corner[0], corner[1], corner[0] + wide, corner[1] + tall))


def show(source: Source, cut: Cut, size: tuple[int, int]) -> Tensor:
    """The cut as (T, 3, height, width) uint8."""
    height, width = source.frames.shape[1:3]
    x1, y1, x2, y2 = (round(side * n) for side, n in zip(cut.window, (width, height, width, height), strict=True))
    part = torch.from_numpy(source.frames[cut.frames, y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)])
    return F.interpolate(part.permute(0, 3, 1, 2), size, mode="bilinear", antialias=True)


def people_in(source: Source, key: int, window: tuple[float, float, float, float]) -> tuple[Tensor, list[int]]:
    """Boxes (n, 4) as fractions of a window, and what each does; who is mostly outside is left out."""
    x1, y1, x2, y2 = window
    boxes: list[list[float]] = []
    doing: list[int] = []
    for box, label in zip(source.boxes[key].tolist(), source.labels[key].tolist(), strict=True):
        if label == NOBODY or not np.isfinite(box[0]):
            continue
        within = [
            min(max((box[0] - x1) / (x2 - x1), 0), 1), min(max((box[1] - y1) / (y2 - y1), 0), 1),
            min(max((box[2] - x1) / (x2 - x1), 0), 1), min(max((box[3] - y1) / (y2 - y1), 0), 1),
        ]  # fmt: skip
        area = (within[2] - within[0]) * (within[3] - within[1]) * (x2 - x1) * (y2 - y1)
        if area > 0.5 * (box[2] - box[0]) * (box[3] - box[1]):
            boxes.append(within)
            doing.append(label)
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), doing


# Top, left, height and width of each part, in sixteenths of the frame's height and width.
LAYOUTS = {
    1: [(0, 0, 16, 16)],
    2: [(0, 0, 16, 8), (0, 8, 16, 8)],
    3: [(0, 0, 16, 8), (0, 8, 8, 8), (8, 8, 8, 8)],
    4: [(0, 0, 8, 8), (0, 8, 8, 8), (8, 0, 8, 8), (8, 8, 8, 8)],
}


def item_of(parts: Sequence[tuple[Tensor, Tensor, list[int]]], index: int) -> dict[str, Tensor]:
    """Frames, boxes and what people do, part by part, as one item of `collate_boxes`."""
    height, width = CANVAS
    clip = torch.zeros(len(parts[0][0]), 3, height, width, dtype=torch.uint8)
    boxes: list[Tensor] = []
    labels: list[int] = []
    for (top, left, tall, wide), (frames, found, doing) in zip(LAYOUTS[len(parts)], parts, strict=True):
        y, x, h, w = top * height // 16, left * width // 16, tall * height // 16, wide * width // 16
        clip[:, :, y : y + h, x : x + w] = frames
        scale = torch.tensor([w / width, h / height, w / width, h / height])
        boxes.append(found * scale + torch.tensor([x / width, y / height, x / width, y / height]))
        labels += doing
    targets = torch.zeros(len(labels), len(NAMES))
    targets[torch.arange(len(labels)), torch.tensor(labels, dtype=torch.long)] = 1
    return {"frames": clip, "boxes": torch.cat(boxes), "targets": targets, "index": torch.tensor(index)}


def in_other_light(frames: Tensor, random: np.random.Generator) -> Tensor:
    """Half of the clips with stretched contrast, all a little lighter or darker: dark clips are flat, others not."""
    levels = np.arange(256, dtype=np.float32)
    if random.random() < 0.5:
        low, high = np.percentile(frames[::3, :, ::4, ::4].numpy(), (2, 98))
        levels = (levels - low) * (255 / max(high - low, 24.0))
    gain, shift = random.uniform(0.8, 1.25), random.uniform(-20, 20)
    levels = ((levels - 128) * gain + 128 + shift).clip(0, 255).astype(np.uint8)
    return torch.from_numpy(levels[frames.numpy()])


class ComposedFrames(Dataset[dict[str, Tensor]]):
    """Items as `collate_boxes` takes them. An index is that of a class: all are drawn equally often.

    Args:
        still: chance that a part's picture stands still, whoever is in it then stays.
    """

    def __init__(
        self, sources: Sequence[Source], sampling: KeyFrameSampling, *, staged: float, still: float = 0.04
    ) -> None:
        self.sampling, self.staged, self.still = sampling, staged, still
        self.by_class: list[dict[bool, list[tuple[Source, NDArray[np.int64]]]]] = []
        for column in range(len(NAMES)):
            found: dict[bool, list[tuple[Source, NDArray[np.int64]]]] = {False: [], True: []}
            for source in sources:
                seen = (source.labels == column) & np.isfinite(source.boxes[..., 0])
                if seen.any():
                    found[source.name.startswith("stage")].append((source, np.flatnonzero(seen.any(1))))
            self.by_class.append(found)

    def __len__(self) -> int:
        return len(NAMES)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        random = np.random.default_rng(draw.seed)
        count = int(random.choice([1, 2, 3, 4], p=[0.2, 0.25, 0.2, 0.35]))
        classes = [draw.index, *random.integers(0, len(NAMES), count - 1).tolist()]
        parts = [self._part(column, layout, random) for column, layout in zip(classes, LAYOUTS[count], strict=True)]
        item = item_of(parts, draw.index)
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        item["boxes"] = jitter_boxes_xyxy(item["boxes"], 0.1, generator=generator)
        return item

    def _part(
        self, column: int, layout: tuple[int, int, int, int], random: np.random.Generator
    ) -> tuple[Tensor, Tensor, list[int]]:
        found = self.by_class[column]
        from_stage = bool(found[True]) and (random.random() < self.staged or not found[False])
        source, moments = found[from_stage][int(random.integers(len(found[from_stage])))]
        key = int(random.choice(moments))
        size = layout[2] * CANVAS[0] // 16, layout[3] * CANVAS[1] // 16
        cut = choose_cut(source, key, self.sampling, size[1] / size[0], random, whole=random.random() < 0.3)
        boxes, doing = people_in(source, key, cut.window)
        if random.random() < self.still:
            cut = Cut(np.full_like(cut.frames, key), cut.window)
            doing = [NAMES.index("stay")] * len(doing)
        frames = in_other_light(show(source, cut, size), random)
        if random.random() < 0.5:
            frames = frames.flip(-1)
            boxes = torch.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], 1)
        return frames, boxes, doing


# --- measuring ---


def key_moments(source: Source) -> list[int]:
    """The middle of each stretch of one action, of the first person."""
    labels = source.labels[:, 0]
    edges = np.flatnonzero(np.diff(np.concatenate([[NOBODY], labels, [NOBODY]])))
    middles = [(a + b) // 2 for a, b in pairwise(edges.tolist()) if labels[a] != NOBODY]
    return [middle for middle in middles if np.isfinite(source.boxes[middle, 0, 0])]


def as_filmed(sources: Sequence[Source], sampling: KeyFrameSampling) -> list[tuple[Source, int, dict[str, Tensor]]]:
    """Whole pictures around each action's middle, cut to the canvas's shape around the person."""
    items: list[tuple[Source, int, dict[str, Tensor]]] = []
    random = np.random.default_rng(0)
    for source in sources:
        for key in key_moments(source):
            cut = choose_cut(source, key, sampling, CANVAS[1] / CANVAS[0], random, whole=True)
            part = (show(source, cut, CANVAS), *people_in(source, key, cut.window))
            items.append((source, key, item_of([part], len(items))))
    return items


def composed(sources: Sequence[Source], sampling: KeyFrameSampling) -> list[dict[str, Tensor]]:
    """The same moments, four to a frame, shuffled by seed 0; those left over fill up from the start."""
    random = np.random.default_rng(0)
    moments = [(source, key) for source in sources for key in key_moments(source)]
    order = random.permutation(len(moments)).tolist()
    order += order[: -len(order) % 4]
    items: list[dict[str, Tensor]] = []
    for start in range(0, len(order), 4):
        parts: list[tuple[Tensor, Tensor, list[int]]] = []
        for place in order[start : start + 4]:
            source, key = moments[place]
            size = CANVAS[0] // 2, CANVAS[1] // 2
            cut = choose_cut(source, key, sampling, size[1] / size[0], random, whole=False)
            parts.append((show(source, cut, size), *people_in(source, key, cut.window)))
        items.append(item_of(parts, len(items)))
    return items


def summary(scenes: Scenes) -> str:
    """How many sources there are, and how often the detector was sure."""
    real = [source for source in scenes.sources if not source.name.startswith("stage")]
    lost = [source.name for source in real if not len(source.moments())]
    share = float(np.mean(np.concatenate([source.found for source in real])))
    return json.dumps({"sources": len(scenes.sources), "real": len(real), "sure": round(share, 3), "lost": lost})
