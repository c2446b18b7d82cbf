"""Small localizers with random weights, and videos in which people are known, for the tests of localizing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from muybridge.data.annotations.table import AnnotationRows, Annotations
from muybridge.data.label_maps import LabelMap
from muybridge.data.localization import BankSpan
from muybridge.localize.localizer import Localizer
from muybridge.localize.objective import build_localizer
from muybridge.localize.options import LocalizerConfig
from muybridge.media.video_reader import Frame
from muybridge.media.video_writer import VideoWriter
from muybridge.models.acar.slowfast import SlowFastConfig
from muybridge.people.sightings import Sighting

# Two poses that exclude each other and one more action, with ids as files number them.
LABELS = LabelMap(("stand", "walk", "carry"), (3, 7, 12), ((0, 1),))
SLOWFAST = SlowFastConfig(
    blocks=(1, 1, 1, 1), width=8, fast_ratio=2, alpha=2, lateral_kernel=3, frames=4, frame_step=6, short_side=64
)
SIZE = (96, 64)  # width and height of the videos: what the model sees is then the video's own pixels
RATE = 10


def small_localizer(
    *, trunk: str = "slowfast", head: str = "acar", seed: int = 0, bank_span: BankSpan | None = None, **options
) -> Localizer:
    """Four frames, five a second, around a key frame; logits large enough to differ."""
    torch.manual_seed(seed)
    slowfast = SLOWFAST if trunk == "slowfast" else None
    config = LocalizerConfig(
        trunk=trunk, slowfast=slowfast, head=head, reduced=16, hidden=8, depth=1, frames=4, rate=5.0, short_side=64
    )
    built = build_localizer(config, len(LABELS))
    with torch.no_grad():
        for name, parameter in built.network.head.named_parameters():
            # Features of a trained image model are larger than those of a random network.
            if name in ("fc2.weight", "fc.weight"):
                parameter.mul_(30 if trunk == "slowfast" else 3)
            elif parameter.ndim == 4 and trunk == "slowfast":
                parameter.mul_(2)
    return Localizer(
        built.network,
        built.config,
        LABELS,
        built.sampling,
        backbone=built.backbone,
        bank_span=bank_span,
        device="cpu",
        **options,
    )


def noise_frames(count: int, *, rate: int = RATE, size: tuple[int, int] = SIZE, seed: int = 0) -> list[Frame]:
    """Smooth random pictures, each a little another, so that they are one shot."""
    random = np.random.default_rng(seed)
    steady, changing = (random.integers(0, 256, (number, 8, 12, 3)) for number in (1, count))
    small = (0.7 * steady + 0.3 * changing).astype(np.uint8)
    width, height = size
    images = small.repeat(height // 8, axis=1).repeat(width // 12, axis=2)
    return [Frame(image, Fraction(index, rate), index) for index, image in enumerate(images)]


def write_frames(path: Path, frames: Sequence[Frame], *, rate: int = RATE) -> Path:
    """As a video file, nearly without loss."""
    height, width = frames[0].image.shape[:2]
    with VideoWriter(path, width=width, height=height, rate=Fraction(rate), crf=4) as writer:
        for frame in frames:
            writer.write(frame.image, frame.pts_seconds)
    return path


def annotations_of(
    rows: Sequence[tuple[str, float, Sequence[float], int, int]], *, scores: Sequence[float] | None = None
) -> Annotations:
    """(video, seconds, normalised box, class id, person) rows."""
    collected = AnnotationRows("normalised")
    for number, (video, seconds, box, label, person) in enumerate(rows):
        score = None if scores is None else scores[number]
        collected.add(video, seconds, box, label=label, person=None if person < 0 else person, score=score)
    return collected.annotations()


def two_people(video: str, seconds: Sequence[float]) -> Annotations:
    """One who stands at the left, one who walks to the right, at the given times."""
    rows: list[tuple[str, float, Sequence[float], int, int]] = []
    for time in seconds:
        rows.append((video, time, (0.05, 0.2, 0.3, 0.9), 3, 0))
        rows.append((video, time, (0.4 + 0.1 * time, 0.3, 0.6 + 0.1 * time, 0.95), 7, 1))
    return annotations_of(rows)


@dataclass
class MovingPeople:
    """A source of people that walk evenly: person i at x = 0.1 i + speed * t. Fails at the times in `blind`."""

    count: int = 2
    speed: float = 0.05
    blind: frozenset[float] = frozenset()
    asked: list[float] = field(default_factory=list[float])
    notes: list[str] = field(default_factory=list[str])

    def boxes_at(self, seconds: float) -> NDArray[np.float32]:
        left = 0.1 * np.arange(self.count) + self.speed * seconds
        return np.stack([left, np.full(self.count, 0.2), left + 0.08, np.full(self.count, 0.8)], 1).astype(np.float32)

    def look(self, image: NDArray[np.uint8], seconds: float) -> Sighting | None:
        self.asked.append(seconds)
        if round(seconds, 3) in self.blind:
            return None
        return Sighting(self.boxes_at(seconds), np.arange(self.count) + 1, np.full(self.count, 0.9, np.float32))
