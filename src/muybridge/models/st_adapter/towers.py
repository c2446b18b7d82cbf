"""What `VideoViT` asks of the image model inside it, and the answers of a vision transformer.

Those of a convolutional model are in stages.py. Both leave timm's code untouched; adapters enter by hooks.

One letter an axis: B clips, T frames, S = B*T images, L prefix tokens and patches, D features. What runs through the
blocks is (S, L, D) tokens in the one, (S, C, h, w) maps in the other, and `Stream` here.
"""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from muybridge.models.st_adapter.insertion import (
    AdapterSite,
    ClipShape,
    Place,
    Shape,
    block_arguments,
    check_backbone,
    embed_images,
    patch_grid,
    place_hooks,
)
from muybridge.models.st_adapter.last_block import (
    Readout,
    class_token_after,
    reads_class_token_alone,
    resolve_readout,
)
from muybridge.models.st_adapter.stages import STAGED, StagedTower

_PLACES: dict[str, tuple[Place, ...]] = {"mlp": ("mlp",), "attention+mlp": ("attention", "mlp")}


class Tower(Protocol):
    """An image model taken apart: stem, blocks, and what reads their output. Not a module; it owns no weights.

    Attributes:
        depth: blocks.
        adapted_by_default: how many of them, counted from the last, get adapters where no number is chosen.
        widths: channels of each block's output, which its adapter works on.
        dim: D, features of a picture.
        stride: pixels from one place of the last block's output to the next.
        readout: what of a picture is read.
        unread: parts of the backbone by name that are not used, its classifier above all.
    """

    depth: int
    adapted_by_default: int
    widths: tuple[int, ...]
    dim: int
    stride: int
    readout: Readout
    unread: tuple[str, ...]

    def check(self, adapted_blocks: range, /) -> None:
        """Raises ModelMismatch unless adapters can enter these blocks."""
        ...

    def places(self, index: int, placement: str, /) -> tuple[Place, ...]:
        """Where in a block adapters stand."""
        ...

    def describe(self, placement: str, /) -> str:
        """The same in words."""
        ...

    def reaches_readout(self, index: int, place: Place, /) -> bool:
        """Whether what an adapter adds there is ever read."""
        ...

    def attach(self, index: int, place: Place, site: AdapterSite, /) -> list[torch.utils.hooks.RemovableHandle]:
        """Make a block run an adapter. Returns the handles that undo it."""
        ...

    def shape(self, frames: int, size: tuple[int, int], /) -> Shape:
        """Of clips of so many frames of (height, width) pixels."""
        ...

    def embed(self, images_S3HW: Tensor, /) -> Tensor:
        """Pictures to what enters the first block."""
        ...

    def arguments(self, shape: Any, /) -> list[dict[str, Any]]:
        """What each block takes beside the stream."""
        ...

    def run(self, index: int, stream: Tensor, site: AdapterSite | None, arguments: dict[str, Any], /) -> Tensor:
        """One block.

        Args:
            site: the adapter before its attention, where it has one.
        """
        ...

    def prefix(self, images_S3HW: Tensor, blocks: int, /) -> Tensor:
        """What comes out of the first blocks, without adapters, ready to be kept: a leading axis S."""
        ...

    def from_prefix(self, prefix: Tensor, /) -> Tensor:
        """What `prefix` gave as what runs through the blocks."""
        ...

    def pool(self, stream: Tensor, shape: Any, /) -> Tensor:
        """What comes out of the last block to one vector a picture, (S, D)."""
        ...

    def patches(self, stream: Tensor, shape: Any, /) -> Tensor:
        """What comes out of the last block, by its place in the picture: (S, rows, columns, widths[-1])."""
        ...

    def normalize(self, mean_BD: Tensor, /) -> Tensor:
        """The backbone's last norm, on the mean over a clip's pictures."""
        ...


