"""What is compared with its reference: the work, how large it is, and what both answer."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muybridge.bench.references import (
    PlainModel,
    PublishedHead,
    conv3d_on_copy,
    decode_everything,
    published_swap,
)
from muybridge.data.textures import draw_texture
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter
from muybridge.models.acar.actors import Actors, ContextMap
from muybridge.models.acar.head import ACARConfig, ACARHead
from muybridge.models.avatar_net.network import (
    AvatarNet,
    Decoration,
    encode_style,
    fit_whitening,
    fusion_targets,
    recolour,
)
from muybridge.models.avatar_net.patch_swap import match_patches, rebuild_from_matches
from muybridge.models.st_adapter.sets import AdapterBank, trained_state
from muybridge.models.st_adapter.stream import CausalStream
from muybridge.models.st_adapter.temporal_conv import depthwise_conv
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT

RATE = Fraction(25)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two ways to do the same work.

    Attributes:
        about: the sizes, for the reader.
        reference, ours: do it once; where their answers should be equal, both return them.
        limit: what ours is bounded by: "matrix" products, reading and writing "memory", or nothing that is measured.
        bytes_moved: read and written at least, where memory is the limit.
        trains: whether gradients are wanted.
        spares: what the reference does without, where it is no other way to do the same.
        close: called when all is done.
    """

    about: str
    reference: Callable[[], Tensor | None]
    ours: Callable[[], Tensor | None]
    limit: str = ""
    bytes_moved: int = 0
    trains: bool = False
    spares: str = ""
    close: Callable[[], None] | None = None


def our_swap(content: Tensor, style: Tensor) -> Tensor:
    """As `published_swap`, of which it gives the first."""
    return rebuild_from_matches(style, match_patches(content, style, patch_size=5), patch_size=5)


def swap(quick: bool) -> Comparison:
    return swap_of(24, 64) if quick else swap_of(48, 512)


def swap_of(side: int, channels: int) -> Comparison:
    """Of a square map on another of its size."""
    content, style = torch.randn(channels, side, side), torch.randn(channels, side, side)
    about = f"{side}x{side} on {side}x{side}, {channels} channels, patches of 5"
    return Comparison(about, lambda: published_swap(content, style)[0], lambda: our_swap(content, style), "matrix")


def painting(quick: bool) -> Comparison:
    return painting_of(96 if quick else 384)


