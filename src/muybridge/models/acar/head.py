"""ACAR-Net's head: actor-context-actor relations (Pan et al. 2021, arXiv 2006.07976).

    context map ── 1x1 ──┬── RoIAlign, max ── actor vectors ──────────────────── fc1 ──┐
                         │                        │                                    ├── classes
                         └── beside every actor ──┴── 3x3, pool ── HR2O ── mean ───────┘
                                                  first-order maps   ▲
                                         a feature bank's window ────┘

What an actor does follows from how others relate to the same place: at every location of the scene, HR2O attends
from one actor's relation to that location to all other actors' relations to it.

Two savings are exact, so that 300 people in a frame are an ordinary case. The 1x1 convolution over [context; actor]
is a convolution of the context, once a clip, plus one vector an actor. The last convolution before the mean over
locations needs only nine sums of its input.

Shapes: B clips, N actors of all clips in one flat list, C channels, h x w locations of the context map, after the
first-order convolution and pooling still written h x w.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from muybridge.errors import ModelMismatch, OptionError
from muybridge.models.acar.actors import (
    MIN_CONTEXT_SIDE,
    Actors,
    BankWindow,
    ContextMap,
    extent_mask,
    unpadded_extents,
)
from muybridge.models.acar.relations import HR2O, BankKeys, at_least_float32


@dataclass(frozen=True)
class ACARConfig:
    """The numbers of one head. The defaults are the published R-50 model; R-101 has depth 1 and output_kernel 1.

    Attributes:
        context_channels: channels of the trunk's map.
        num_classes: outputs.
        reduced: channels of the map and the actor vectors after the first 1x1 convolution.
        hidden: channels of the relations.
        depth: HR2O layers, at least 1.
        output_kernel: side of the last convolution of each HR2O layer.
        roi_size: side of RoIAlign's grid.
        dropout: on what an HR2O layer adds, in training.
        roi_margin: share of its side by which a box grows at each edge before it is read; 0 as published.
        bias: whether the last layer has one; published are none.
    """

    context_channels: int = 2304
    num_classes: int = 60
    reduced: int = 1024
    hidden: int = 512
    depth: int = 2
    output_kernel: Literal[1, 3] = 3
    roi_size: int = 7
    dropout: float = 0.2
    roi_margin: float = 0.0
    bias: bool = False

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise OptionError(f"depth={self.depth} must be at least 1. Without relations use BaselineHead.")
        if self.num_classes < 1:
            raise OptionError(f"num_classes={self.num_classes} must be at least 1. Give the label map's length.")


@dataclass(frozen=True)
class BaselineConfig:
    """The numbers of the head without relations: RoIAlign and a linear layer.

    Attributes:
        context_channels: channels of the trunk's map.
        num_classes: outputs.
        roi_size: side of RoIAlign's grid.
        roi_margin: share of its side by which a box grows at each edge before it is read; 0 as published.
        bias: whether the last layer has one; published are none.
    """

    context_channels: int = 2304
    num_classes: int = 60
    roi_size: int = 7
    roi_margin: float = 0.0
    bias: bool = False


class FirstOrder(NamedTuple):
    """How each actor relates to each place; the maps are what a feature bank keeps.

    Attributes:
        vectors: (N, reduced) appearance of the actors.
        maps: (N, hidden, h, w) actor-context relations; zero in padding.
        inside: (N, 1, h, w) bool, false in padding; None where nothing is padded.
    """

    vectors: Tensor
    maps: Tensor
    inside: Tensor | None


def _require_places(grid: tuple[int, int]) -> None:
    if min(grid) < MIN_CONTEXT_SIDE:
        raise OptionError(
            f"The context map is {grid[0]} x {grid[1]}; the head needs {MIN_CONTEXT_SIDE} x {MIN_CONTEXT_SIDE}. "
            "Use larger frames."
        )


class ACARHead(nn.Module):
    """Logits for every actor from the context map and all actors of its clip."""

    def __init__(self, config: ACARConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ACARConfig()
        self.reduce = nn.Conv2d(config.context_channels, config.reduced, 1, bias=False)
        # The two halves of one published 1x1 convolution over [context; actor].
        self.relate_context = nn.Conv2d(config.reduced, config.hidden, 1, bias=False)
        self.relate_actor = nn.Linear(config.reduced, config.hidden, bias=False)
        self.mix = nn.Conv2d(config.hidden, config.hidden, 3, bias=False)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.hr2o = nn.ModuleList(
            HR2O(config.hidden, output_kernel=config.output_kernel, dropout=config.dropout)
            for _ in range(config.depth)
        )
        self.fc1 = nn.Linear(config.reduced, config.hidden, bias=False)
        self.fc2 = nn.Linear(2 * config.hidden, config.num_classes, bias=config.bias)

    @staticmethod
    def map_grid(grid: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the first-order maps for a context map of `grid` rows and columns.

        Raises:
            OptionError: the context map is smaller than 3x3.
        """
        _require_places(grid)
        return (grid[0] - 1) // 2, (grid[1] - 1) // 2

    def forward(self, context: ContextMap, actors: Actors, bank: BankWindow | None = None) -> Tensor:
        """Logits (N, num_classes) in the order of `actors`.

        Args:
            context: the trunk's map.
            actors: who is in the clips; none at all gives (0, num_classes).
            bank: with it, HR2O attends to these entries in place of the clip's own actors. An actor whose clip
                has no entry keeps its first-order map.

        Raises:
            OptionError: the context map is smaller than 3x3.
            ModelMismatch: the bank's maps are not of this head's shape.
        """
        vectors, maps, inside = self.first_order(context, actors)
        keys = BankKeys.of(bank, maps, inside, context, actors.groups) if bank is not None else None
        pooled = maps
        last = len(self.hr2o) - 1
        for index, layer in enumerate(self.hr2o):
            step = cast(HR2O, layer)
            if index == last:
                pooled = step.forward_mean(maps, inside, actors.groups, keys)
            else:
                maps = step(maps, inside, actors.groups, keys)
        return self.fc2(torch.cat([F.relu(self.fc1(vectors)), pooled], dim=1))

    def first_order(self, context: ContextMap, actors: Actors) -> FirstOrder:
        """Actor vectors and first-order actor-context maps (sections 3.2 and 3.3 of the paper)."""
        _require_places((context.features.shape[-2], context.features.shape[-1]))
        clips = actors.groups.clips
        reduced = self.reduce(context.features.contiguous(memory_format=torch.channels_last))
        vectors = actor_vectors(reduced, actors, self.config.roi_size, margin=self.config.roi_margin)
        # Channels lie last in memory, which convolutions and attention both want.
        place_BhwC = self.relate_context(reduced).permute(0, 2, 3, 1)
        if actors.groups.num_clips > 1:
            place_BhwC = place_BhwC.index_select(0, clips)
        pairs_NhwC = F.relu(place_BhwC + self.relate_actor(vectors)[:, None, None], inplace=True)
        maps = F.relu(self.mix(pairs_NhwC.permute(0, 3, 1, 2)), inplace=True)
        if context.extents is None:
            return FirstOrder(vectors, self.pool(maps), None)
        # What the convolution made of padding goes; zero is then as good as absent, since a window of the pooling
        # always holds a kept value and none is negative.
        extents = context.extents[clips] - 2
        maps = self.pool(maps * extent_mask(extents, (maps.shape[-2], maps.shape[-1])))
        inside = extent_mask((extents + 1) // 2, (maps.shape[-2], maps.shape[-1]))
        return FirstOrder(vectors, maps * inside, inside)

    def attention(self, context: ContextMap, actors: Actors) -> Tensor:
        """Whose relations to a place count for an actor there, in each layer: (depth, N, P, h, w).

        See `HR2O.attention`; `map_place` says where the places are. In evaluation, without a bank.
        """
        _, maps, inside = self.first_order(context, actors)
        found: list[Tensor] = []
        for layer in self.hr2o:
            step = cast(HR2O, layer)
            found.append(step.attention(maps, actors.groups))
            maps = step(maps, inside, actors.groups)
        return torch.stack(found)

    @staticmethod
    def map_place(fraction: float, cells: int) -> float:
        """Row or column of the first-order maps, counted from 0 at the first one's middle, of a place in the frame.

        The convolution leaves the outermost cells of the context map out, and pooling keeps every second of the rest.

        Args:
            fraction: of the frame's height or width.
            cells: rows or columns of the context map.
        """
        return (fraction * cells - 1.5) / 2

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer by a fresh one for other classes."""
        weight = self.fc2.weight
        self.fc2 = nn.Linear(
            2 * self.config.hidden, num_classes, bias=self.config.bias, device=weight.device, dtype=weight.dtype
        )


class BaselineHead(nn.Module):
    """RoIAlign, maximum, linear layer: every actor alone, no context beyond its box."""

    def __init__(self, config: BaselineConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BaselineConfig()
        self.fc = nn.Linear(config.context_channels, config.num_classes, bias=config.bias)

    def forward(self, context: ContextMap, actors: Actors, bank: BankWindow | None = None) -> Tensor:
        """Logits (N, num_classes) in the order of `actors`. A bank has no use here.

        Raises:
            OptionError: a bank is given.
        """
        if bank is not None:
            raise OptionError("The baseline head does not read a feature bank. Leave bank out, or use the ACAR head.")
        return self.fc(actor_vectors(context.features, actors, self.config.roi_size, margin=self.config.roi_margin))


def actor_vectors(features_BChw: Tensor, actors: Actors, roi_size: int, *, margin: float = 0.0) -> Tensor:
    """RoIAlign (unaligned, adaptive sampling) and the maximum over its grid: (N, C).

    Args:
        margin: share of its side by which a box grows at each edge, as far as the frame goes.
    """
    features = at_least_float32(features_BChw)
    rows, columns = features.shape[-2:]
    seen = actors.boxes
    if margin:
        grow = margin * (seen[:, 2:] - seen[:, :2])
        seen = torch.cat([seen[:, :2] - grow, seen[:, 2:] + grow], dim=1).clamp(0, 1)
    boxes = seen.to(features.dtype) * actors.boxes.new_tensor([columns, rows, columns, rows])
    regions = torch.cat([actors.groups.clips[:, None].to(boxes.dtype), boxes.to(features.dtype)], dim=1)
    aligned = roi_align(features.contiguous(), regions, roi_size)
    return aligned.amax((2, 3)).to(features_BChw.dtype)


# --- trunk and head together ---


class PatchTokenModel(Protocol):
    """An image transformer run over clips, such as a frozen ViT with adapters for video."""

    patch_dim: int

    def patch_tokens(self, frames: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) to the patch tokens of every frame, (B, T, h, w, patch_dim)."""
        ...


class TokenTrunk(nn.Module):
    """Makes a trunk of an image transformer: the mean over time of its patch tokens is the context map.

    Args:
        model: an `nn.Module` that is a `PatchTokenModel`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not callable(getattr(model, "patch_tokens", None)):
            raise ModelMismatch(
                f"{type(model).__name__} gives no patch tokens. A trunk needs patch_tokens and patch_dim."
            )
        self.model = model
        self.context_channels = cast(PatchTokenModel, model).patch_dim

    def forward(self, frames_BT3HW: Tensor) -> Tensor:
        """Normalized clips to context maps (B, patch_dim, h, w)."""
        tokens_BThwD = cast(PatchTokenModel, self.model).patch_tokens(frames_BT3HW)
        return tokens_BThwD.mean(1).permute(0, 3, 1, 2)


class ACARNet(nn.Module):
    """A trunk and a head.

    Args:
        trunk: a module with `context_channels` that takes normalized clips (B, T, 3, H, W) to maps
            (B, context_channels, h, w): `SlowFast`, `TokenTrunk`, or another.
        head: `ACARHead` or `BaselineHead`.

    Raises:
        ModelMismatch: the trunk gives another number of channels than the head takes.
    """

    def __init__(self, trunk: nn.Module, head: ACARHead | BaselineHead) -> None:
        super().__init__()
        channels = cast(int, trunk.context_channels)
        if channels != head.config.context_channels:
            raise ModelMismatch(
                f"The trunk gives {channels} channels, the head takes {head.config.context_channels}. "
                f"Configure the head with context_channels={channels}."
            )
        self.trunk = trunk
        self.head = head

    def context(self, frames_BT3HW: Tensor, sizes: list[tuple[int, int]] | None = None) -> ContextMap:
        """The trunk's part alone.

        Args:
            frames_BT3HW: normalized clips, padded with zeros at the right and bottom to a common size.
            sizes: each clip's height and width in pixels before padding; None where none is padded.
        """
        features = self.trunk(frames_BT3HW)
        if sizes is None:
            return ContextMap(features)
        height, width = frames_BT3HW.shape[-2:]
        extents = unpadded_extents(sizes, (height, width), (features.shape[-2], features.shape[-1]))
        return ContextMap(features, extents if extents is None else extents.to(features.device))

    def forward(
        self,
        frames_BT3HW: Tensor,
        actors: Actors,
        *,
        sizes: list[tuple[int, int]] | None = None,
        bank: BankWindow | None = None,
    ) -> Tensor:
        """Logits (N, num_classes) in the order of `actors`; arguments as for `context` and the head."""
        return self.head(self.context(frames_BT3HW, sizes), actors, bank)
