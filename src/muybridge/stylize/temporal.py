"""Coherence over time: what was painted on a surface stays on it while it moves.

Three things are carried from the frame before along the motion, each only where the motion can be believed:

    matches   ── a bonus in the arg max, so that a surface keeps its piece of the style
    features  ── the swapped features, blended, so that a change of match fades in
    picture   ── the painted pixels, blended, which also steadies what the decoder adds

Ours, not the paper's, which paints frame by frame.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from muybridge.media.optical_flow import DISOpticalFlow
from muybridge.models.avatar_net.detailed import band_statistics, impose_bands
from muybridge.models.avatar_net.motion import feature_flow, resize_flow, visibility, warp
from muybridge.models.avatar_net.network import STRIDE, Encoded, Swap, channel_statistics, impose_statistics
from muybridge.models.avatar_net.patch_swap import MatchBonus
from muybridge.stages import staged
from muybridge.stylize.options import TemporalConfig

# Short side in pixels from which motion is measured at half the size, where it is as good, in a quarter of the time.
_LARGE = 480


@dataclass(frozen=True, eq=False)
class Motion:
    """Where the present frame's surfaces were in the frame before.

    Attributes:
        flow: (2, H, W) in pixels.
        belief: (H, W) in [0, 1]; 0 where a surface was hidden, outside, or looked different.
        flow_features, belief_features: the same on the grid of relu4_1.
    """

    flow: Tensor
    belief: Tensor
    flow_features: Tensor
    belief_features: Tensor


class TemporalCarry:
    """The memory of one video. Call `begin` with each frame, the three `carry_` methods, then `remember`."""

    def __init__(self, config: TemporalConfig) -> None:
        self.config = config
        self._estimate: Callable[[_Seen, _Seen], Tensor] = (
            _feature_motion if config.motion == "features" else _DISMotion()
        )
        self._before: _Seen | None = None
        self._now: _Seen | None = None
        self._motion: Motion | None = None
        self._swaps: dict[int, Swap] = {}
        self._painted: Tensor | None = None

    def state(self) -> dict[str, Tensor]:
        """All that it remembers, for `restore`."""
        if self._before is None or self._painted is None:
            return {}
        kept = {"picture": self._before.picture, "painted": self._painted}
        kept |= {f"levels.{number}": level for number, level in enumerate(self._before.levels or ())}
        for style, swap in self._swaps.items():
            kept |= {f"swaps.{style}.features": swap.features, f"swaps.{style}.matches": swap.matches}
        return {name: tensor.contiguous() for name, tensor in kept.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what another one's `state` told."""
        levels = [state[f"levels.{number}"] for number in range(sum(name.startswith("levels.") for name in state))]
        self._painted = state.get("painted")
        self._before = None
        if self._painted is not None:
            stride = self._painted.shape[2] // state["picture"].shape[2]
            self._before = _Seen(state["picture"], levels or None, stride)
        styles = [int(name.split(".")[1]) for name in state if name.endswith(".matches")]
        self._swaps = {n: Swap(state[f"swaps.{n}.features"], state[f"swaps.{n}.matches"]) for n in styles}

    @staged("coherence")
    def begin(self, picture_13HW: Tensor, content: Encoded) -> None:
        """Take in a frame and find the motion since the one before; a cut or a new size starts afresh."""
        stride = 1 if min(picture_13HW.shape[2:]) < _LARGE else 2
        looked_at = picture_13HW if stride == 1 else F.avg_pool2d(picture_13HW, stride)
        self._now = _Seen(looked_at, content.levels, stride)
        self._motion = None
        before = self._before
        if before is not None and (before.picture.shape, before.stride) == (looked_at.shape, stride):
            self._motion = self._measure(self._now, before)

    def _measure(self, now: "_Seen", before: "_Seen") -> Motion:
        backward, forward = self._estimate(now, before), self._estimate(before, now)
        H, W = now.picture.shape[2:]
        belief = visibility(backward, forward)
        flow = resize_flow(backward, H, W)
        belief = F.interpolate(belief[None, None], (H, W), mode="bilinear", align_corners=False)
        # Where the same surface looks different (light, shadow, a wrong match), the past should not stick.
        difference = (now.picture[0] - warp(before.picture[0], flow)).square().mean(0)
        smoothed = F.avg_pool2d(difference[None, None], 5, 1, 2, count_include_pad=False)
        belief = belief * torch.exp(-smoothed / self.config.photometric_scale**2)
        h, w = (side * now.stride // STRIDE for side in (H, W))
        coarse = F.adaptive_avg_pool2d(belief, (h, w))[0, 0]
        flow_features = resize_flow(flow, h, w)
        if now.stride > 1:
            size = (now.stride * H, now.stride * W)
            flow = resize_flow(flow, *size)
            belief = F.interpolate(belief, size, mode="bilinear", align_corners=False)
        return Motion(flow, belief[0, 0], flow_features, coarse)

    @staged("coherence")
    def carry_matches(self, style: int) -> MatchBonus | None:
        """The bonus for the carried matches of style number `style`; None on a first frame."""
        motion, before = self._motion, self._swaps.get(style)
        if motion is None or before is None or self.config.match_bonus == 0:
            return None
        carried = warp(before.matches[None].float(), motion.flow_features.round(), mode="nearest")[0]
        return MatchBonus(carried.round().long(), motion.belief_features * self.config.match_bonus)

    @staged("coherence")
    def carry_features(self, style: int, swap: Swap) -> Swap:
        """Blend the swapped features with the carried ones, and remember the blend."""
        motion, before = self._motion, self._swaps.get(style)
        if motion is not None and before is not None and self.config.feature_share > 0:
            carried = warp(before.features, motion.flow_features, mode="bicubic")
            share = motion.belief_features * self.config.feature_share
            blend = torch.lerp(swap.features, carried, share)
            # A mean of two pieces of style is flatter than either; the style lies in how much they vary.
            target = channel_statistics(swap.features[None])
            swap = Swap(impose_statistics(blend[None], target)[0], swap.matches)
        self._swaps[style] = swap
        return swap

    @staged("coherence")
    def carry_picture(self, painted_13HW: Tensor) -> Tensor:
        """Blend the painted frame with the carried one, and remember the blend."""
        if self._motion is not None and self._painted is not None and self.config.picture_share > 0:
            carried = warp(self._painted[0], self._motion.flow, mode="bicubic").clamp(0, 255)
            share = self._motion.belief * self.config.picture_share
            # As with the features: what blending takes from the strokes, finest first, is given back to each band.
            target = band_statistics(painted_13HW)
            painted_13HW = impose_bands(torch.lerp(painted_13HW[0], carried, share)[None], target).clamp(0, 255)
        self._painted = painted_13HW
        self._before = self._now
        return painted_13HW


@dataclass(frozen=True, eq=False)
class _Seen:
    """A frame as motion is measured on it: at its own size, or `stride` times smaller, and the encoder's levels."""

    picture: Tensor
    levels: Sequence[Tensor] | None
    stride: int


def _feature_motion(later: _Seen, earlier: _Seen) -> Tensor:
    """(2, H / 2, W / 2), or without kept features (tiled pictures) by the frames at an eighth to a half."""
    return feature_flow(_pyramid(later), _pyramid(earlier))


def _pyramid(seen: _Seen) -> list[Tensor]:
    if seen.levels is not None:
        return [seen.levels[3], seen.levels[2], seen.levels[1]]
    return [F.avg_pool2d(seen.picture, stride // seen.stride) for stride in (8, 4, 2)]


class _DISMotion:
    """OpenCV's DIS on the pictures."""

    def __init__(self) -> None:
        self._dis = DISOpticalFlow()

    def __call__(self, later: _Seen, earlier: _Seen) -> Tensor:
        return torch.from_numpy(self._dis(_pixels(later), _pixels(earlier))).to(later.picture.device)


def _pixels(seen: _Seen) -> NDArray[np.uint8]:
    return seen.picture[0].permute(1, 2, 0).to(torch.uint8).contiguous().cpu().numpy()