def painting_of(side: int) -> Comparison:
    """Of a square picture of so many pixels, with random weights: the work is the same."""
    how = Decoration()
    network = AvatarNet().eval().to(memory_format=torch.channels_last)
    picture = torch.rand(1, 3, side, side).mul(255).contiguous(memory_format=torch.channels_last)
    code = encode_style(network.encoder(torch.rand(1, 3, side, side) * 255))

    def paint(swapped: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        content = network.encode(picture)
        whitened = fit_whitening(content.z).forward(content.z)
        z = recolour(content.z, whitened, swapped(whitened, code.whitened), code, how)
        return network.decode(z, fusion_targets(content.statistics, [(1.0, code)], how))

    return Comparison(
        f"{side}x{side}, VGG-19's widths, against the same with the published swap",
        lambda: paint(lambda content, style: published_swap(content, style)[0]),
        lambda: paint(our_swap),
        "matrix",
    )


def head(quick: bool) -> Comparison:
    people, grid = (6, (8, 14)) if quick else (50, (16, 29))
    network = ACARHead(ACARConfig(depth=1 if quick else 2)).eval()
    context = torch.randn(1, network.config.context_channels, *grid)
    corner = torch.rand(people, 2) * 0.7
    boxes = torch.cat([corner, corner + 0.05 + torch.rand(people, 2) * 0.25], dim=1)
    together, published = Actors.from_clips([boxes]), PublishedHead(network)
    return Comparison(
        f"{people} people on a map of {grid[0]}x{grid[1]}, depth {network.config.depth}",
        lambda: published(context, [boxes]),
        lambda: network(ContextMap(context), together),
        "matrix",
    )


def step(quick: bool) -> Comparison:
    name, frames, side = ("vit_tiny_patch16_224", 4, 224) if quick else ("vit_base_patch16_224", 4, 224)
    clip = torch.randn(1, frames, 3, side, side)
    plain = PlainModel(_backbone(name), 400)
    ours = VideoViT(_backbone(name), 400, adapters=AdapterConfig(width=384), dropout=0.0)
    about = f"one clip of {frames} frames, {name}, float32, against attention and Conv3d written out"
    return Comparison(about, _training_step(plain, clip), _training_step(ours, clip), "matrix", trains=True)


def stream(quick: bool) -> Comparison:
    name = "vit_tiny_patch16_224" if quick else "vit_base_patch16_224"
    bare, image = _backbone(name), torch.randn(1, 3, 224, 224)
    adapted = VideoViT(_backbone(name), 400, adapters=AdapterConfig(causal=True, width=384)).eval()
    live = CausalStream(adapted, 16)

    def reference() -> None:
        bare(image)

    def ours() -> None:
        live(image)

    about = f"a frame, {name}, against the bare image model on one image"
    return Comparison(about, reference, ours, spares="it has no adapters, and remembers nothing of frames before")


def mixed(quick: bool) -> Comparison:
    name, frames = ("vit_tiny_patch16_224" if quick else "vit_base_patch16_224"), 2
    model = VideoViT(_backbone(name), 400, adapters=AdapterConfig(width=384)).eval()
    bank = AdapterBank(model, [trained_state(model) for _ in range(4)])
    clips, choice = torch.randn(4, frames, 3, 224, 224), bank.select(torch.arange(4))
    about = f"4 clips of {frames} frames, {name}, each with another's adapters, against one set for all"
    spares = "all its clips have the same adapters"
    return Comparison(about, lambda: model(clips), lambda: model(clips, choice), spares=spares)


def over_time(quick: bool) -> Comparison:
    clips = 1 if quick else 2
    x = torch.randn(clips, 8, 14, 14, 384)
    weight, bias = torch.randn(384, 1, 3, 1, 1), torch.randn(384)
    return Comparison(
        f"depthwise over 3 frames, {clips}x8x14x14, 384 channels, against Conv3d on a permuted copy",
        lambda: conv3d_on_copy(x, weight, bias),
        lambda: depthwise_conv(x, weight, bias, time_padding=(1, 1)),
        "memory",
        2 * x.numel() * x.element_size(),
    )


def reading(quick: bool) -> Comparison:
    width, height, seconds = (320, 180, 4) if quick else (1280, 720, 6)
    # In the middle of frames, so that rounding decides nothing.
    wanted = [n * seconds / 32 + 0.03 for n in range(16)]
    folder = tempfile.TemporaryDirectory()
    path = draw_film(Path(folder.name), width, height, seconds)

    def ours() -> Tensor:
        with VideoReader(path) as reader:
            return torch.stack([torch.from_numpy(f.image) for f in reader.frames_at_seconds(wanted)])

    def reference() -> Tensor:
        return decode_everything(str(path), wanted)

    about = f"16 frames of the first half of {seconds} s at {width}x{height}, against decoding all"
    return Comparison(about, reference, ours, close=folder.cleanup)


def draw_film(folder: Path, width: int, height: int, seconds: float) -> Path:
    """A film of a texture that drifts."""
    texture = draw_texture("strokes", seed=3, size=max(width, height) + 256)
    path = folder / "film.mp4"
    with VideoWriter(path, width=width, height=height, rate=RATE) as writer:
        for number in range(round(seconds * RATE)):
            top, left = number % 128, (2 * number) % 256
            writer.write(np.ascontiguousarray(texture[top : top + height, left : left + width]))
    return path


def _backbone(name: str) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, num_classes=0).eval()


def _training_step(model: nn.Module, clip: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    label = torch.zeros(1, dtype=torch.int64)

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(clip), label).backward()
        optimizer.step()

    return run


COMPARISONS: dict[str, Callable[[bool], Comparison]] = {
    "style swap": swap,
    "whole painting": painting,
    "ACAR head": head,
    "training step": step,
    "live stream": stream,
    "mixed adapters": mixed,
    "convolution over time": over_time,
    "reading a clip": reading,
}
