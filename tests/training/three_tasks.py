"""Trains a tiny model of each task into the folders recognizer, localizer, stylizer; alone or in a group.

Run by `test_fit_distributed`. In a group, a recognizer with spread blocks is trained too, where torch can
share blocks without GPUs.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from muybridge.data.clips.sampling import SamplingConfig
from muybridge.data.localization import KeyFrameSampling, collate_boxes
from muybridge.data.sampling import Draw
from muybridge.localize.objective import LocalizerObjective
from muybridge.models.acar.head import ACARConfig, ACARHead, ACARNet
from muybridge.models.avatar_net.network import AvatarNet, AvatarNetConfig
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import load_backbone
from muybridge.recognize.objective import RecognizerObjective
from muybridge.stylize.objective import ReconstructionObjective
from muybridge.training.fit import FitConfig, fit
from tests.localize.test_objective import Patches, item

SIDE = 32
CONFIG = FitConfig(steps=6, batch_size=4, learning_rate=3e-3, clip_norm=1.0, accumulate=2, seed=3)
sent = 0  # numbers that were averaged over the processes
CAN_SPREAD = hasattr(torch.cpu.Stream, "record_event")  # which FSDP2 calls; from torch 2.7 on


class Items(Dataset[Any]):
    """A few items in memory."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, draw: Draw) -> Any:
        return self.items[draw.index]


def recognizer() -> tuple[RecognizerObjective, Items]:
    torch.manual_seed(0)
    backbone, _ = load_backbone(
        "muybridge_vit", random=True, img_size=SIDE, patch_size=16, embed_dim=32, depth=3, num_heads=2
    )
    network = VideoViT(backbone, 3, adapters=AdapterConfig(width=8), dropout=0.0)
    clips = [
        {
            "frames": torch.randint(0, 256, (4, 3, SIDE, SIDE), dtype=torch.uint8),
            "labels": torch.tensor(number % 3),
            "index": torch.tensor(number),
        }
        for number in range(10)
    ]
    sampling = SamplingConfig(frames=4, size=(SIDE, SIDE))
    return RecognizerObjective(network, sampling, class_weights=torch.tensor([0.5, 1.0, 2.0])), Items(clips)


def localizer() -> tuple[LocalizerObjective, Items]:
    torch.manual_seed(1)
    trunk = Patches()
    trunk.project.requires_grad_(False)
    network = ACARNet(trunk, ACARHead(ACARConfig(6, 4, reduced=16, hidden=8, depth=1, dropout=0.0)))
    # Some batches have nobody in them for one of the processes.
    people = (2, 0, 5, 0, 1, 0, 3, 0, 4, 0)
    clips = [item(count, (64, 96 if number % 2 else 64), number) for number, count in enumerate(people)]
    return LocalizerObjective(network, KeyFrameSampling(frames=4), exclusive=((0, 1),)), Items(clips)


def stylizer() -> tuple[ReconstructionObjective, Items]:
    torch.manual_seed(2)
    network = AvatarNet(AvatarNetConfig(widths=(4, 5, 6, 7)))
    return ReconstructionObjective(network), Items([{"photo": torch.rand(3, 32, 32) * 255} for _ in range(10)])


def count_what_is_sent() -> None:
    """Have DDP say how many numbers it averages."""
    made = DistributedDataParallel.__init__

    def counted(state: None, bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
        global sent
        sent += bucket.buffer().numel()
        work = torch.distributed.all_reduce(bucket.buffer(), async_op=True)
        world = torch.distributed.get_world_size()
        return work.get_future().then(lambda done: done.value()[0].div_(world))

    def init(self: Any, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        self.register_comm_hook(None, counted)

    DistributedDataParallel.__init__ = init  # type: ignore[method-assign]


def main(folder: Path) -> None:
    global sent
    tasks = {"recognizer": recognizer, "localizer": localizer, "stylizer": stylizer}
    if "WORLD_SIZE" in os.environ:
        count_what_is_sent()
        if CAN_SPREAD:
            tasks["spread"] = recognizer
    for name, make in tasks.items():
        objective, items = make()
        sent = 0
        blocks = objective.model.spread_blocks() if name == "spread" else []
        fit(
            objective,
            items,
            # At a higher rate than its own, a decoder of random weights is thrown about, and rounding with it.
            replace(CONFIG, learning_rate=1e-4) if name == "stylizer" else CONFIG,
            folder=folder / name,
            collate=collate_boxes if name == "localizer" else None,
            accelerator="cpu",
            sharded=blocks,
        )
        trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
        here = sum(getattr(p, "_local_tensor", p).numel() for p in objective.parameters() if not p.requires_grad)
        rank = os.environ.get("RANK", "alone")
        print(json.dumps({"task": name, "rank": rank, "sent": sent, "trained": trained, "frozen_here": here}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
