"""Reads the weights that ACAR-Net's authors publish (arXiv 2006.07976) into `SlowFast` and the heads.

Their files hold a `state_dict`; trained with several processes, names are prefixed by `module.`, in front and again
inside. A file of the trunk alone has bare names. Nothing is taken over silently: the report names every tensor that
is missing, left unused or of another shape.

    trunk     {fast,slow}_conv1, _bn1, _res{1-4}.{i}.{conv,bn}{1-3}, .downsample.0, .downsample_bn, Tconv{1-4}
    head      conv_reduce, conv1, conv2, hr2o.{i}.{conv_q,conv_k,conv_v,conv,norm}, fc1, fc2; baseline: fc
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor

from muybridge.counts import counted
from muybridge.errors import ModelMismatch
from muybridge.models.acar.head import ACARConfig, ACARHead, BaselineConfig, BaselineHead
from muybridge.models.acar.slowfast import SlowFast
from muybridge.models.acar.slowfast_config import SLOWFAST_R50, SLOWFAST_R101, SlowFastConfig
from muybridge.weight_files import first_few, printable, require_ranks

HeadConfig = ACARConfig | BaselineConfig
_PREFIX = re.compile(r"^(?:module\.)?(?:(backbone|head)\.)?(?:module\.)?")
_MOST_LAYERS = 100  # of a stage; the deepest of the family has 36


@dataclass(frozen=True)
class ImportReport:
    """What became of every name, in the authors' spelling.

    Attributes:
        missing: wanted by the network, not in the file.
        unused: in the file, not wanted.
        mismatched: name, shape in the file and shape wanted.
        filled: counters of batch norms that old files lack and that nothing depends on; set to zero.
    """

    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether everything wanted was found, and everything found was wanted."""
        return not (self.missing or self.unused or self.mismatched)

    def require_complete(self) -> None:
        """Raise ModelMismatch, with the names, unless the file and the network fit exactly."""
        if self.is_complete:
            return
        parts = [
            f"{what}: {first_few([printable(name) for name in names])}"
            for what, names in (("missing", self.missing), ("unused", self.unused), ("shape", self.mismatched))
            if names
        ]
        raise ModelMismatch(
            f"The checkpoint does not fit the network. {'; '.join(parts)}. Configure it as inferred from the file."
        )


@dataclass(frozen=True, eq=False)
class ImportedCheckpoint:
    """State dicts ready for `load_state_dict(strict=True)` where the report is complete.

    Attributes:
        trunk: for `SlowFast`.
        head: for `ACARHead` or `BaselineHead`; empty where no head was asked for.
        report: what became of every name.
    """

    trunk: dict[str, Tensor]
    head: dict[str, Tensor]
    report: ImportReport


