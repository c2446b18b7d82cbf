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
from muybridge.models.acar_actors import (
    MIN_CONTEXT_SIDE,
    Actors,
    BankWindow,
    ContextMap,
    Grouping,
    extent_mask,
    unpadded_extents,
)


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
    """

    context_channels: int = 2304
    num_classes: int = 60
    reduced: int = 1024
    hidden: int = 512
    depth: int = 2
    output_kernel: Literal[1, 3] = 3
    roi_size: int = 7
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise OptionError(f"depth={self.depth} must be at least 1. Without relations use BaselineHead.")
        if self.num_classes < 1:
            raise OptionError(
                f"num_classes={self.num_classes} must be at least 1. Give the label map's length."
            )


@dataclass(frozen=True)
class BaselineConfig:
    """The numbers of the head without relations: RoIAlign and a linear layer.

    Attributes:
        context_channels: channels of the trunk's map.
        num_classes: outputs.
        roi_size: side of RoIAlign's grid.
    """

    context_channels: int = 2304
    num_classes: int = 60
    roi_size: int = 7


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
        self.fc2 = nn.Linear(2 * config.hidden, config.num_classes, bias=False)

    @staticmethod
    def map_grid(grid: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the first-order maps for a context map of `grid` rows and columns."""
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
        keys = _BankKeys.of(bank, maps, inside, context, actors.groups) if bank is not None else None
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
        grid = context.features.shape[-2:]
        if min(grid) < MIN_CONTEXT_SIDE:
            raise OptionError(
                f"The context map is {grid[0]} x {grid[1]}; the head needs {MIN_CONTEXT_SIDE} x {MIN_CONTEXT_SIDE}. "
                "Use larger frames."
            )
        clips = actors.groups.clips
        reduced = self.reduce(context.features.contiguous(memory_format=torch.channels_last))
        vectors = actor_vectors(reduced, actors, self.config.roi_size)
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

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer by a fresh one for other classes."""
        weight = self.fc2.weight
        self.fc2 = nn.Linear(
            2 * self.config.hidden, num_classes, bias=False, device=weight.device, dtype=weight.dtype
        )


class BaselineHead(nn.Module):
    """RoIAlign, maximum, linear layer: every actor alone, no context beyond its box."""

    def __init__(self, config: BaselineConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BaselineConfig()
        self.fc = nn.Linear(config.context_channels, config.num_classes, bias=False)

    def forward(self, context: ContextMap, actors: Actors, bank: BankWindow | None = None) -> Tensor:
        """Logits (N, num_classes) in the order of `actors`. A bank has no use here.

        Raises:
            OptionError: a bank is given.
        """
        if bank is not None:
            raise OptionError(
                "The baseline head does not read a feature bank. Leave bank out, or use the ACAR head."
            )
        return self.fc(actor_vectors(context.features, actors, self.config.roi_size))


def actor_vectors(features_BChw: Tensor, actors: Actors, roi_size: int) -> Tensor:
    """RoIAlign (unaligned, adaptive sampling) and the maximum over its grid: (N, C)."""
    features = _at_least_float32(features_BChw)
    rows, columns = features.shape[-2:]
    boxes = actors.boxes.to(features.dtype) * actors.boxes.new_tensor([columns, rows, columns, rows])
    regions = torch.cat([actors.groups.clips[:, None].to(boxes.dtype), boxes.to(features.dtype)], dim=1)
    aligned = roi_align(features.contiguous(), regions, roi_size)
    return aligned.amax((2, 3)).to(features_BChw.dtype)


class _BankKeys(NamedTuple):
    """A bank's window made ready for attention: its maps, their clips, which count, which queries have any."""

    maps: Tensor
    groups: Grouping
    used: Tensor | None
    answered: Tensor  # (N, 1, 1, 1)

    @classmethod
    def of(
        cls, bank: BankWindow, maps: Tensor, inside: Tensor | None, context: ContextMap, queries: Grouping
    ) -> "_BankKeys":
        if bank.maps.shape[1:] != maps.shape[1:] or bank.groups.num_clips != queries.num_clips:
            raise ModelMismatch(
                f"The bank's window has maps {tuple(bank.maps.shape[1:])} for {bank.groups.num_clips} clips, "
                f"this head {tuple(maps.shape[1:])} for {queries.num_clips}. Read the bank that this head was "
                "trained with, and fit its maps by BankWindow.from_clips(grid=head.map_grid(...))."
            )
        entries = bank.maps.to(maps.dtype).contiguous(memory_format=torch.channels_last)
        if inside is not None and context.extents is not None:
            extents = (context.extents[bank.groups.clips] - 1) // 2
            entries = entries * extent_mask(extents, (maps.shape[-2], maps.shape[-1]))
        used = bank.used if bank.used is not None else torch.ones_like(bank.groups.clips, dtype=torch.bool)
        amount = torch.zeros(queries.num_clips, dtype=torch.int64, device=maps.device)
        amount = amount.index_add(0, bank.groups.clips, used.long())
        return cls(entries, bank.groups, bank.used, (amount > 0)[queries.clips][:, None, None, None])


