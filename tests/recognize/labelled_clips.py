"""Folders of tiny clips whose class is the colour of a square that wanders over grey noise, and a tiny backbone."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from muybridge.media.video_writer import VideoWriter
from muybridge.models.backbones import create_backbone

COLORS = {"red": (230, 20, 20), "blue": (20, 20, 230), "green": (20, 200, 20)}


def write_clip(path: Path, color: tuple[int, int, int], seed: int, frames: int = 8) -> Path:
    """A clip of one second: 48 x 40 pixels."""
    random = np.random.default_rng(seed)
    with VideoWriter(path, width=48, height=40, rate=Fraction(8)) as writer:
        top = int(random.integers(0, 16))
        for t in range(frames):
            picture = random.integers(60, 120, (40, 48, 3)).astype(np.uint8)
            picture[top : top + 22, 2 * t : 2 * t + 26] = color
            writer.write(picture)
    return path


def write_folders(root: Path, counts: dict[str, int]) -> Path:
    """One folder a class, with so many clips each; names hold spaces."""
    for number, (name, count) in enumerate(counts.items()):
        for i in range(count):
            path = root / name / f"{name} clip {i}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_clip(path, COLORS[name], seed=1000 * number + i)
    return root


def write_list(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    """A CSV with a header."""
    path.write_text("path,label\n" + "".join(f'"{clip}",{label}\n' for clip, label in rows))
    return path


def write_backbone(path: Path, seed: int = 0) -> Path:
    """Random weights of timm's smallest ViT, as a file, so that its hash stays the same."""
    torch.manual_seed(seed)
    state = create_backbone("test_vit", pretrained=False).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path
