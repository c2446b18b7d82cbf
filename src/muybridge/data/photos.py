"""Still pictures as training data: seeded random crops of photographs and textures."""

import warnings
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from muybridge.counts import counted
from muybridge.data.clips.shards import are_shards, on_disk, pictures_of_shards
from muybridge.data.sampling import Draw
from muybridge.data.textures import TEXTURE_KINDS, draw_texture
from muybridge.errors import InputError, MissingInput
from muybridge.media.images import open_picture
from muybridge.media.sources import expand_sources

RGB = NDArray[np.uint8]
# Of decoded photographs, in each process that reads; what is more is decoded each time.
_MOST_KEPT_BYTES = 1 << 30


def find_photographs(names: Sequence[str]) -> list[Path]:
    """Photographs of files, folders, globs, and tar shards as `muybridge.data.clips.shards` knows them.

    A folder may hold both, photographs and shards of such. What cannot be read of a shard is a warning.

    Raises:
        MissingInput, InputError: a name leads to nothing, or its place does not answer.
    """
    paths: list[Path] = []
    for name in names:
        are_in_shards = are_shards(Path(name))
        if are_in_shards:
            found, notes = pictures_of_shards(Path(name))
            for note in notes:
                warnings.warn(note, RuntimeWarning, stacklevel=2)
            paths += found
            if Path(name).suffix.lower() == ".tar" or not Path(name).is_dir():
                continue
        with suppress(MissingInput) if are_in_shards else nullcontext():
            paths += [source.path for source in expand_sources([name]) if source.kind == "image"]
    return paths


@dataclass(frozen=True)
class CropConfig:
    """How a training crop is taken.

    Attributes:
        short_side: pixels that the picture's short side is scaled to, chosen between these two.
        crop: side of the square crop in pixels; at most the smaller short side.
    """

    short_side: tuple[int, int] = (512, 512)
    crop: int = 256


def random_crop(picture: Image.Image, config: CropConfig, random: np.random.Generator) -> Tensor:
    """A scaled, cropped and perhaps mirrored part of a picture: (3, crop, crop) float32 RGB in [0, 255].

    Only the cropped part is resampled.
    """
    width, height = picture.size
    side = random.integers(config.short_side[0], config.short_side[1] + 1)
    window = config.crop * min(width, height) / side
    left, top = random.uniform(0, width - window), random.uniform(0, height - window)
    box = (left, top, left + window, top + window)
    crop = picture.resize((config.crop, config.crop), Image.Resampling.BICUBIC, box=box)
    pixels = np.array(crop, dtype=np.float32)
    if random.random() < 0.5:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    return torch.from_numpy(pixels).permute(2, 0, 1)


def recolour(pixels: Tensor, random: np.random.Generator) -> Tensor:
    """Another palette for the same texture by a random colour matrix and contrast: (3, H, W) in [0, 255]."""
    matrix = torch.from_numpy(random.dirichlet(np.full(3, 0.7), 3).astype(np.float32))
    centred = torch.einsum("ij,jhw->ihw", matrix, pixels - 127.5)
    contrast, shift = float(random.uniform(0.5, 1.8)), torch.from_numpy(random.normal(0, 35, 3).astype(np.float32))
    return (centred * contrast + 127.5 + shift[:, None, None]).clamp(0, 255)


def decode_photograph(path: Path, config: CropConfig) -> Image.Image:
    """In RGB, a JPEG perhaps at a fraction of its size that is enough for crops.

    Raises:
        InputError: it cannot be read.
    """
    with on_disk(path) as file, open_picture(file) as opened:
        side = 2 * config.short_side[1]
        opened.draft("RGB", (side, side))
        return opened.convert("RGB")


def warn_of_unreadable(error: InputError) -> None:
    """One line for a photograph that is left out."""
    warnings.warn(f"left out: {error}", RuntimeWarning, stacklevel=2)


class PhotoCrops(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Random crops of photographs, each with a second picture to serve as its style.

    Indexed by `Draw`: the draw's seed decides crop and style, so that a run can be repeated. An item is
    {"photo": (3, S, S), "style": (3, S, S)}, float32 RGB in [0, 255]. The style is, in equal parts, a texture
    drawn by code, another photograph, and either of them recoloured. In place of a photograph that cannot be read
    comes the next one that can, whatever the process; a warning names it once.

    Raises (on indexing):
        InputError: none of them can be read.
    """

    def __init__(self, paths: Sequence[Path], config: CropConfig, *, texture_seeds: int = 0) -> None:
        self.paths, self.config = list(paths), config
        self._texture_seeds = texture_seeds
        self._pictures: dict[int, Image.Image] = {}
        self._kept_bytes = 0
        self._textures: dict[int, Image.Image] = {}
        # Shared with the processes that read, so that no second one tries and names a photograph that failed.
        self._unreadable = torch.zeros(len(self.paths), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        random = np.random.default_rng(draw.seed)
        photo = random_crop(self._picture(draw.index), self.config, random)
        if not self._texture_seeds:
            return {"photo": photo}
        if random.random() < 0.6:
            style = random_crop(self._texture(int(random.integers(self._texture_seeds))), self.config, random)
        else:
            style = random_crop(self._picture(int(random.integers(len(self.paths)))), self.config, random)
        if random.random() < 0.4:
            style = recolour(style, random)
        return {"photo": photo, "style": style}

    def _picture(self, index: int) -> Image.Image:
        reason = ""
        for place in (*range(index, len(self.paths)), *range(index)):
            if place in self._pictures:
                return self._pictures[place]
            if self._unreadable[place]:
                continue
            try:
                return self._read(place)
            except InputError as error:
                self._unreadable[place] = True
                reason = f", at last: {error}"
                warn_of_unreadable(error)
        raise InputError(f"none of the {counted(len(self.paths), 'photograph')} can be read{reason}")

    def _read(self, index: int) -> Image.Image:
        picture = decode_photograph(self.paths[index], self.config)
        # At the largest size that a crop can ask for.
        scale = self.config.short_side[1] / min(picture.size)
        if scale < 1:
            size = (round(picture.width * scale), round(picture.height * scale))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        needed = picture.width * picture.height * len(picture.getbands())
        if self._kept_bytes + needed <= _MOST_KEPT_BYTES:
            self._pictures[index] = picture
            self._kept_bytes += needed
        return picture

    def _texture(self, seed: int) -> Image.Image:
        if seed not in self._textures:
            kind = TEXTURE_KINDS[seed % len(TEXTURE_KINDS)]
            size = max(self.config.short_side)
            self._textures[seed] = Image.fromarray(draw_texture(kind, seed=seed, size=size))
        return self._textures[seed]
