"""A frozen convolutional image model as a trunk: what is seen where, and how it changes over the clip.

    frames ── each alone ──┬── maps before the last halving, stride 16 ──┐
                           └── maps after the last layers, stride 32 ────┴─ over time ── one map at stride 16

The finer maps say where, the coarser what. Over time the mean, the later half less the earlier, and the deviation are
kept, of roots, since activations are many small numbers and few large ones.

Shapes: B clips, T frames, S = B*T pictures, C channels, h x w places.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muybridge.errors import ModelMismatch
from muybridge.models.st_adapter.stages import STAGED, StagedTower

SUMMARIES = 3
_LEAST = 1e-4  # keeps a root's slope finite at 0
_PICTURES_AT_A_TIME = 2  # their wide first maps stay in a CPU's cache


class ImageTrunk(nn.Module):
    """Clips to context maps by an image model that is not trained.

    Args:
        backbone: of timm, convolutional, of stages.

    Raises:
        ModelMismatch: it is of another kind.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        if not isinstance(backbone, STAGED):
            raise ModelMismatch(
                f"{type(backbone).__name__} has no stages to read maps of two scales from. Choose a convolutional "
                "image model such as efficientnet_lite0, or context='last'."
            )
        self.backbone = backbone.requires_grad_(False)
        self.tower = StagedTower(backbone, "patch_mean")
        self.context_channels = SUMMARIES * sum(self.tower.scale_widths)

    def train(self, mode: bool = True) -> "ImageTrunk":
        """The image model stays as it is."""
        self.training = mode
        return self

    @torch.no_grad()
    def forward(self, frames_BT3HW: Tensor) -> Tensor:
        """Normalized clips to (B, context_channels, h, w) at half the image model's stride."""
        pictures = frames_BT3HW.flatten(0, 1)
        parts = pictures.split(_PICTURES_AT_A_TIME) if pictures.device.type == "cpu" else (pictures,)
        fine, coarse = (torch.cat(maps) for maps in zip(*map(self.tower.two_scales, parts), strict=True))
        return joined(*(over_time(maps.unflatten(0, frames_BT3HW.shape[:2])) for maps in (fine, coarse)))


def over_time(maps_BTChw: Tensor) -> Tensor:
    """(B, 3C, h, w): of signed roots the mean, the later half's mean less the earlier half's, the deviation."""
    roots = maps_BTChw.sign() * ((maps_BTChw.abs() + _LEAST).sqrt() - _LEAST**0.5)
    half = max(1, roots.shape[1] // 2)
    mean = roots.mean(1)
    difference = roots[:, -half:].mean(1) - roots[:, :half].mean(1)
    variance = (roots - mean[:, None]).square().mean(1)
    return torch.cat([mean, difference, (variance + _LEAST).sqrt() - _LEAST**0.5], dim=1)


def joined(fine_BChw: Tensor, coarse_BChw: Tensor) -> Tensor:
    """Both at the finer map's places, channels of the finer first."""
    size = (fine_BChw.shape[-2], fine_BChw.shape[-1])
    coarse = F.interpolate(coarse_BChw, size=size, mode="bilinear", align_corners=False)
    return torch.cat([fine_BChw, coarse], dim=1)
