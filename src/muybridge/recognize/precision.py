"""Number formats while a recognizer is trained: of the forward pass, and of a frozen backbone's weights."""

from collections.abc import Generator
from contextlib import contextmanager

import torch

from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.recognize.options import TrainingPlan
from muybridge.training.fit import FitConfig

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def autocast(network: VideoViT, config: FitConfig) -> torch.autocast:
    """The precision of training, where the network is."""
    dtype = HALF.get(config.precision)
    return torch.autocast(network.head.weight.device.type, dtype, enabled=dtype is not None)


@contextmanager
def frozen_in_half_precision(network: VideoViT, plan: TrainingPlan) -> Generator[None]:
    """As in the paper, where precision is mixed: a frozen backbone in half precision while the rest is trained.

    Autocast alone would keep its weights in float32 and convert them at every step. One that is spread over processes
    stays in half precision: whole, it would fit nowhere.
    """
    dtype = HALF.get(plan.config.precision)
    if dtype is None or network.train_backbone:
        yield
        return
    if plan.spread:
        network.backbone.to(dtype)
        yield
        return
    exact = {name: tensor.to("cpu", copy=True) for name, tensor in network.backbone.state_dict().items()}
    network.backbone.to(dtype)
    try:
        yield
    finally:
        network.backbone.float().load_state_dict(exact)
