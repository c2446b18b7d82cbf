"""Films in which a square wanders over a still picture, and a codebook of few numbers to read them by."""

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from muybridge.media.video_writer import VideoWriter
from muybridge.models.dense_motion.codebook import Codebook, Mixture
from muybridge.models.dense_motion.descriptors import HISTOGRAMS, SIZES, MotionConfig

WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SMALL = MotionConfig(short_side=48, cell=6)


def wandering(
    way: str, frames: int = 12, *, seed: int = 0, speed: float = 2.0, size: tuple[int, int] = (64, 64)
) -> NDArray[np.uint8]:
    """(frames, height, width, 3): a square that goes through the middle at its half time, so many pixels a frame."""
    random = np.random.default_rng(seed)
    height, width = size

    def texture(rows: int, columns: int) -> NDArray[np.uint8]:
        coarse = random.integers(0, 256, (-(-rows // 4), -(-columns // 4), 3))
        return np.kron(coarse, np.ones((4, 4, 1)))[:rows, :columns].astype(np.uint8)

    ground, square = texture(height, width), texture(16, 16)
    off_x, off_y = random.integers(-4, 5, 2)
    film = np.repeat(ground[None], frames, axis=0)
    for t in range(frames):
        far = speed * (t - (frames - 1) / 2)
        left = round(width / 2 - 8 + off_x + far * WAYS[way][0])
        top = round(height / 2 - 8 + off_y + far * WAYS[way][1])
        film[t, max(top, 0) : top + 16, max(left, 0) : left + 16] = square[
            max(-top, 0) : max(-top, 0) + min(16, height - top), max(-left, 0) : max(-left, 0) + min(16, width - left)
        ][: film.shape[1] - max(top, 0), : film.shape[2] - max(left, 0)]
    return film


def write_film(path: Path, pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], rate: int = 25) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, width=width, height=height, rate=Fraction(rate)) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


def small_codebook(config: MotionConfig = SMALL, seed: int = 0) -> Codebook:
    draw = torch.Generator().manual_seed(seed)

    def mixture(size: int) -> Mixture:
        components = torch.randn(size, 4, generator=draw) * (2 / math.sqrt(size)) * 3
        return Mixture(
            torch.full((size,), 0.5 / math.sqrt(size)),
            components,
            torch.full((3,), 1 / 3),
            torch.randn(3, 4, generator=draw),
            torch.ones(3, 4),
        )

    return Codebook({name: mixture(SIZES[name]) for name in HISTOGRAMS}, config)
