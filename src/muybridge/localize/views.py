"""Test views: a clip seen at several sizes and mirrored, the logits averaged (arXiv 2006.07976, section 4)."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from muybridge.data.localization import KeyFrameSampling, scaled_picture
from muybridge.localize.options import TestViews
from muybridge.models.boxes import flip_boxes_xyxy


def samplings(views: TestViews, sampling: KeyFrameSampling) -> list[KeyFrameSampling]:
    """The model's sampling at each scale."""
    return [replace(sampling, short_side=side) for side in views.scales] or [sampling]


def largest(views: TestViews, sampling: KeyFrameSampling) -> KeyFrameSampling:
    """The model's sampling at the largest scale."""
    return max(samplings(views, sampling), key=lambda each: each.short_side)


def views_of_item(views: TestViews, item: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """An item of `BoxesDataset` as it is and, if asked for, mirrored."""
    yield item
    if views.flip:
        yield mirrored(item)


def views_of_clip(
    views: TestViews, clip_T3HW: Tensor, boxes: Tensor, bank: Tensor | None, sampling: KeyFrameSampling
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """A clip at the largest scale to the clip, boxes and bank maps of each view."""
    for each in samplings(views, sampling):
        seen = {"frames": resized(clip_T3HW, each) if views.scales else clip_T3HW, "boxes": boxes}
        for item in views_of_item(views, seen if bank is None else {**seen, "bank": bank}):
            yield item["frames"], item["boxes"], item.get("bank")


def mirrored(item: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Frames, boxes and bank maps left to right, all else as it is."""
    turned = {name: item[name].flip(-1) for name in ("frames", "bank") if name in item}
    return {**item, **turned, "boxes": flip_boxes_xyxy(item["boxes"])}


def resized(clip_T3HW: Tensor, sampling: KeyFrameSampling) -> Tensor:
    """A clip uint8 at another sampling's size."""
    height, width = clip_T3HW.shape[-2:]
    columns, rows = sampling.size(width, height)
    if (rows, columns) == (height, width):
        return clip_T3HW
    images = clip_T3HW.permute(0, 2, 3, 1).cpu().numpy()
    how = sampling.preprocessing
    return torch.stack([scaled_picture(image, (columns, rows), preprocessing=how) for image in images])
