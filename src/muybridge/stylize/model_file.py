"""A stylizer's model file and a saved style: what may stand in them, checked before anything is built."""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch

from muybridge.artifacts import ModelFile, open_model
from muybridge.errors import ModelError, ModelMismatch
from muybridge.models.avatar_net.config import Projection
from muybridge.models.avatar_net.detailed import DetailedAvatarNet, DetailedConfig
from muybridge.models.avatar_net.network import EIGENVALUE_FLOOR, AvatarNet, AvatarNetConfig, StyleCode, StyleNetwork
from muybridge.models.avatar_net.patch_swap import Window
from muybridge.pretrained import FETCH_VGG19, VGG19, avatar_net_with_vgg19, encoder_fingerprint
from muybridge.schema import Fields, Within, build
from muybridge.weight_files import describe_differences, printable

TASK = "stylize"
_LIMITS = Fields(widths=Within(1, 4096), mean=Within(-1000, 1000))
_DETAILED_LIMITS = Fields(
    convolutions=Within(1, 4096, items=9), widths=Within(4, 4096), middle=Within(1, 16), eigenvalue_floor=Within(0, 1)
)
_STYLE_LIMITS = Fields(later=("floor", "window", "match_step"), floor=Within(0, 1), match_step=Within(1, 8))
_MOST_SKIPS = 4
_CONVOLUTIONS = 9


@dataclass(frozen=True)
class _Encoder:
    source: str
    sha256: str


@dataclass(frozen=True)
class _Contract:
    encoder: _Encoder | None = None


@dataclass(frozen=True)
class _StyleContract:
    name: str
    model: str
    projection: Projection
    floor: float = EIGENVALUE_FLOOR
    window: Window = "box"
    match_step: int = 1


@dataclass(frozen=True)
class _Nothing:
    pass


def architecture_of(network: StyleNetwork) -> dict[str, Any]:
    """What a model file's header says of a network."""
    design = "detailed" if isinstance(network, DetailedAvatarNet) else "paper"
    config = cast(AvatarNet | DetailedAvatarNet, network).config
    return {"design": design} | {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(config).items()}


def _described(architecture: Mapping[str, Any], source: str) -> StyleNetwork:
    """The network that a header describes, on whatever device is current. Older headers name no design."""
    numbers = dict(architecture)
    design = numbers.pop("design", "paper")
    if design == "detailed":
        config = build(DetailedConfig, numbers, source=source, at="architecture", fields=_DETAILED_LIMITS)
        if len(config.convolutions) != _CONVOLUTIONS:
            raise ModelError(f"{source}: architecture.convolutions must be {_CONVOLUTIONS} numbers")
        return DetailedAvatarNet(config)
    if design != "paper":
        name = printable(str(design)[:60])
        raise ModelMismatch(f"{source} has the design {name}, which this version does not know")
    return AvatarNet(build(AvatarNetConfig, numbers, source=source, at="architecture", fields=_LIMITS))


def load_network(file: ModelFile, *, encoder_weights: Path | None = None) -> StyleNetwork:
    """The network of a model file. A frozen public encoder is named there, not copied: it must be had and is checked.

    Args:
        encoder_weights: where that encoder is: a file, or the word "vgg19" to fetch it. Without it, it must have
            been fetched before.

    Raises:
        ModelError, ModelMismatch: the file does not hold the network that it describes, or stands on another encoder.
    """
    source = str(file.path)
    encoder = build(_Contract, file.contract, source=source, at="contract", fields=Fields(later=("encoder",))).encoder
    if encoder is None:
        with torch.device("meta"):
            file.require_fit(_described(file.architecture, source).state_dict(), what="the network")
        network = _described(file.architecture, source)
        network.load_state_dict({name: tensor.float() for name, tensor in file.tensors().items()})
        return network
    if encoder.source != VGG19:
        raise ModelMismatch(
            f"{source} needs the encoder {printable(encoder.source)}, which this version does not know"
        )
    prefix = "decoder."
    with torch.device("meta"):
        sketch = AvatarNet(AvatarNetConfig()).decoder.state_dict()
    file.require_fit({prefix + name: tensor for name, tensor in sketch.items()}, what="the decoder")
    fetch = str(encoder_weights) == FETCH_VGG19
    network = avatar_net_with_vgg19(None if fetch else encoder_weights, fetch=fetch)
    if encoder_fingerprint(network.encoder) != encoder.sha256:
        raise ModelMismatch(f"{source} was trained on another {VGG19} than the one found here: the weights differ")
    tensors = {name.removeprefix(prefix): tensor.float() for name, tensor in file.tensors().items()}
    network.decoder.load_state_dict(tensors)
    return network


