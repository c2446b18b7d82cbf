"""A stylizer's model file and a saved style: what may stand in them, checked before anything is built."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import torch

from muybridge.artifacts import ModelFile, open_model
from muybridge.errors import ModelMismatch
from muybridge.models.avatar_net.detailed import BANDS, QUANTILES, DetailedAvatarNet, DetailedConfig
from muybridge.models.avatar_net.network import (
    EIGENVALUE_FLOOR,
    AvatarNet,
    AvatarNetConfig,
    Projection,
    StyleCode,
    StyleNetwork,
)
from muybridge.models.avatar_net.patch_swap import Window
from muybridge.pretrained_vgg19 import FETCH_VGG19, VGG19, avatar_net_with_vgg19, encoder_fingerprint
from muybridge.schema import Fields, Within, build
from muybridge.weight_files import describe_differences, printable

TASK = "stylize"
_LIMITS = Fields(widths=Within(1, 4096), mean=Within(-1000, 1000))
_DETAILED_LIMITS = Fields(
    convolutions=Within(1, 4096, items=9),
    widths=Within(4, 4096),
    middle=Within(0, 64),
    eigenvalue_floor=Within(0, 1000),
)
# What a style's header says of how it was looked at, and is to be used.
STYLE_NUMBERS = ("projection", "floor", "window", "match_step", "coherence", "softness")
_STYLE_FIELDS = Fields(later=STYLE_NUMBERS[1:])


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
    floor: Annotated[float, Within(0, 1000)] = EIGENVALUE_FLOOR
    window: Window = "box"
    match_step: Annotated[int, Within(1, 64)] = 1
    coherence: Annotated[float, Within(0, 2)] = 0.0
    softness: Annotated[float, Within(0, 1000)] = 0.0


@dataclass(frozen=True)
class _Nothing:
    pass


def architecture_of(network: StyleNetwork) -> dict[str, Any]:
    """What a model file's header says of a network; `_sketch` is the way back."""
    design = {"design": "detailed"} if isinstance(network, DetailedAvatarNet) else {}
    config = cast(AvatarNet | DetailedAvatarNet, network).config
    return design | {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(config).items()}


def _sketch(architecture: Mapping[str, Any], source: str) -> StyleNetwork:
    """The network that a header describes, with weights yet to be loaded; on the device in force."""
    numbers = dict(architecture)
    design = numbers.pop("design", "paper")
    if design == "paper":
        return AvatarNet(build(AvatarNetConfig, numbers, source=source, at="architecture", fields=_LIMITS))
    if design != "detailed":
        raise ModelMismatch(f"{source} holds a network of the design {printable(str(design))}, which is not known")
    config = build(DetailedConfig, numbers, source=source, at="architecture", fields=_DETAILED_LIMITS)
    if len(config.convolutions) != 9 or not config.suits_levels:
        raise ModelMismatch(f"{source} describes a network whose levels show more channels than there are")
    return DetailedAvatarNet(config)


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
            file.require_fit(_sketch(file.architecture, source).state_dict(), what="the network")
        whole = _sketch(file.architecture, source)
        whole.load_state_dict({name: tensor.float() for name, tensor in file.tensors().items()})
        return whole
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
    contract = build(_StyleContract, file.contract, source=source, at="contract", fields=_STYLE_FIELDS)
    file.require_fit(_style_shapes(file), what="the style")
    tensors = {name: tensor.float() for name, tensor in file.tensors().items()}
    statistics = [name for name in ("0", "1", "2", "3", "4") if f"statistics.{name}.mean" in tensors]
    count = _skip_count(file)
    code = StyleCode(
        tensors["whitened"],
        tensors["mean"],
        tensors["colour"],
        tuple((tensors[f"statistics.{name}.mean"], tensors[f"statistics.{name}.deviation"]) for name in statistics),
        contract.projection,
        contract.floor,
        contract.window,
        contract.match_step,
        contract.coherence,
        contract.softness,
        tuple((tensors[f"skips.{i}.mean"], tensors[f"skips.{i}.colour"]) for i in range(count)),
        tuple(tensors.get(f"textures.{i}") for i in range(count)),
    )
    return contract.name, code, contract.model


def _skip_count(file: ModelFile) -> int:
    return sum(f"skips.{level}.mean" in file.layout for level in range(4))


def _style_shapes(file: ModelFile) -> dict[str, torch.Tensor]:
    """What a style's tensors would be like, were its own free numbers right: (C, h, w), and one width a level."""

    def sizes(name: str, axes: int) -> tuple[int, ...]:
        shape = tuple(file.layout[name].shape) if name in file.layout else ()
        return shape if len(shape) == axes and min(shape) > 0 else (1,) * axes

    channels, height, across = sizes("whitened", 3)
    shapes = {"whitened": (channels, height, across), "mean": (channels,), "colour": (channels, channels)}
    for level in range(3):
        wide = (1, sizes(f"statistics.{level}.mean", 4)[1], 1, 1)
        shapes |= {f"statistics.{level}.mean": wide, f"statistics.{level}.deviation": wide}
    if "statistics.3.mean" in file.layout:
        shapes |= {"statistics.3.mean": (1, 3, 1, 1), "statistics.3.deviation": (1, BANDS, 3, 3)}
    if "statistics.4.mean" in file.layout:
        spread = {"mean": (1, BANDS - 1, 3, 1), "deviation": (1, BANDS - 1, 3, QUANTILES)}
        shapes |= {f"statistics.4.{name}": shape for name, shape in spread.items()}
    for level in range(_skip_count(file)):
        (width,) = sizes(f"skips.{level}.mean", 1)
        shapes |= {f"skips.{level}.mean": (width,), f"skips.{level}.colour": (width, width)}
        if f"textures.{level}" in file.layout:
            finer = 8 >> level
            shapes[f"textures.{level}"] = (width, height * finer, across * finer)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def style_differences(code: StyleCode, network: StyleNetwork) -> str:
    """How a style's widths differ from a network's, in one line; empty where they do not."""
    w1, w2, w3, w4 = network.widths
    wanted = {"whitened": torch.empty(w4, *code.whitened.shape[1:], device="meta")}
    given = {"whitened": code.whitened}
    for level, ((mean, _), width) in enumerate(zip(code.statistics, (w3, w2, w1), strict=False)):
        wanted[f"statistics.{level}.mean"] = torch.empty(1, width, 1, 1, device="meta")
        given[f"statistics.{level}.mean"] = mean
    if isinstance(network, DetailedAvatarNet):
        wanted["statistics.3.deviation"] = torch.empty(1, BANDS, 3, 3, device="meta")
        wanted["statistics.4.deviation"] = torch.empty(1, BANDS - 1, 3, QUANTILES, device="meta")
    for level in range(3, len(code.statistics)):
        given[f"statistics.{level}.deviation"] = code.statistics[level][1]
    return describe_differences(wanted, given)