def checkpoint_tensors(loaded: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors of a loaded file, named `backbone.*` and `head.*` without the prefixes of parallel training.

    Args:
        loaded: the file's content, with or without the key `state_dict`; bare names are the trunk's.

    Raises:
        ModelMismatch: no tensors are in it, or two names become one.
    """
    inner = loaded.get("state_dict", loaded)
    if not isinstance(inner, Mapping):
        raise ModelMismatch(f"The checkpoint's state_dict is a {type(inner).__name__}, not names with tensors.")
    tensors: dict[str, Tensor] = {}
    for key, value in cast(Mapping[object, object], inner).items():
        if not isinstance(value, Tensor):
            continue
        name = str(key)
        prefix = _PREFIX.match(name)
        part = (prefix and prefix[1]) or "backbone"
        plain = f"{part}.{name[prefix.end() if prefix else 0 :]}"
        if plain in tensors:
            raise ModelMismatch(
                f"The checkpoint holds '{printable(plain)}' twice, once with a prefix. Keep one of them."
            )
        tensors[plain] = value
    if not tensors:
        raise ModelMismatch("The checkpoint holds no tensors. Give the file that training wrote.")
    return tensors


def infer_configs(loaded: Mapping[str, object]) -> tuple[SlowFastConfig, HeadConfig | None]:
    """Which trunk and head a file holds; None where it holds no head.

    Depth, widths, lateral connections and classes are read from shapes. How slow frames are chosen and frames are
    normalized goes with the lateral connection, as in the two published models.

    Raises:
        ModelMismatch: the file is not in the authors' layout.
    """
    tensors = checkpoint_tensors(loaded)
    is_bare = "backbone.Tconv1.weight" in tensors
    names = [
        f"backbone.{layer}.weight" for layer in ("slow_conv1", "fast_conv1", "Tconv1" if is_bare else "Tconv1.0")
    ]
    if not tensors.keys() >= set(names):
        raise ModelMismatch(
            "The checkpoint has no backbone.slow_conv1, fast_conv1 and Tconv1, so it is not in the layout of "
            "ACAR-Net's authors. Give one of their files, or a model of muybridge's own."
        )
    require_ranks(tensors, dict.fromkeys(names, 5))
    slow, fast, lateral = (tensors[name] for name in names)
    width = slow.shape[0]
    trunk = replace(
        SLOWFAST_R101 if is_bare else SLOWFAST_R50,
        blocks=cast(
            tuple[int, int, int, int], tuple(_depth(tensors, f"backbone.slow_res{n}.") for n in (1, 2, 3, 4))
        ),
        width=width,
        fast_ratio=width // fast.shape[0],
        lateral_kernel=lateral.shape[2],
    )
    return trunk, _infer_head(tensors)


def convert_checkpoint(
    loaded: Mapping[str, object], trunk: SlowFastConfig, head: HeadConfig | None
) -> ImportedCheckpoint:
    """The authors' tensors under the names of our modules.

    Args:
        loaded: as for `checkpoint_tensors`.
        trunk: the network to fill, as from `infer_configs`.
        head: likewise; None where only the trunk is wanted, and every tensor of a head is then unused.
    """
    theirs = checkpoint_tensors(loaded)
    missing: list[str] = []
    mismatched: list[str] = []
    filled: list[str] = []
    used: set[str] = set()
    states: list[dict[str, Tensor]] = []
    for part, wanted in (("backbone", _wanted(trunk)), ("head", _wanted(head))):
        state: dict[str, Tensor] = {}
        for ours, like in wanted.items():
            names = [f"{part}.{name}" for name in _published_names(ours, trunk)]
            absent = [name for name in names if name not in theirs]
            if absent and ours.endswith("num_batches_tracked"):
                filled += absent
                state[ours] = torch.tensor(0)
                continue
            missing += absent
            used.update(names)
            if absent:
                continue
            shape = _published_shape(ours, like.shape)
            wrong = [
                f"{name} is {tuple(theirs[name].shape)} of {theirs[name].dtype} instead of {shape}"
                for name in names
                if theirs[name].shape != shape or theirs[name].is_floating_point() != like.is_floating_point()
            ]
            mismatched += wrong
            if not wrong:
                state[ours] = _rearranged(ours, [theirs[name] for name in names])
        states.append(state)
    report = ImportReport(
        missing=tuple(dict.fromkeys(missing)),
        unused=tuple(name for name in theirs if name not in used),
        mismatched=tuple(dict.fromkeys(mismatched)),
        filled=tuple(filled),
    )
    return ImportedCheckpoint(states[0], states[1], report)


def _wanted(config: SlowFastConfig | HeadConfig | None) -> dict[str, Tensor]:
    with torch.device("meta"):
        match config:
            case None:
                return {}
            case SlowFastConfig():
                module = SlowFast(config)
            case ACARConfig():
                module = ACARHead(config)
            case BaselineConfig():
                module = BaselineHead(config)
    return module.state_dict()


_RENAMED = (
    (re.compile(r"^(fast|slow)\.stem\.conv\."), r"\1_conv1."),
    (re.compile(r"^(fast|slow)\.stem\.norm\."), r"\1_bn1."),
    (re.compile(r"^(fast|slow)\.stages\.(\d)\."), lambda found: f"{found[1]}_res{int(found[2]) + 1}."),
    (re.compile(r"\.shortcut\.conv\."), ".downsample.0."),
    (re.compile(r"\.shortcut\.norm\."), ".downsample_bn."),
    (re.compile(r"\.norm([123])\."), r".bn\1."),
    (re.compile(r"^reduce\."), "conv_reduce."),
    (re.compile(r"^relate_(context|actor)\."), "conv1."),
    (re.compile(r"^mix\."), "conv2."),
    (re.compile(r"^(hr2o\.\d+)\.out\."), r"\1.conv."),
)


def _published_names(ours: str, trunk: SlowFastConfig) -> list[str]:
    """The authors' tensors that one of ours is made of."""
    lateral = re.match(r"laterals\.(\d)\.(\d)\.(.*)", ours)
    if lateral:
        position = "" if trunk.lateral == "conv" else f"{lateral[2]}."
        return [f"Tconv{int(lateral[1]) + 1}.{position}{lateral[3]}"]
    if ".qkv." in ours:
        return [ours.replace(".qkv.", f".conv_{each}.") for each in "qkv"]
    name = ours
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return [name]


def _published_shape(ours: str, shape: torch.Size) -> tuple[int, ...]:
    """The shape of each tensor that `_rearranged` makes one of ours of."""
    if ".qkv." in ours:
        return (shape[0] // 3, *shape[1:])
    if ours.startswith("relate_"):
        return (shape[0], 2 * shape[1], 1, 1)
    return tuple(shape)


def _rearranged(ours: str, parts: list[Tensor]) -> Tensor:
    tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
    if ours.startswith("relate_"):
        context, actor = tensor.chunk(2, dim=1)
        tensor = context if ours.startswith("relate_context") else actor.flatten(1)
    return tensor.contiguous()


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered layers follow a prefix.

    Raises:
        ModelMismatch: none, or more than any network of the family has.
    """
    depth = len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})
    if not 1 <= depth <= _MOST_LAYERS:
        raise ModelMismatch(
            f"The checkpoint has {counted(depth, 'layer')} of {prefix}*, not 1 to {_MOST_LAYERS}. Give another."
        )
    return depth


def _infer_head(tensors: Mapping[str, Tensor]) -> HeadConfig | None:
    if "head.fc.weight" in tensors:
        require_ranks(tensors, {"head.fc.weight": 2})
        classes, channels = tensors["head.fc.weight"].shape
        return BaselineConfig(context_channels=channels, num_classes=classes)
    ranks = {
        "head.conv_reduce.weight": 4, "head.conv2.weight": 4, "head.fc2.weight": 2, "head.hr2o.0.conv.weight": 4
    }  # fmt: skip
    absent = [name for name in ranks if name not in tensors]
    if absent:
        if any(name.startswith("head.") for name in tensors):
            raise ModelMismatch(f"The checkpoint's head lacks {', '.join(absent)}. Give a complete file.")
        return None
    require_ranks(tensors, ranks)
    reduce, mix, classifier, out = (tensors[name] for name in ranks)
    return ACARConfig(
        context_channels=reduce.shape[1],
        num_classes=classifier.shape[0],
        reduced=reduce.shape[0],
        hidden=mix.shape[0],
        depth=_depth(tensors, "head.hr2o."),
        output_kernel=cast(Literal[1, 3], out.shape[-1]),
    )
