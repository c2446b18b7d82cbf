"""The built-in person detector against its teacher's confident boxes, on frames that its training never saw.

    python recipes/builtin_person_detector.py label --data ../shared/data --out runs/person
    python benchmarks/person_detector_quality.py --labels runs/person/held_out.pt [--pictures FOLDER]

A box is right when it overlaps one that FastestDet scored 0.5 and more by half or more (each claimed once, the surest
first). Boxes that overlap by half only one that FastestDet was unsure of (0.2 to 0.5), or lie mostly within it, count
neither for nor against; `strict` counts them as wrong. These are a teacher's boxes, not people's: the figures say how
well the small network stands in for the larger one, and what the teacher misses nobody counts.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torchvision.ops import box_iou

from muybridge.people.detector import Detections
from muybridge.people.detectors import load_detector

SURE, MATCH = 0.5, 0.5
THRESHOLDS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)


def judge(found: Detections, boxes: torch.Tensor, sure: torch.Tensor, threshold: float) -> tuple[int, int, int]:
    """Right, wrong, and neither, of one frame's boxes scored `threshold` and more."""
    mine = torch.from_numpy(found.boxes[found.scores >= threshold])
    overlaps = box_iou(mine, boxes[sure])
    free = torch.ones(int(sure.sum()), dtype=torch.bool)
    right, wrong, neither = 0, 0, 0
    for box, row in zip(mine, overlaps, strict=True):
        open_row = torch.where(free, row, 0.0)
        if len(open_row) and open_row.max() >= MATCH:
            free[open_row.argmax()] = False
            right += 1
            continue
        unsure = boxes[~sure]
        near = box_iou(box[None], unsure)[0] >= MATCH
        shared = (torch.minimum(box[2:], unsure[:, 2:]) - torch.maximum(box[:2], unsure[:, :2])).clamp(min=0).prod(1)
        within = shared / (box[2:] - box[:2]).prod() >= 0.7
        if bool((near | within).any()):
            neither += 1
        else:
            wrong += 1
    return right, wrong, neither


def scores_of(rows: Sequence[Mapping[str, Any]], found: Sequence[Detections], threshold: float) -> dict[str, float]:
    """Precision and recall over all frames."""
    counts = np.array(
        [judge(each, row["boxes"], row["scores"] >= SURE, threshold) for row, each in zip(rows, found, strict=True)]
    ).reshape(-1, 3)
    right, wrong, neither = counts.sum(0).tolist()
    truth = sum(int((row["scores"] >= SURE).sum()) for row in rows)
    precision, recall = right / max(1, right + wrong), right / max(1, truth)
    return {
        "precision": round(precision, 3),
        "strict": round(right / max(1, right + wrong + neither), 3),
        "recall": round(recall, 3),
        "f1": round(2 * precision * recall / max(1e-9, precision + recall), 3),
        "people": truth,
    }


def group_of(name: str) -> str:
    """What a frame belongs to, for a table by source."""
    parts = name.split("/")
    return parts[1] if parts[0] == "clips" else parts[1].split("#")[0]


def draw(rows: Sequence[Mapping[str, Any]], found: Sequence[Detections], folder: Path, threshold: float) -> None:
    """Sheets of frames: the detector's boxes yellow, the teacher's sure ones green and unsure ones grey."""
    folder.mkdir(parents=True, exist_ok=True)
    size = (320, 240)
    for number, start in enumerate(range(0, len(rows), 20)):
        sheet = Image.new("RGB", (5 * size[0], 4 * size[1]))
        for place, (row, each) in enumerate(zip(rows[start : start + 20], found[start : start + 20], strict=True)):
            image = Image.fromarray(row["frame"].permute(1, 2, 0).numpy())
            pen = ImageDraw.Draw(image)
            for box, score in zip(row["boxes"].tolist(), row["scores"].tolist(), strict=True):
                pen.rectangle(box, outline="lime" if score >= SURE else "grey", width=1)
            for box, score in zip(each.boxes.tolist(), each.scores.tolist(), strict=True):
                if score >= threshold:
                    pen.rectangle(box, outline="yellow", width=2)
                    pen.text((box[0] + 2, max(0, box[1])), f"{score:.2f}", fill="yellow")
            image.thumbnail(size)
            sheet.paste(image, (place % 5 * size[0], place // 5 * size[1]))
        sheet.save(folder / f"sheet{number}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, default=Path("runs/person/held_out.pt"))
    parser.add_argument("--detector", default="person")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--every", type=int, default=1, help="look at one frame of so many")
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = torch.load(args.labels, weights_only=True)[:: args.every]
    detector = load_detector(args.detector, device="cpu")
    found = [detector(row["frame"].permute(1, 2, 0).numpy()[None])[0] for row in rows]
    if args.pictures:
        order = np.random.default_rng(0).permutation(len(rows))
        draw([rows[i] for i in order], [found[i] for i in order], args.pictures, args.threshold)
    for threshold in THRESHOLDS:
        print(threshold, json.dumps(scores_of(rows, found, threshold)))
    groups = [group_of(row["name"]) for row in rows]
    for group in sorted(set(groups)):
        chosen = [i for i, name in enumerate(groups) if name == group]
        print(group, json.dumps(scores_of([rows[i] for i in chosen], [found[i] for i in chosen], args.threshold)))


if __name__ == "__main__":
    main()
