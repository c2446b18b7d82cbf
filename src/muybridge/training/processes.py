"""What a training runs on: one process, or the group that torchrun has started, and what is spread over them."""

import os
from collections.abc import Sequence
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from muybridge.errors import TrainingError
from muybridge.training.fit_config import FitConfig


def start_processes(accelerator: str, config: FitConfig) -> Fabric:
    """One process, or the group that torchrun has started."""
    kind, _, number = accelerator.partition(":")
    if "WORLD_SIZE" not in os.environ:
        return Fabric(accelerator=kind, devices=[int(number)] if number else 1, precision=config.precision)
    # Fabric's "auto" is one device on a CPU: each process would train alone, and all write the same files.
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    nodes = int(os.environ["WORLD_SIZE"]) // here
    fabric = Fabric(accelerator=kind, devices=here, num_nodes=nodes, precision=config.precision)
    fabric.launch()
    if config.batch_size % fabric.world_size:
        raise TrainingError(
            f"a batch of {config.batch_size} cannot be shared equally by {fabric.world_size} processes. Choose a "
            "--batch-size that is a multiple of their number"
        )
    return fabric


def set_up(fabric: Fabric, objective: nn.Module, config: FitConfig, sharded: Sequence[nn.Module]) -> tuple[Any, Any]:
    """Objective and optimizer as Fabric wraps them."""
    fabric.seed_everything(config.seed, verbose=False)
    optimizer = _optimizer(objective, config)
    if sharded:
        _shard(objective, sharded, fabric)
    if config.compile:
        objective.compile()
    return cast(tuple[Any, Any], fabric.setup(objective, optimizer))


def _shard(objective: nn.Module, parts: Sequence[nn.Module], fabric: Fabric) -> None:
    """Spread frozen parts over the processes (FSDP2); what is trained stays whole in each, for DDP to average."""
    if fabric.world_size == 1:
        raise TrainingError("one process has nobody to share its blocks with. Start with torchrun")
    if fabric.device.type == "cpu" and not hasattr(torch.cpu.Stream, "record_event"):
        raise TrainingError(f"torch {torch.__version__} shares blocks on GPUs only. Install torch 2.7 or later")
    mesh = init_device_mesh(fabric.device.type, (fabric.world_size,))
    spread: set[int] = set()
    for part in parts:
        assert not any(p.requires_grad for p in part.parameters())
        fully_shard(part, mesh=mesh)
        spread |= {id(p) for p in part.parameters()}
    names = [name for name, p in objective.named_parameters() if id(p) in spread]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(objective, names)  # pyright: ignore[reportPrivateUsage]


def _optimizer(objective: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    trained = [p for p in objective.parameters() if p.requires_grad]
    if not trained:
        raise TrainingError("there is nothing to train: every parameter is frozen")
    matrices = [p for p in trained if p.ndim > 1]
    vectors = [p for p in trained if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, eps=config.epsilon)
