"""Stylizer: a picture or a video painted in the style of any image.

path or uint8 RGB ── pad ── encode ── per style: match, swap, recolour ── decode ── masks, colours ── uint8 RGB
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from muybridge.artifacts import Artifact, find_model, open_model, push_to_hub
from muybridge.counts import counted
from muybridge.devices import choose_device
from muybridge.errors import ModelError, ModelMismatch, OptionError
from muybridge.media.masks import Mask, MaskTrack, TimedMask, check_num_masks, fit_mask
from muybridge.media.video_reader import Frame
from muybridge.memory import keep_freed_memory
from muybridge.models.avatar_net.network import (
    STRIDE,
    AvatarNet,
    Decoration,
    Projection,
    StyleCode,
    StyleNetwork,
    cut_once,
    fit_whitening,
    fusion_targets,
    recolour,
    swap,
    transfer_skips,
)
from muybridge.stages import stage
from muybridge.stylize.model_file import (
    STYLE_NUMBERS,
    TASK,
    architecture_of,
    load_network,
    load_style,
    style_differences,
)
from muybridge.stylize.options import BUILT_IN, StylizeConfig, TemporalConfig
from muybridge.stylize.pictures import RGB, as_rgb, check_fits_memory, keep_colors, padded, scaled, sized
from muybridge.stylize.styles import BUILT_IN_STYLES, built_in_style, check_style
from muybridge.stylize.temporal import TemporalCarry

# Above this many bytes for one full-resolution feature map the network works in tiles.
_LARGEST_MAP_BYTES = 256 << 20
_TILE = 512


@dataclass(frozen=True, eq=False)
class Style:
    """A style picture after the network has looked at it; can be kept in a file.

    Attributes:
        name: for people.
        code: what the network needs of it.
        model: fingerprint of the network that made the code; no other can use it.
    """

    name: str
    code: StyleCode
    model: str

    def save(self, path: str | Path) -> None:
        """Write the style as a .safetensors file, whole or not at all."""
        tensors = {"whitened": self.code.whitened, "mean": self.code.mean, "colour": self.code.colour}
        for level, (mean, deviation) in enumerate(self.code.statistics):
            tensors |= {f"statistics.{level}.mean": mean, f"statistics.{level}.deviation": deviation}
        for level, (mean, colour) in enumerate(self.code.skips):
            tensors |= {f"skips.{level}.mean": mean, f"skips.{level}.colour": colour}
            texture = self.code.textures[level]
            tensors |= {} if texture is None else {f"textures.{level}": texture.contiguous()}
        contract = {"name": self.name, "model": self.model}
        contract |= {name: getattr(self.code, name) for name in STYLE_NUMBERS}
        Artifact("style", {}, tensors, contract=contract).save(path)

    @classmethod
    def load(cls, path: str | Path) -> "Style":
        """Read what `save` wrote."""
        return cls(*load_style(path))


class Stylizer:
    """Paints pictures and videos. Made by `from_pretrained`.

    It may be asked from several threads at once: each gets the painting that it would get alone.

    Example:
        >>> stylizer = Stylizer.from_pretrained()
        >>> painting = stylizer("photo.jpg", "painting.jpg", strength=0.8)
    """

    def __init__(self, network: StyleNetwork, *, fingerprint: str, artifact: Artifact | None = None) -> None:
        self.network, self.fingerprint, self.artifact = network.eval(), fingerprint, artifact
        self.network.requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = "builtin", *, device: str = "auto", encoder_weights: Path | None = None
    ) -> "Stylizer":
        """Load a model.

        Args:
            name_or_path: "builtin", a .safetensors file, or OWNER/NAME on the Hugging Face hub.
            encoder_weights: for a model trained on torchvision's VGG-19: that encoder's file, or the word "vgg19" to
                fetch it. Without it, it must have been fetched before.
            device: auto, cpu, cuda, cuda:1, mps.

        Raises:
            MissingInput, UnsafeModelFile, ModelMismatch, ModelError: see `muybridge.errors`.
        """
        file = open_model(find_model(name_or_path, built_in=BUILT_IN, task=TASK), task=TASK)
        if choose_device(device).type == "cpu":
            keep_freed_memory()
        network = load_network(file, encoder_weights=encoder_weights)
        artifact = file.artifact()
        return cls(network.to(choose_device(device)), fingerprint=_fingerprint(artifact), artifact=artifact)

    def save(self, path: str | Path) -> None:
        """Write the model as one .safetensors file, whole or not at all."""
        config = architecture_of(self.network)
        before = self.artifact
        provenance, scores = (before.provenance, before.scores) if before else ({}, {})
        encoder = before.contract.get("encoder") if before else None
        trained = cast(AvatarNet, self.network).decoder if encoder else self.network
        prefix = "decoder." if encoder else ""
        tensors = {prefix + name: tensor for name, tensor in trained.state_dict().items()}
        contract = {"encoder": encoder} if encoder else {}
        Artifact(TASK, config, tensors, provenance, scores, contract).save(path)

    def push_to_hub(self, repository: str, *, private: bool = False) -> str:
        """Upload the model as OWNER/NAME to the Hugging Face hub; returns its address."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            self.save(path)
            return push_to_hub(path, repository, private=private)

    def encode_style(self, style: Any, *, name: str = "", projection: Projection = "zca", size: int = 512) -> Style:
        """Look at a style picture once, for use on any number of pictures and frames.

        Args:
            style: a path, the name of a built-in style, a `Picture`, (H, W, 3) uint8 RGB, a .safetensors file of a
                saved style, or a `Style`.
            name: for people; by default the file's name.
            projection: see `StylizeConfig`.
            size: short side that the picture is scaled to.
        """
        if isinstance(style, (str, Path)) and Path(style).suffix == ".safetensors":
            style = Style.load(style)
        if isinstance(style, Style):
            if style.model != self.fingerprint:
                raise ModelMismatch(
                    f"the style {style.name!r} was made with another model. Make it anew from its picture"
                )
            problems = style_differences(style.code, self.network)
            if problems:
                raise ModelMismatch(f"the style {style.name!r} is not this model's: {problems}. Make it anew")
            return Style(style.name, style.code.to(self.device), style.model)
        check_fits_memory(size, size, self.device, option=f"style_size={size}")
        if isinstance(style, (str, Path)):
            check_style(style)
        if isinstance(style, str) and style in BUILT_IN_STYLES and not Path(style).exists():
            name, style = name or style, built_in_style(style, size=size)
        name = name or (Path(style).stem if isinstance(style, (str, Path)) else "style")
        rgb = as_rgb(style)
        width, height = scaled(rgb.shape[1], rgb.shape[0], size)
        check_fits_memory(min(width, 4 * size), min(height, 4 * size), self.device, option=f"style_size={size}")
        # A very long picture would make the match table as long; its middle tells the style as well.
        image = Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS)
        left, top = max(0, (width - 4 * size) // 2), max(0, (height - 4 * size) // 2)
        image = image.crop((left, top, left + min(width, 4 * size), top + min(height, 4 * size)))
        with torch.inference_mode():
            levels = self.network.look(padded(self._tensor(np.asarray(image))))
            _check_finite(levels[3])
            return Style(name, self.network.style_code(levels, projection), self.fingerprint)

    def check_size(self, width: int, height: int, *, size: int) -> None:
        """Refuse to paint an input of this size, scaled to the short side `size` unless that is 0.

        Raises:
            OptionError, InputError: the machine's memory is too small for it.
        """
        shown = scaled(width, height, size) if size else (width, height)
        check_fits_memory(*shown, self.device, option=f"size={size}" if size else "")

    def __call__(
        self,
        picture: Any,
        styles: Any,
        *,
        weights: Sequence[float] | None = None,
        masks: Sequence[Any] | None = None,
        config: StylizeConfig | None = None,
        **options: Any,
    ) -> RGB:
        """Paint one picture.

        Args:
            picture: a path, a `Picture`, or (H, W, 3) uint8 RGB.
            styles: one style or several, each as `encode_style` takes it.
            weights: one a style, not negative; they are divided by their sum. Equal by default.
            masks: one for all styles together, or one a style: paths, or (H, W) arrays, bool, uint8, or float in
                [0, 1]. Soft masks blend. What no mask covers stays the photograph.
            config, options: a `StylizeConfig`, or its fields.

        Returns:
            (H, W, 3) uint8 RGB of the input's size, or as `size` asks.
        """
        frames = [Frame(as_rgb(picture), Fraction(0), 0)]
        tracks = [MaskTrack(mask) for mask in masks or ()]
        stream = self.stream(frames, styles, weights=weights, masks=tracks, config=config, temporal=None, **options)
        return next(stream).image

    def stream(
        self,
        frames: Iterable[Frame],
        styles: Any,
        *,
        weights: Sequence[float] | None = None,
        masks: Sequence[TimedMask] | None = None,
        config: StylizeConfig | None = None,
        temporal: TemporalConfig | Literal["default"] | None = "default",
        carries: Sequence[TemporalCarry] = (),
        **options: Any,
    ) -> Generator[Frame, None, None]:
        """Paint frames one after another, each with the memory of the one before; holds two frames at a time.

        Args:
            frames: of one video, in order.
            temporal: how coherence over time is kept; None paints each frame alone.
            carries: memories to go on with, in place of `temporal`: one, or with several masks one a style.
            styles, weights, masks, config, options: as for a picture.

        Yields:
            Painted frames with the timestamps and indices of the input.
        """
        config = _configured(config, options)
        several = list(styles) if isinstance(styles, (list, tuple)) else [styles]
        shares = _shares(several, weights)
        tracks = list(masks or ())
        check_num_masks(len(tracks), len(several))
        memories = list(carries) or [_carry(temporal) for _ in several[: len(tracks) or 1]]
        layers: list[list[tuple[float, StyleCode]]] = []
        for frame in frames:
            self.check_size(*frame.image.shape[1::-1], size=config.size)
            rgb = sized(frame.image, config.size)
            if not layers:
                side = config.side_of_styles(rgb.shape[1], rgb.shape[0])
                codes = [self.encode_style(s, projection=config.projection, size=side).code for s in several]
                # Under masks of their own the styles do not mix, each is painted in full.
                alone = [[(1.0, code)] for code in codes]
                layers = alone if len(tracks) > 1 else [list(zip(shares, codes, strict=True))]
            content = self._tensor(rgb)
            painted = [
                self._paint(content, layer, config, carry) for layer, carry in zip(layers, memories, strict=True)
            ]
            result = self._compose(rgb, painted, tracks, frame.pts_seconds)
            if config.keep_colors:
                result = keep_colors(result, rgb)
            yield replace(frame, image=_to_uint8(result))

    @torch.inference_mode()
    def _paint(
        self,
        picture_13HW: Tensor,
        styles: Sequence[tuple[float, StyleCode]],
        config: StylizeConfig,
        carry: TemporalCarry | None,
    ) -> Tensor:
        """One picture in one mixture of styles: (1, 3, H, W) to the same, in [0, 255]."""
        H, W = picture_13HW.shape[2:]
        grown = padded(picture_13HW)
        most = 2 * (min(grown.shape[2:]) // STRIDE) - 1
        if config.patch_size > most:
            raise OptionError(
                f"patch_size={config.patch_size} is too large for {W}x{H} pixels: choose at most {most}"
            )
        map_bytes = grown.shape[2] * grown.shape[3] * self.network.widths[0] * 4
        tile = _TILE if map_bytes > _LARGEST_MAP_BYTES else None
        content = self.network.encode(grown, tile=tile)
        _check_finite(content.z)
        if carry:
            carry.begin(grown, content)
        how = Decoration(config.strength, config.interpolation, config.patch_size, config.detail)
        targets = fusion_targets(content.statistics, styles, how)
        with stage("style decorator"):
            z, matches = self._decorate(content.z, styles, how, carry)
            skips = transfer_skips(content.skips, styles, how, matches, self.network.joints, cut=cut_once)
        del content  # its levels are as large as all that the decoder makes
        painted = self.network.decode(z, targets, skips, tile=tile)
        if carry:
            painted = carry.carry_picture(painted)
        return painted[:, :, :H, :W]

    def _decorate(
        self, z_Chw: Tensor, styles: Sequence[tuple[float, StyleCode]], how: Decoration, carry: TemporalCarry | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Features in a mixture of styles, and each style's matches."""
        parts: list[Tensor] = []
        matches: list[Tensor] = []
        # A style that was encoded before keeps the projection of then.
        projections: set[Projection] = {code.projection for _, code in styles}
        floors = self.network.eigenvalue_floor, self.network.softness
        by_projection = {name: fit_whitening(z_Chw, name, *floors).forward(z_Chw) for name in projections}
        for number, (weight, code) in enumerate(styles):
            whitened = by_projection[code.projection]
            swapped = swap(whitened, code, how.patch_size, carry.carry_matches(number) if carry else None)
            if carry:
                swapped = carry.carry_features(number, swapped)
            parts.append(weight * recolour(z_Chw, whitened, swapped.features, code, how))
            matches.append(swapped.matches)
        return torch.stack(parts).sum(0), matches

    def _compose(
        self, rgb: RGB, painted: Sequence[Tensor], tracks: Sequence[TimedMask], seconds: Fraction
    ) -> NDArray[np.float32]:
        """Painted layers under their masks, over the photograph: (H, W, 3) float32 in [0, 255]."""
        layers = [layer[0].permute(1, 2, 0).float().cpu().numpy() for layer in painted]
        if not tracks:
            return layers[0]
        height, width = rgb.shape[:2]
        masks = [track.at(seconds, height, width) for track in tracks]
        total = np.maximum(np.sum(masks, axis=0), 1)
        result = rgb * (1 - np.sum(masks, axis=0) / total)[..., None]
        for layer, mask in zip(layers, masks, strict=True):
            result = result + layer * (mask / total)[..., None]
        return result.astype(np.float32)

    def _tensor(self, rgb: RGB) -> Tensor:
        tensor = torch.from_numpy(np.array(rgb, copy=True)).permute(2, 0, 1)[None]
        return tensor.to(self.device, torch.float32).contiguous(memory_format=torch.channels_last)


def _configured(config: StylizeConfig | None, options: dict[str, Any]) -> StylizeConfig:
    if config is not None and options:
        raise OptionError(f"config and {', '.join(options)} were both given: put all options into the config")
    try:
        return config or StylizeConfig(**options)
    except TypeError as error:
        raise OptionError(f"{error}. Known options: {', '.join(StylizeConfig.__dataclass_fields__)}") from error


def _carry(temporal: TemporalConfig | Literal["default"] | None) -> TemporalCarry | None:
    if temporal is None:
        return None
    return TemporalCarry(TemporalConfig() if temporal == "default" else temporal)


def _shares(styles: Sequence[Any], weights: Sequence[float] | None) -> list[float]:
    if not styles:
        raise OptionError("no style was given: name at least one picture")
    given = list(weights) if weights is not None else [1.0] * len(styles)
    if len(given) != len(styles):
        raise OptionError(f"{counted(len(given), 'weight')} for {counted(len(styles), 'style')}: give one for each")
    if any(not w >= 0 for w in given) or not 0 < sum(given) < float("inf"):
        raise OptionError(f"weights={given} must not be negative, and at least one must be above 0")
    return [weight / sum(given) for weight in given]


def _check_finite(values: Tensor) -> None:
    if not torch.isfinite(values).all():
        raise ModelError("the model makes values that are not numbers: its file is damaged. Get it again")


def _to_uint8(picture: NDArray[np.float32]) -> RGB:
    _check_finite(torch.from_numpy(picture))
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _fingerprint(artifact: Artifact) -> str:
    """Identifies a network by its tensors."""
    import hashlib

    digest = hashlib.sha256()
    for name in sorted(artifact.tensors):
        digest.update(name.encode())
        digest.update(artifact.tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


__all__ = ["Mask", "Style", "StylizeConfig", "Stylizer", "fit_mask"]
