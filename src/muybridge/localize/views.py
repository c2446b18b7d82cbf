"""Test views: a clip seen at several sizes and mirrored, the logits averaged (arXiv 2006.07976, section 4)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as pictures

from muybridge.data.localization import KeyFrameSampling
from muybridge.errors import OptionError
from muybridge.models.boxes import flip_boxes_xyxy


@dataclass(frozen=True)
class TestViews:
    """How often and how each clip is seen; its logits are averaged before they become probabilities.

    Attributes:
        scales: pixels of the frames' short side, one view each; empty for the model's own alone. Published: 224, 256
            and 320.
        flip: see every one of them mirrored too; not where classes tell left from right.
    """

    __test__ = False  # no test case, whatever pytest thinks of the name

    scales: tuple[int, ...] = ()
    flip: bool = False

    def __post_init__(self) -> None:
        if any(side < 1 for side in self.scales):
            raise OptionError(f"scales={self.scales}: a short side has at least 1 pixel. Choose such as 224 256 320.")
        if len(set(self.scales)) < len(self.scales):
            raise OptionError(f"scales={self.scales} names one twice. Give each once.")

    def samplings(self, sampling: KeyFrameSampling) -> list[KeyFrameSampling]:
        """The model's sampling at each scale."""
        return [replace(sampling, short_side=side) for side in self.scales] or [sampling]

    def largest(self, sampling: KeyFrameSampling) -> KeyFrameSampling:
        """The model's sampling at the largest scale."""
        return max(self.samplings(sampling), key=lambda each: each.short_side)

    def of_item(self, item: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
        """An item of `BoxesDataset` as it is and, if asked for, mirrored."""
        yield item
        if self.flip:
            yield mirrored(item)

    def of_clip(
        self, clip_T3HW: Tensor, boxes: Tensor, bank: Tensor | None, sampling: KeyFrameSampling
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """A clip at the largest scale to the clip, boxes and bank maps of each view."""
        for each in self.samplings(sampling):
            seen = {"frames": resized(clip_T3HW, each) if self.scales else clip_T3HW, "boxes": boxes}
            for item in self.of_item(seen if bank is None else {**seen, "bank": bank}):
                yield item["frames"], item["boxes"], item.get("bank")


ONE_VIEW = TestViews()


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
    return pictures.resize(clip_T3HW, [rows, columns], InterpolationMode.BICUBIC, antialias=True)
