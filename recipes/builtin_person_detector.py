"""Makes the built-in person detector, `src/muybridge/weights/person_detector.safetensors`.

    python recipes/builtin_person_detector.py label --data ../shared/data --out runs/person
    python recipes/builtin_person_detector.py train --data ../shared/data --out runs/person [--resume]
    python recipes/builtin_person_detector.py export --out runs/person

FastestDet (BSD-3) labels real frames: boxes of people scored 0.5 and more are taken for true, those from 0.2 on are
regions where nothing is learned. Its backbone, trained on COCO, stays as it is; pyramid and heads are new, which
halves the cost of a step. `HELD_OUT` names what training never sees: whole videos, scenes and subjects.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from muybridge.data.sampling import Draw
from muybridge.media.video_reader import VideoReader
from muybridge.models.boxes import clip_boxes_xyxy, flip_boxes_xyxy, has_area_xyxy
from muybridge.models.person_detector import PersonDetector
from muybridge.people.built_in import BuiltInDetector
from muybridge.people.detectors import load_detector
from muybridge.people.objective import PersonDetectorObjective
from muybridge.training.fit import CHECKPOINT, FitConfig, fit

WEIGHTS = Path(__file__).parents[1] / "src" / "muybridge" / "weights"
SURE, UNSURE = 0.5, 0.2
SHORT_SIDE = 256
CANVAS = (224, 320)
MOST_PEOPLE = 24
# Added to the logits of the shipped file: the score at which precision and recall balance becomes about 0.5.
LOGIT_SHIFT = 0.5

# Whole videos: a laboratory (two videos), a basketball game, a boy on a lawn, a family before a wall.
HELD_OUT_PEOPLE = (
    "S001C001P001R001A001_rgb.avi",
    "demo_skeleton.mp4",
    "test_video_structuralize.mp4",
    "test2.mp4",
    "schoolgirls.mp4",
)
PEOPLE_FRAMES = {"demo.mp4": 10, "one-by-one-person-detection.mp4": 60, "walking.mp4": 24, "people-detection.gif": 8}


def videos(data: Path, *, held_out: bool) -> list[tuple[Path, int]]:
    """Videos and the number of frames to take of each."""
    dark = sorted((data / "clips/dark_actions" / ("val" if held_out else "train")).rglob("*.mp4"))
    signs = sorted((data / "clips/signs").glob("*.mkv"))
    falls = sorted((data / "clips/falls").rglob("*.mp4"))
    people = sorted((data / "people").iterdir())
    found = [(path, 2) for path in dark]
    found += [(path, 3) for i, path in enumerate(signs) if (i % 3 == 0) == held_out]
    found += [(path, 6) for path in falls if (path.parts[-3] in {"Subject 1", "Subject 4"}) == held_out]
    found += [
        (path, PEOPLE_FRAMES.get(path.name, 12)) for path in people if (path.name in HELD_OUT_PEOPLE) == held_out
    ]
    return found


def photos(data: Path) -> list[Path]:
    """Photographs to train on."""
    folders = [data / "photos" / name for name in ("people", "content", "natural")]
    return [p for folder in folders for p in sorted(folder.glob("*.jpg"))] + sorted(
        (data / "photos/imagenet").glob("*.JPEG")
    )[::3]


def frames_of(data: Path, *, held_out: bool) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Names and frames (H, W, 3), their short side at most SHORT_SIDE."""
    for path, count in videos(data, held_out=held_out):
        with VideoReader(path) as reader:
            short = min(reader.info.width, reader.info.height)
            seconds = float(reader.info.duration_seconds or 0)
        with VideoReader(path, short_side=min(short, SHORT_SIDE)) as reader:
            times = [seconds * (i + 0.5) / count for i in range(count)]
            for number, frame in enumerate(reader.frames_at_seconds(times)):
                yield f"{path.relative_to(data)}#{number}", frame.image
    if held_out:
        return
    for path in photos(data):
        with Image.open(path) as image:
            image.draft("RGB", (SHORT_SIDE, SHORT_SIDE))
            picture = image.convert("RGB")
        factor = SHORT_SIDE / min(picture.size)
        if factor < 1:
            picture = picture.resize((round(picture.width * factor), round(picture.height * factor)))
        if max(picture.size) <= 3 * min(picture.size):
            yield str(path.relative_to(data)), np.asarray(picture)