class HR2O(nn.Module):
    """One layer of the high-order relation reasoning operator (section 3.3): attention over actors, per location."""

    def __init__(self, channels: int, *, output_kernel: Literal[1, 3], dropout: float) -> None:
        super().__init__()
        self.channels = channels
        # Query, key and value, in that order, from one convolution.
        self.qkv = nn.Conv2d(channels, 3 * channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(1, channels)
        self.out = nn.Conv2d(channels, channels, output_kernel, padding=output_kernel // 2, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, maps_NChw: Tensor, inside: Tensor | None, groups: Grouping, bank: _BankKeys | None = None
    ) -> Tensor:
        """(N, C, h, w) relations to relations that know of the other actors'.

        Args:
            maps_NChw: zero in padding.
            inside: (N, 1, h, w) bool, false in padding; None where nothing is padded.
            groups: the clip of each actor.
            bank: keys and values in place of `maps_NChw`.
        """
        added = self.dropout(self.out(self._gather(maps_NChw, inside, groups, bank)))
        added = added if inside is None else added * inside
        return maps_NChw + (added if bank is None else added * bank.answered)

    def forward_mean(
        self, maps_NChw: Tensor, inside: Tensor | None, groups: Grouping, bank: _BankKeys | None = None
    ) -> Tensor:
        """The mean of `forward` over the locations inside: (N, C), without convolving where no dropout acts."""
        if self.training and self.dropout.p > 0:
            return _mean_inside(self(maps_NChw, inside, groups, bank), inside)
        added = mean_of_convolution(self._gather(maps_NChw, inside, groups, bank), self.out.weight, inside)
        return _mean_inside(maps_NChw, inside) + (
            added if bank is None else added * bank.answered[:, :, 0, 0]
        )

    def _gather(
        self, maps: Tensor, inside: Tensor | None, groups: Grouping, bank: _BankKeys | None
    ) -> Tensor:
        """Attention, norm and ReLU; zero in padding."""
        if bank is None:
            query, key, value = self.qkv(maps).split(self.channels, dim=1)
            found = attend(query, key, value, groups, groups)
        else:
            wq, wkv = self.qkv.weight.split([self.channels, 2 * self.channels])
            query = F.conv2d(maps, wq, padding=1)
            key, value = F.conv2d(bank.maps, wkv, padding=1).split(self.channels, dim=1)
            found = attend(query, key, value, groups, bank.groups, bank.used)
        if inside is None:
            return F.relu(self.norm(found), inplace=True)
        found = F.relu(group_norm_inside(found, inside, self.norm.weight, self.norm.bias, self.norm.eps))
        return (found * inside).to(maps.dtype)


def attend(
    query_NChw: Tensor,
    key_MChw: Tensor,
    value_MChw: Tensor,
    queries: Grouping,
    keys: Grouping,
    used: Tensor | None = None,
) -> Tensor:
    """At every location, each query attends over the keys of its own clip, scaled by 1 / sqrt(C): (N, C, h, w).

    At most N x M x h x w weights are ever held. Clips are padded to the fullest one, unless one crowd among many
    near-empty clips would make that wasteful; then all keys are scored and those of other clips left out.
    What a query gets whose clip has no used key is finite but without meaning.
    """
    items, _, rows, columns = query_NChw.shape
    query, key, value = (x.permute(0, 2, 3, 1).flatten(1, 2) for x in (query_NChw, key_MChw, value_MChw))
    padded = (
        len(keys) == 0
        or items == 0
        or queries.num_clips * (queries.most + keys.most) <= 2 * (items + len(keys))
    )
    if padded:
        query, key, value = (
            groups.pad(x).transpose(1, 2) for groups, x in ((queries, query), (keys, key), (keys, value))
        )
        allowed = None
        if used is not None or not keys.is_full:
            real = torch.ones_like(keys.clips, dtype=torch.bool) if used is None else used
            allowed = keys.pad(real)[:, None, None]
    else:
        query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
        allowed = (queries.clips[:, None] == keys.clips)[None, None]
        allowed = allowed if used is None else allowed & used
    if allowed is not None:
        # A row without any key would give NaN, also in gradients that are then multiplied by zero.
        allowed = allowed | ~allowed.any(-1, keepdim=True)
    found = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    found_NLC = queries.unpad(found.transpose(1, 2)) if padded else found[0].transpose(0, 1)
    return found_NLC.unflatten(1, (rows, columns)).permute(0, 3, 1, 2)


def group_norm_inside(
    features_NChw: Tensor, inside: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """GroupNorm with one group whose statistics leave padding out. In at least float32."""
    features = _at_least_float32(features_NChw)
    count = inside.sum((1, 2, 3), keepdim=True) * features.shape[1]
    mean = (features * inside).sum((1, 2, 3), keepdim=True) / count
    centred = (features - mean) * inside
    variance = centred.square().sum((1, 2, 3), keepdim=True) / count
    return centred * (variance + eps).rsqrt() * weight[:, None, None] + bias[:, None, None]


def mean_of_convolution(features_NChw: Tensor, weight_OCkk: Tensor, inside: Tensor | None) -> Tensor:
    """Mean over the locations inside of a same-size, bias-free convolution, without convolving: (N, O).

    A mean is linear, so it goes before the convolution: for each tap, the sum of what that tap meets.

    Args:
        features_NChw: zero in padding.
        weight_OCkk: odd kernel side k.
        inside: (N, 1, h, w) bool or None.
    """
    side, grid = weight_OCkk.shape[-1], features_NChw.shape[-2:]
    mask = features_NChw.new_ones(1, 1, *grid) if inside is None else inside.to(features_NChw.dtype)
    # A tap at offset d meets location l where l - d is an output, so the mask is read mirrored.
    meets_NTL = F.unfold(mask, side, padding=side // 2).flip(1)
    amount_N11 = _at_least_float32(mask).sum((1, 2, 3))[:, None, None]
    meets_NTL = (_at_least_float32(meets_NTL) / amount_N11).to(features_NChw.dtype)
    features_NLC = features_NChw.permute(0, 2, 3, 1).flatten(1, 2)
    sums_NTC = meets_NTL.expand(len(features_NLC), -1, -1) @ features_NLC
    return F.linear(sums_NTC.transpose(1, 2).flatten(1), weight_OCkk.flatten(1))


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _mean_inside(maps_NChw: Tensor, inside: Tensor | None) -> Tensor:
    """Mean over the locations inside, of maps that are zero in padding: (N, C)."""
    if inside is None:
        return maps_NChw.mean((2, 3))
    return maps_NChw.sum((2, 3)) / inside.sum((2, 3))


# --- trunk and head together ---


class PatchTokenModel(Protocol):
    """An image transformer run over clips, such as a frozen ViT with adapters for video."""

    dim: int

    def patch_tokens(self, frames: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) to the patch tokens of every frame, (B, T, h, w, dim)."""
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
                f"{type(model).__name__} gives no patch tokens. A trunk needs patch_tokens and dim."
            )
        self.model = model
        self.context_channels = cast(PatchTokenModel, model).dim

    def forward(self, frames_BT3HW: Tensor) -> Tensor:
        """Normalized clips to context maps (B, dim, h, w)."""
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