def tower_of(backbone: nn.Module, readout: Readout, *, trim_last_block: bool) -> Tower:
    """The tower of a timm model.

    Raises:
        ModelMismatch: the model is of no kind that takes adapters, or has no class token to read.
        OptionError: an unknown read-out.
    """
    if isinstance(backbone, STAGED):
        return StagedTower(backbone, readout)
    return TransformerTower(backbone, readout, trim_last_block=trim_last_block)


class TransformerTower:
    """A `Tower` of a timm VisionTransformer, Eva or Beit."""

    unread: tuple[str, ...] = ("head", "head_dist", "attn_pool")

    def __init__(self, backbone: nn.Module, readout: Readout, *, trim_last_block: bool = True) -> None:
        check_backbone(backbone, adapted_blocks=range(0))
        model: Any = backbone
        self.backbone = backbone
        self.blocks = cast(nn.ModuleList, model.blocks)
        self.depth = self.adapted_by_default = len(self.blocks)
        self.dim = int(model.embed_dim)
        self.stride = max(model.patch_embed.patch_size)
        self.widths = (self.dim,) * self.depth
        self.readout: Readout = resolve_readout(backbone, readout)
        self.trims_last_block = (
            trim_last_block and self.readout == "class_token" and reads_class_token_alone(self.blocks[-1])
        )

    def check(self, adapted_blocks: range) -> None:
        check_backbone(self.backbone, adapted_blocks=adapted_blocks)

    def places(self, index: int, placement: str) -> tuple[Place, ...]:
        return _PLACES[placement]

    def describe(self, placement: str) -> str:
        return f"before {placement.replace('+', ' and ')}"

    def reaches_readout(self, index: int, place: Place) -> bool:
        """After the last block's attention, patches no longer reach the class token."""
        return place != "mlp" or index < self.depth - 1 or self.readout != "class_token"

    def attach(self, index: int, place: Place, site: AdapterSite) -> list[torch.utils.hooks.RemovableHandle]:
        return place_hooks(self.blocks[index], site, place)

    def shape(self, frames: int, size: tuple[int, int]) -> ClipShape:
        return ClipShape(frames, *patch_grid(self.backbone, *size), prefix=cast(int, self.backbone.num_prefix_tokens))

    def embed(self, images_S3HW: Tensor) -> Tensor:
        return embed_images(self.backbone, images_S3HW)

    def arguments(self, shape: Any) -> list[dict[str, Any]]:
        return block_arguments(self.backbone, (shape.height, shape.width))

    def run(self, index: int, tokens_SLD: Tensor, site: AdapterSite | None, arguments: dict[str, Any]) -> Tensor:
        """The class token alone where the last block is trimmed."""
        if index == self.depth - 1 and self.trims_last_block:
            adapted = tokens_SLD if site is None else site.apply(tokens_SLD)
            return class_token_after(self.blocks[index], adapted, arguments.get("rope"))
        return self.blocks[index](tokens_SLD, **arguments)

    def prefix(self, images_S3HW: Tensor, blocks: int) -> Tensor:
        tokens = self.embed(images_S3HW)
        size = (images_S3HW.shape[-2], images_S3HW.shape[-1])
        arguments = self.arguments(self.shape(1, size))
        for index in range(blocks):
            tokens = self.run(index, tokens, None, arguments[index])
        return tokens

    def from_prefix(self, prefix_SLD: Tensor) -> Tensor:
        return prefix_SLD

    def pool(self, tokens_SLD: Tensor, shape: Any) -> Tensor:
        if self.readout == "class_token":
            return tokens_SLD[:, 0]
        return tokens_SLD[:, shape.prefix :].mean(dim=1)

    def patches(self, tokens_SLD: Tensor, shape: Any) -> Tensor:
        """After the final norm."""
        model: Any = self.backbone
        return model.norm(tokens_SLD[:, shape.prefix :]).unflatten(1, (shape.height, shape.width))

    def normalize(self, mean_BD: Tensor) -> Tensor:
        model: Any = self.backbone
        return model.fc_norm(model.norm(mean_BD))
