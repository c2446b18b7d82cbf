"""From photographs to a stylizer file."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from muybridge.artifacts import Artifact, check_model_file
from muybridge.counts import counted
from muybridge.data.photos import (
    CropConfig,
    PhotoCrops,
    decode_photograph,
    find_photographs,
    warn_of_unreadable,
)
from muybridge.data.sampling import Draw
from muybridge.errors import InputError, OptionError, TrainingError
from muybridge.models.avatar_net.network import StyleNetwork
from muybridge.options import configuration
from muybridge.pretrained_vgg19 import VGG19, avatar_net_with_vgg19, encoder_fingerprint
from muybridge.stylize.model_file import TASK, architecture_of
from muybridge.stylize.objective import ReconstructionObjective
from muybridge.stylize.options import StylizerPlan
from muybridge.stylize.stylizer import Stylizer
from muybridge.training.fit import Validation, check_resumable, fit, is_main_process

_HELD_OUT_EVERY = 50
_LARGEST_VALIDATION = 32


def train(plan: StylizerPlan, out: Path, *, resume: bool = False, device: str = "auto") -> Mapping[str, float]:
    """Train a decoder for a frozen encoder by reconstruction and write the model.

    Returns:
        The scores on the held-out photographs.

    Raises:
        TrainingError: too few photographs.
        InputError: none of them can be read.
        OptionError: an unknown encoder.
    """
    check_model_file(out)
    folder = out.with_suffix(".training")
    if resume:
        check_resumable(folder, _settings_of_plan(plan))
    paths = find_photographs(plan.photos)
    if len(paths) < 2:
        raise TrainingError(
            f"{counted(len(paths), 'photograph')}: too few to train on and hold one out. Give at least 2"
        )
    crops = CropConfig((plan.short_side, plan.short_side), plan.crop)
    kept, held_out = _split(paths, crops)
    torch.manual_seed(plan.config.seed)
    network, named_encoder = _network(plan.encoder)
    objective = ReconstructionObjective(network)
    result = fit(
        objective,
        PhotoCrops(kept, crops),
        plan.config,
        folder=folder,
        validation=Validation(_psnr_on(network, held_out, crops), "psnr"),
        resume=resume,
        accelerator="auto" if device == "auto" else torch.device(device).type,
        title="stylizer",
        settings=_settings(plan, kept),
    )
    network.cpu()
    architecture = architecture_of(network)
    provenance: dict[str, Any] = {"photographs": len(kept), "steps": result.step, "best_step": result.best_step}
    provenance["configuration"] = configuration(plan, folders=False)
    if named_encoder:
        tensors = {
            f"decoder.{name}": tensor for name, tensor in network.get_submodule("decoder").state_dict().items()
        }
        contract = {"encoder": named_encoder}
    else:
        tensors, contract = network.state_dict(), {}
    if is_main_process():
        Artifact(TASK, architecture, tensors, provenance, dict(result.metrics), contract).save(out)
    return result.metrics


def _settings(plan: StylizerPlan, kept: Sequence[Path]) -> dict[str, Any]:
    """What a resumed run must share, beside the numbers of the loop itself."""
    listing = hashlib.sha256(json.dumps([str(path) for path in kept]).encode()).hexdigest()[:16]
    return {**_settings_of_plan(plan), "photographs": len(kept), "listing": listing}


def _settings_of_plan(plan: StylizerPlan) -> dict[str, Any]:
    """Those of them that are known before photographs are looked at."""
    return {"encoder": plan.encoder, "short_side": plan.short_side, "crop": plan.crop}


def _split(paths: Sequence[Path], crops: CropConfig) -> tuple[list[Path], list[Path]]:
    """Photographs to train on, and one in so many to measure on, of which those that are looked at can be read.

    Raises:
        InputError: none can be read.
        TrainingError: only one can be read.
    """
    kept, held_out, is_wanted = list[Path](), list[Path](), False
    reason = ""
    for number, path in enumerate(paths):
        is_wanted = is_wanted or number % _HELD_OUT_EVERY == 0
        if not is_wanted:
            kept.append(path)
            continue
        try:
            if len(held_out) < _LARGEST_VALIDATION:
                decode_photograph(path, crops)
        except InputError as error:
            warn_of_unreadable(error)
            reason = str(error)
            continue
        held_out.append(path)
        is_wanted = False
    if not held_out:
        raise InputError(f"none of the {len(paths)} photographs can be read, at last: {reason}")
    if not kept:
        raise TrainingError(
            f"1 of {len(paths)} photographs can be read, too few to train on and hold one out. Give at least 2"
        )
    return kept, held_out


def _network(encoder: str) -> tuple[StyleNetwork, dict[str, str] | None]:
    """The network to train, and how its file names the encoder; None where the file holds it."""
    if encoder == "builtin":
        network = Stylizer.from_pretrained("builtin", device="cpu").network
        decoder = network.get_submodule("decoder")
        for module in decoder.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
        decoder.requires_grad_(True)
        return network, None
    if encoder != "vgg19" and not encoder.endswith(".pth"):
        raise OptionError(f"encoder={encoder!r} is not known: choose vgg19, builtin, or a .pth file of vgg19")
    network = avatar_net_with_vgg19(None if encoder == "vgg19" else Path(encoder))
    return network, {"source": VGG19, "sha256": encoder_fingerprint(network.encoder)}


def _psnr_on(network: StyleNetwork, paths: Sequence[Path], crops: CropConfig) -> Callable[[], dict[str, float]]:
    held_out = PhotoCrops(paths, crops)
    photos = torch.stack([held_out[Draw(i, i)]["photo"] for i in range(min(len(paths), _LARGEST_VALIDATION))])

    @torch.no_grad()
    def measure() -> dict[str, float]:
        device = next(network.parameters()).device
        errors = [
            F.mse_loss(network.reconstruct(photo.to(device))[0].clamp(0, 255).cpu(), photo)
            for photo in photos.split(1)
        ]
        return {"psnr": float(10 * torch.log10(255**2 / torch.stack(errors)).mean())}

    return measure
