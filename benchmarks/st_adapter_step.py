"""Times ST-Adapter as ratios within one run: a training step, a frame of a stream, a batch of mixed adapters.

    python benchmarks/st_adapter_step.py step   [--device cpu] [--backbone vit_base_patch16_clip_quickgelu_224]
    python benchmarks/st_adapter_step.py stream
    python benchmarks/st_adapter_step.py mixed

`step` compares with a plain implementation in float32: Conv3d on permuted copies, every token through the last block
and its adapter, in-place addition; once with attention written out as matrix products and a softmax, as the released
code has it, once with PyTorch's fused attention, which credits it with a speed-up it did not have.

Runs take turns, so that a machine's drift falls on all alike. One thread on a CPU is timed by the processor time it
used, which a busy machine disturbs less than the clock on the wall.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from muybridge.bench.references import PlainModel
from muybridge.models.st_adapter.sets import AdapterBank, trained_state
from muybridge.models.st_adapter.stream import CausalStream
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT

CLASSES = 400


def take_turns(runs: dict[str, Callable[[], object]], device: str, repeats: int) -> dict[str, float]:
    """Median seconds of each, after one round to warm up."""
    alone = device == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            times[name].append(clock() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def report(seconds: dict[str, float]) -> None:
    first = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"{name:44s} {value:9.4f} s   {first / value:5.2f}x as fast, {value / first:5.2f}x the time")


def training_step(model: nn.Module, frames: Tensor, labels: Tensor, *, autocast: bool) -> Callable[[], object]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast(frames.device.type, dtype=torch.bfloat16, enabled=autocast):
            loss = F.cross_entropy(model(frames).float(), labels)
        loss.backward()
        optimizer.step()

    return run


def new_backbone(args: argparse.Namespace) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(args.backbone, num_classes=0).to(args.device).eval()


def measure_step(args: argparse.Namespace) -> dict[str, float]:
    frames = torch.randn(args.clips, args.frames, 3, 224, 224, device=args.device)
    labels = torch.zeros(args.clips, dtype=torch.int64, device=args.device)
    plain = PlainModel(new_backbone(args), CLASSES, fused_attention=False).to(args.device)
    fused = PlainModel(new_backbone(args), CLASSES, fused_attention=True).to(args.device)
    ours = VideoViT(new_backbone(args), CLASSES, adapters=AdapterConfig()).to(args.device)
    half = VideoViT(new_backbone(args).to(torch.bfloat16), CLASSES, adapters=AdapterConfig()).to(args.device)
    runs = {
        "plain implementation, float32": training_step(plain, frames, labels, autocast=False),
        "plain with fused attention, float32": training_step(fused, frames, labels, autocast=False),
        "ours, float32": training_step(ours, frames, labels, autocast=False),
        "ours, bfloat16 autocast": training_step(ours, frames, labels, autocast=True),
        "ours, backbone in bfloat16, autocast": training_step(half, frames.bfloat16(), labels, autocast=True),
    }
    if args.compile:
        whole = torch.compile(ours, fullgraph=True)
        runs["ours, float32, compiled"] = training_step(whole, frames, labels, autocast=False)
        whole = torch.compile(half, fullgraph=True)
        runs["ours, bfloat16, compiled"] = training_step(whole, frames.bfloat16(), labels, autocast=True)
    return take_turns(runs, args.device, args.repeats)


@torch.no_grad()
def measure_stream(args: argparse.Namespace) -> dict[str, float]:
    backbone = new_backbone(args)
    image = torch.randn(1, 3, 224, 224, device=args.device)
    stream = CausalStream(VideoViT(backbone, CLASSES, adapters=AdapterConfig(causal=True)).to(args.device).eval(), 16)
    bare = new_backbone(args)
    runs = {"bare image model, one image": lambda: bare(image), "stream, one frame": lambda: stream(image)}
    return take_turns(runs, args.device, args.repeats * 3)


@torch.no_grad()
def measure_mixed(args: argparse.Namespace) -> dict[str, float]:
    model = VideoViT(new_backbone(args), CLASSES, adapters=AdapterConfig()).to(args.device).eval()
    bank = AdapterBank(model, [trained_state(model) for _ in range(args.sets)])
    clips = max(args.clips, 4)
    frames = torch.randn(clips, args.frames, 3, 224, 224, device=args.device)
    choice = torch.arange(clips, device=args.device) % args.sets
    runs = {
        f"{clips} clips, one set of adapters": lambda: model(frames),
        f"{clips} clips, {args.sets} sets": lambda: model(frames, bank.select(choice)),
    }
    return take_turns(runs, args.device, args.repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measure", choices=["step", "stream", "mixed"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backbone", default="vit_base_patch16_clip_quickgelu_224")
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--sets", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.measure}: {args.backbone}, {args.frames} frames, {args.device}, {torch.get_num_threads()} threads")
    report({"step": measure_step, "stream": measure_stream, "mixed": measure_mixed}[args.measure](args))


if __name__ == "__main__":
    main()
