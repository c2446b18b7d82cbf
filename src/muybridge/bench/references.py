"""The published forms of what was made faster, written plainly on the same weights: what ratios are against."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from muybridge.media.video_reader import VideoReader
from muybridge.models.acar.head import ACARHead
from muybridge.models.avatar_net.patch_swap import overlap_weights


def published_swap(content: Tensor, style: Tensor, patch_size: int = 5) -> tuple[Tensor, Tensor]:
    """Avatar-Net's style swap by convolutions with the bank of all style patches.

    Args:
        content: (C, H, W).
        style: (C, h, w).

    Returns:
        The swapped (C, H, W) and the matches (H, W).
    """
    C, h, w = style.shape
    H, W = content.shape[1:]
    r = patch_size // 2
    bank = F.unfold(style[None], patch_size, padding=r)[0].T.reshape(h * w, C, patch_size, patch_size)
    normalised = bank / (bank.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-7)
    score = F.conv2d(F.pad(content[None], (r,) * 4, mode="reflect"), normalised)
    best = score.argmax(1)
    one_hot = torch.zeros_like(score).scatter_(1, best[:, None], 1.0)
    pasted = F.conv_transpose2d(one_hot, bank)[0, :, r : r + H, r : r + W]
    return pasted / overlap_weights(H, W, patch_size).to(pasted), best[0]


def published_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention over the actors of one clip through a tensor of actors x actors x channels x locations."""
    scores = (query.unsqueeze(1) * key.unsqueeze(0)).sum(2) / query.shape[1] ** 0.5
    return (scores.softmax(1).unsqueeze(2) * value).sum(1)


class PublishedHead:
    """ACAR's head in its published form, a loop over clips that tiles every actor, on the weights of one of ours."""

    def __init__(self, head: ACARHead) -> None:
        self.head: Any = head
        self.conv1 = torch.cat([head.relate_context.weight, head.relate_actor.weight[..., None, None]], dim=1)
        self.qkv = [[w.contiguous() for w in layer.qkv.weight.chunk(3)] for layer in self.head.hr2o]

    def __call__(self, context: Tensor, clip_boxes: Sequence[Tensor]) -> Tensor:
        """Logits (N, K) of a context map (B, C, H, W) and each clip's boxes (N_b, 4), fractions of the frame."""
        head, size = self.head, self.head.config.roi_size
        features = F.conv2d(context, head.reduce.weight)
        height, width = features.shape[-2:]
        scale = torch.tensor([width, height, width, height])
        aligned = roi_align(features, [boxes * scale for boxes in clip_boxes], size)
        vectors = F.max_pool2d(aligned, size).flatten(1)
        pooled: list[Tensor] = []
        first = 0
        for clip, boxes in enumerate(clip_boxes):
            if len(boxes) == 0:
                continue
            actors = vectors[first : first + len(boxes)]
            first += len(boxes)
            place = features[clip].unsqueeze(0).repeat(len(boxes), 1, 1, 1)
            pairs = torch.cat([place, actors[:, :, None, None].expand_as(place)], dim=1)
            maps = F.relu(F.conv2d(F.relu(F.conv2d(pairs, self.conv1)), head.mix.weight))
            maps = F.max_pool2d(maps, 3, stride=2, padding=1)
            for layer, weights in zip(head.hr2o, self.qkv, strict=True):
                query, key, value = (F.conv2d(maps, weight, padding=1) for weight in weights)
                maps = maps + layer.out(F.relu(layer.norm(published_attention(query, key, value))))
            pooled.append(maps.mean((2, 3)))
        both = torch.cat([F.relu(head.fc1(vectors)), torch.cat(pooled)], dim=1)
        return head.fc2(both)


class PlainAdapter(nn.Module):
    """ST-Adapter as released: Conv3d on permuted copies, in place."""

    def __init__(self, dim: int, width: int = 384) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, width), nn.Linear(width, dim)
        self.conv = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0), groups=width)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B * T, L, D) to the same with the adapter's output added to all tokens but the first."""
        images, tokens = x.shape[:2]
        side = int((tokens - 1) ** 0.5)
        features = self.fc1(x[:, 1:]).view(images // frames, frames, side, side, -1)
        features = self.conv(features.permute(0, 4, 1, 2, 3).contiguous())
        features = features.permute(0, 2, 3, 4, 1).contiguous().view(images, tokens - 1, -1)
        x[:, 1:] += self.fc2(features)
        return x


class PlainModel(nn.Module):
    """A frozen ViT of timm with such adapters before each MLP, its attention written out or fused."""

    def __init__(self, backbone: Any, num_classes: int, *, width: int = 384, fused_attention: bool = False) -> None:
        super().__init__()
        self.backbone: Any = backbone.requires_grad_(False)
        for block in backbone.blocks:
            block.attn.fused_attn = fused_attention
        self.adapters = nn.ModuleList(PlainAdapter(backbone.embed_dim, width) for _ in backbone.blocks)
        self.fc = nn.Linear(backbone.embed_dim, num_classes)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, 3, H, W) to logits (B, K)."""
        clips, count = frames.shape[:2]
        x = self.backbone.norm_pre(self.backbone._pos_embed(self.backbone.patch_embed(frames.flatten(0, 1))))
        for block, adapter in zip(self.backbone.blocks, self.adapters, strict=True):
            x = x + block.attn(block.norm1(x))
            x = adapter(x, count)
            x = x + block.mlp(block.norm2(x))
        return self.fc(self.backbone.norm(x[:, 0].view(clips, count, -1).mean(dim=1)))


def conv3d_on_copy(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A depthwise convolution of (B, T, H, W, A) by Conv3d, which wants the channels first."""
    padding = [size // 2 for size in weight.shape[2:]]
    x = x.permute(0, 4, 1, 2, 3).contiguous()
    return F.conv3d(x, weight, bias, padding=padding, groups=len(bias)).permute(0, 2, 3, 4, 1)


def decode_everything(path: str, seconds: Sequence[float]) -> Tensor:
    """The frames nearest before these times, (N, H, W, 3) uint8, out of a film that is decoded whole."""
    with VideoReader(path) as reader:
        frames = [(float(frame.pts_seconds), torch.from_numpy(frame.image)) for frame in reader]
    return torch.stack([[image for time, image in frames if time <= wanted + 1e-6][-1] for wanted in seconds])
