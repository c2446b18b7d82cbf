"""High-order relation reasoning between actors (HR2O; Pan et al. 2021, arXiv 2006.07976, section 3.3).

Every actor has a map of how it relates to each place. At every place, each actor attends to the maps of all actors
of its clip, or of a feature bank's window. Nothing is ever held for every pair of actors, every channel and place.

Shapes: N actors and M keys of all clips in flat lists, C channels, h x w locations, L = h w of them, T taps of a
kernel, P the most actors of one clip.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muybridge.errors import ModelMismatch
from muybridge.models.acar.actors import BankWindow, ContextMap, Grouping, extent_mask


class BankKeys(NamedTuple):
    """A bank's window made ready for attention: its maps, their clips, which count, which queries have any."""

    maps: Tensor
    groups: Grouping
    used: Tensor | None
    answered: Tensor  # (N, 1, 1, 1)

    @classmethod
    def of(
        cls, bank: BankWindow, maps: Tensor, inside: Tensor | None, context: ContextMap, queries: Grouping
    ) -> "BankKeys":
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
        self, maps_NChw: Tensor, inside: Tensor | None, groups: Grouping, bank: BankKeys | None = None
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
        self, maps_NChw: Tensor, inside: Tensor | None, groups: Grouping, bank: BankKeys | None = None
    ) -> Tensor:
        """The mean of `forward` over the locations inside: (N, C), without convolving where no dropout acts."""
        if self.training and self.dropout.p > 0:
            return _mean_inside(self(maps_NChw, inside, groups, bank), inside)
        added = mean_of_convolution(self._gather(maps_NChw, inside, groups, bank), self.out.weight, inside)
        return _mean_inside(maps_NChw, inside) + (added if bank is None else added * bank.answered[:, :, 0, 0])

    def attention(self, maps_NChw: Tensor, groups: Grouping) -> Tensor:
        """What `forward` weighs actors by: (N, P, h, w), at each place one share of each actor of the same clip.

        Shares are those of the clip's first, second and so on actor, at least float32, and sum to 1 over P; where a
        clip has fewer they are 0. For looking at: all are held at once.
        """
        query, key, _ = self.qkv(maps_NChw).split(self.channels, dim=1)
        keys_BPChw = groups.pad(at_least_float32(key))
        scores = torch.einsum("bpchw,bqchw->bpqhw", groups.pad(at_least_float32(query)), keys_BPChw)
        there = groups.pad(torch.ones_like(groups.clips, dtype=torch.bool))[:, None, :, None, None]
        shares = (scores / self.channels**0.5).masked_fill(~there, -torch.inf).softmax(2)
        return groups.unpad(shares)

    def _gather(self, maps: Tensor, inside: Tensor | None, groups: Grouping, bank: BankKeys | None) -> Tensor:
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
    padded = len(keys) == 0 or items == 0 or queries.num_clips * (queries.most + keys.most) <= 2 * (items + len(keys))
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


def group_norm_inside(features_NChw: Tensor, inside: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """GroupNorm with one group whose statistics leave padding out. In at least float32."""
    features = at_least_float32(features_NChw)
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
    amount_N11 = at_least_float32(mask).sum((1, 2, 3))[:, None, None]
    meets_NTL = (at_least_float32(meets_NTL) / amount_N11).to(features_NChw.dtype)
    features_NLC = features_NChw.permute(0, 2, 3, 1).flatten(1, 2)
    sums_NTC = meets_NTL.expand(len(features_NLC), -1, -1) @ features_NLC
    return F.linear(sums_NTC.transpose(1, 2).flatten(1), weight_OCkk.flatten(1))


def at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _mean_inside(maps_NChw: Tensor, inside: Tensor | None) -> Tensor:
    """Mean over the locations inside, of maps that are zero in padding: (N, C)."""
    if inside is None:
        return maps_NChw.mean((2, 3))
    return maps_NChw.sum((2, 3)) / inside.sum((2, 3))