def label(data: Path, out: Path) -> None:
    """Writes `train.pt` and `held_out.pt`: lists of {name, frame (3, H, W) uint8, boxes (n, 4), scores (n,)}."""
    out.mkdir(parents=True, exist_ok=True)
    teacher = load_detector(data / "weights/fastestdet/FastestDet.onnx", min_score=UNSURE, device="cpu")
    for part in ("train", "held_out"):
        rows: list[dict[str, Any]] = []
        for name, frame in frames_of(data, held_out=part == "held_out"):
            found = teacher(frame[None])[0]
            rows.append(
                {
                    "name": name,
                    "frame": torch.from_numpy(frame.copy()).permute(2, 0, 1).contiguous(),
                    "boxes": torch.from_numpy(found.boxes),
                    "scores": torch.from_numpy(found.scores),
                }
            )
        torch.save(rows, out / f"{part}.pt")
        sure = sum(int((row["scores"] >= SURE).sum()) for row in rows)
        print(f"{part}: {len(rows)} frames, {sure} people sure, {sum(len(r['scores']) for r in rows) - sure} unsure")


class Frames(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Labelled frames, scaled, cropped, mirrored, their colours changed; people of others pasted into some."""

    def __init__(self, rows: list[dict[str, Any]], length: int) -> None:
        self.rows, self.length = rows, length
        certain = [bool((r["scores"] >= SURE).any()) for r in rows]
        self.with_people = [i for i, some in enumerate(certain) if some]
        self.without = [i for i, some in enumerate(certain) if not some]
        # A person to cut out: wholly in the frame, and not of a few pixels.
        self.cut = [
            (i, j)
            for i in self.with_people
            for j, (box, score) in enumerate(zip(rows[i]["boxes"].tolist(), rows[i]["scores"].tolist(), strict=True))
            if score >= 0.65 and box[3] - box[1] >= 60 and box[0] > 2 and box[2] < rows[i]["frame"].shape[2] - 2
        ]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, draw: Draw) -> dict[str, torch.Tensor]:
        random = np.random.default_rng(draw.seed)
        pool = self.with_people if random.random() < 0.75 else self.without
        row = self.rows[pool[int(random.integers(len(pool)))]]
        frame, boxes, sure = scaled(row["frame"], row["boxes"], row["scores"] >= SURE, random)
        if random.random() < (0.2 if pool is self.with_people else 0.5):
            for _ in range(int(random.integers(1, 4))):
                boxes, sure = self.paste(frame, boxes, sure, random)
        frame = recoloured(frame, random)
        kind = torch.full((MOST_PEOPLE,), -1)
        kind[: len(boxes)] = sure[:MOST_PEOPLE].long()
        padded = torch.zeros(MOST_PEOPLE, 4)
        padded[: len(boxes)] = boxes[:MOST_PEOPLE]
        return {"frame": frame, "boxes": padded, "kind": kind}

    def paste(
        self, frame: torch.Tensor, boxes: torch.Tensor, sure: torch.Tensor, random: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Someone else into the frame, in place, with a soft edge; not over anyone."""
        i, j = self.cut[int(random.integers(len(self.cut)))]
        source = self.rows[i]["frame"]
        left, top, right, bottom = self.rows[i]["boxes"][j].round().int().tolist()
        person = source[:, max(top, 0) : bottom, max(left, 0) : right].float()
        height = float(random.uniform(50, CANVAS[0] * 0.95))
        width = height * person.shape[2] / person.shape[1]
        if width >= CANVAS[1] * 0.8:
            return boxes, sure
        size = (round(height), max(8, round(width)))
        person = F.interpolate(person[None], size, mode="bilinear", antialias=True)[0]
        if random.random() < 0.5:
            person = person.flip(-1)
        y, x = (int(random.integers(0, whole - part)) for whole, part in zip(CANVAS, size, strict=True))
        box = torch.tensor([[x, y, x + size[1], y + size[0]]], dtype=torch.float32)
        if len(boxes):
            corner = torch.minimum(boxes[:, 2:], box[:, 2:]) - torch.maximum(boxes[:, :2], box[:, :2])
            if (corner.clamp(min=0).prod(1) > 0.2 * (boxes[:, 2:] - boxes[:, :2]).prod(1)).any():
                return boxes, sure
        rows, columns = (torch.linspace(-1, 1, side).abs() for side in size)
        mask = ((1 - rows)[:, None] * 12).clamp(max=1) * ((1 - columns)[None] * 6).clamp(max=1)
        region = frame[:, y : y + size[0], x : x + size[1]]
        region.copy_(region * (1 - mask) + person * mask)
        return torch.cat([boxes, box]), torch.cat([sure, torch.tensor([True])])


def scaled(
    frame: torch.Tensor, boxes: torch.Tensor, sure: torch.Tensor, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random window of the frame, as float (3, *CANVAS); what is cut to less than half is unsure."""
    height, width = frame.shape[1:]
    zoom = float(np.exp(random.uniform(np.log(0.6), np.log(1.5)))) * max(CANVAS[0] / height, CANVAS[1] / width)
    stretch = float(np.exp(random.uniform(-0.12, 0.12)))
    rows, columns = CANVAS[0] / (zoom * stretch), CANVAS[1] * stretch / zoom
    top, left = (
        float(random.uniform(min(0, whole - part), max(0, whole - part)))
        for whole, part in ((height, rows), (width, columns))
    )
    y0, x0 = max(0, round(top)), max(0, round(left))
    y1, x1 = min(height, round(top + rows)), min(width, round(left + columns))
    fy, fx = CANVAS[0] / rows, CANVAS[1] / columns
    size = (min(CANVAS[0], max(1, round((y1 - y0) * fy))), min(CANVAS[1], max(1, round((x1 - x0) * fx))))
    window = frame[:, y0:y1, x0:x1].float()[None]
    window = F.interpolate(window, size, mode="bilinear", antialias=True)[0]
    canvas = torch.full((3, *CANVAS), float(random.uniform(0, 255)))
    oy, ox = (
        min(round((start - origin) * f), whole - part)
        for start, origin, f, whole, part in ((y0, top, fy, CANVAS[0], size[0]), (x0, left, fx, CANVAS[1], size[1]))
    )
    oy, ox = max(oy, 0), max(ox, 0)
    canvas[:, oy : oy + size[0], ox : ox + size[1]] = window
    moved = (boxes - torch.tensor([x0, y0, x0, y0])) * torch.tensor([fx, fy, fx, fy]) + torch.tensor([ox, oy, ox, oy])
    cut = clip_boxes_xyxy(moved, width=CANVAS[1], height=CANVAS[0])
    share = (cut[:, 2:] - cut[:, :2]).clamp(min=0).prod(1) / (moved[:, 2:] - moved[:, :2]).prod(1).clamp(min=1e-6)
    kept = has_area_xyxy(cut) & (share > 0.1)
    tall = (cut[:, 3] - cut[:, 1]) >= 8
    cut, sure = cut[kept], (sure & (share >= 0.5) & tall)[kept]
    if random.random() < 0.5:
        canvas, cut = canvas.flip(-1), flip_boxes_xyxy(cut, width=CANVAS[1])
    return canvas.contiguous(), cut, sure


def recoloured(frame: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Brightness, contrast, colour balance, grey, noise; uint8."""
    if random.random() < 0.15:
        frame = frame.mean(0, keepdim=True).expand(3, -1, -1)
    gains = torch.tensor(np.exp(random.normal(0, 0.25) + random.normal(0, 0.08, 3)), dtype=torch.float32)
    frame = (frame - 128) * gains[:, None, None] + 128 + float(random.normal(0, 20))
    if random.random() < 0.3:
        generator = torch.Generator().manual_seed(int(random.integers(1 << 40)))
        frame = frame + torch.randn(frame.shape[1:], generator=generator) * float(random.uniform(2, 12))
    return frame.clamp(0, 255).to(torch.uint8)


def collate(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Items stacked; `frames` first, by which the loop counts."""
    return {
        "frames": torch.stack([item["frame"] for item in items]),
        "boxes": torch.stack([item["boxes"] for item in items]),
        "kind": torch.stack([item["kind"] for item in items]),
    }


def fastestdet_backbone(path: Path) -> dict[str, torch.Tensor]:
    """Its ShuffleNetV2 under our names; the first layer's channels turned from BGR to RGB."""
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if not name.startswith("backbone."):
            continue
        ours = name.removeprefix("backbone.").replace("first_conv.", "stem.")
        ours = ours.replace("branch_main", "main").replace("branch_proj", "project")
        for number in (2, 3, 4):
            ours = ours.replace(f"stage{number}.", f"stages.{number - 2}.")
        renamed[ours] = tensor.flip(1) if ours == "stem.0.weight" else tensor
    return renamed


def start(data: Path) -> PersonDetector:
    """The network with FastestDet's backbone."""
    network = PersonDetector()
    weights = data / "weights/fastestdet/weight_AP05_0.253207_280-epoch.pth"
    missing, unexpected = network.load_state_dict(fastestdet_backbone(weights), strict=False)
    assert not unexpected and {name.split(".")[0] for name in missing} == {"lateral", "smooth", "heads"}
    return network


def train(data: Path, out: Path, *, steps: int, resume: bool) -> None:
    """Leaves `checkpoint.pt` in `out`."""
    torch.manual_seed(0)
    network = start(data)
    network.stem.requires_grad_(False)
    network.stages.requires_grad_(False)
    network.to(memory_format=torch.channels_last)
    rows = torch.load(out / "train.pt", weights_only=True)
    config = FitConfig(
        steps=steps,
        batch_size=16,
        learning_rate=2e-3,
        weight_decay=1e-4,
        warmup=30 / steps,
        schedule="cosine",
        clip_norm=5.0,
        save_every=40,
    )
    dataset = Frames(rows, 1 << 20)
    fit(
        PersonDetectorObjective(network),
        dataset,
        config,
        folder=out,
        resume=resume,
        collate=collate,
        accelerator="cpu",
        title="person detector",
    )


def export(data: Path, out: Path, artifact: Path) -> None:
    """The checkpoint's network in half precision, with where it comes from."""
    checkpoint = torch.load(out / CHECKPOINT, map_location="cpu", weights_only=True)
    rows = torch.load(out / "train.pt", weights_only=True)
    network = start(data)
    trained = {name.removeprefix("network."): tensor for name, tensor in checkpoint["state"].items()}
    missing, unexpected = network.load_state_dict(trained, strict=False)
    assert not unexpected and {name.split(".")[0] for name in missing} <= {"stem", "stages"}
    for head in network.heads:
        head.get_submodule("person.1").bias.data.add_(LOGIT_SHIFT)
    provenance = {
        "recipe": "recipes/builtin_person_detector.py",
        "frames": len(rows),
        "people": sum(int((row["scores"] >= SURE).sum()) for row in rows),
        "labels": "FastestDet (BSD-3), boxes scored 0.5 and more",
        "backbone": "FastestDet's ShuffleNetV2 (BSD-3)",
        "steps": checkpoint["step"],
        "seed": 0,
    }
    BuiltInDetector(network, short_side=SHORT_SIDE, device="cpu", provenance=provenance).save(artifact)
    print(f"{artifact}: {artifact.stat().st_size / 1e6:.2f} MB after {checkpoint['step']} steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["label", "train", "export"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/person"))
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--artifact", type=Path, default=WEIGHTS / "person_detector.safetensors")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    if args.what == "label":
        label(args.data, args.out)
    elif args.what == "train":
        train(args.data, args.out, steps=args.steps, resume=args.resume)
    else:
        export(args.data, args.out, args.artifact)


if __name__ == "__main__":
    main()