def load_style(path: str | Path) -> tuple[str, StyleCode, str]:
    """A saved style: its name, its code, and the fingerprint of the network that made it.

    Raises:
        MissingInput, UnsafeModelFile, ModelMismatch, ModelError: as `muybridge.artifacts.open_model`, or the file's
            tensors are no style's.
    """
    file = open_model(path, task="style")
    source = str(file.path)
    build(_Nothing, file.architecture, source=source, at="architecture")
    contract = build(_StyleContract, file.contract, source=source, at="contract", fields=_STYLE_LIMITS)
    file.require_fit(_style_shapes(file), what="the style")
    tensors = {name: tensor.float() for name, tensor in file.tensors().items()}
    s3, s2, s1 = ((tensors[f"statistics.{i}.mean"], tensors[f"statistics.{i}.deviation"]) for i in range(3))
    levels = range(_skips(file))
    code = StyleCode(
        tensors["whitened"],
        tensors["mean"],
        tensors["colour"],
        (s3, s2, s1),
        contract.projection,
        contract.floor,
        contract.window,
        contract.match_step,
        tuple((tensors[f"skips.{i}.mean"], tensors[f"skips.{i}.colour"]) for i in levels),
        tuple(tensors.get(f"textures.{i}") for i in levels),
    )
    return contract.name, code, contract.model


def _skips(file: ModelFile) -> int:
    """Levels past the decorator that a style has something for."""
    there = (f"skips.{count}.mean" in file.layout for count in range(_MOST_SKIPS))
    return sum(itertools.takewhile(bool, there))


def _style_shapes(file: ModelFile) -> dict[str, torch.Tensor]:
    """What a style's tensors would be like, were its own free numbers right: (C, h, w), and one width a level."""

    def sizes(name: str, axes: int) -> tuple[int, ...]:
        shape = tuple(file.layout[name].shape) if name in file.layout else ()
        return shape if len(shape) == axes and min(shape) > 0 else (1,) * axes

    channels, height, width = sizes("whitened", 3)
    shapes: dict[str, tuple[int, ...]] = {
        "whitened": (channels, height, width),
        "mean": (channels,),
        "colour": (channels, channels),
    }
    for level in range(3):
        wide = (1, sizes(f"statistics.{level}.mean", 4)[1], 1, 1)
        shapes |= {f"statistics.{level}.mean": wide, f"statistics.{level}.deviation": wide}
    for level in range(_skips(file)):
        width = sizes(f"skips.{level}.mean", 1)[0]
        shapes |= {f"skips.{level}.mean": (width,), f"skips.{level}.colour": (width, width)}
        if f"textures.{level}" in file.layout:
            shapes[f"textures.{level}"] = (width, *sizes(f"textures.{level}", 3)[1:])
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def style_differences(code: StyleCode, network: StyleNetwork) -> str:
    """How a style's widths differ from a network's, in one line; empty where they do not."""
    w1, w2, w3, w4 = network.widths
    wanted = {"whitened": torch.empty(w4, *code.whitened.shape[1:], device="meta")}
    given = {"whitened": code.whitened}
    for level, ((mean, _), width) in enumerate(zip(code.statistics, (w3, w2, w1), strict=True)):
        wanted[f"statistics.{level}.mean"] = torch.empty(1, width, 1, 1, device="meta")
        given[f"statistics.{level}.mean"] = mean
    for level, number in enumerate(network.skip_levels):
        width = network.widths[number]
        wanted[f"skips.{level}.mean"] = torch.empty(width, device="meta")
        if number in network.texture_levels:
            texture = code.textures[level] if level < len(code.textures) else None
            wanted[f"textures.{level}"] = torch.empty(
                width, *(texture.shape[1:] if texture is not None else (1, 1)), device="meta"
            )
    given |= {f"skips.{level}.mean": mean for level, (mean, _) in enumerate(code.skips)}
    given |= {f"textures.{level}": each for level, each in enumerate(code.textures) if each is not None}
    return describe_differences(wanted, given)
