"""What one GPU does with the published sizes of the three systems, and how far its answers are from float32.

    python benchmarks/gpu.py [--out results.json] [--seconds 540]
    python benchmarks/gpu.py --device cpu --tiny     # tries every line, in little time; its figures mean nothing

Needs torch, torchvision and timm; no PyAV, no weights (random ones are as much work). Each part begins only while
seconds are left, so that the whole ends in time.

- ST-Adapter, ViT-B/16, 8 frames of 224: a training step and an answer, bfloat16 compiled; the share of the rate that
  a large bfloat16 product reaches on the same device, by operations counted in the uncompiled network.
- Avatar-Net with VGG-19's widths: frames a second at 1280x720 and 1920x1080, from a picture on the device to one.
- SlowFast R-101 with ACAR's head: clips a second of 32 frames at 256x456 with five people each.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from muybridge.models.acar.actors import Actors, Grouping
from muybridge.models.acar.head import ACARConfig, ACARHead, ACARNet
from muybridge.models.acar.slowfast import SlowFast
from muybridge.models.acar.slowfast_config import SLOWFAST_R101, SlowFastConfig
from muybridge.models.avatar_net.network import AvatarNet, AvatarNetConfig
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT

Found = dict[str, float | str]
CLASSES = 400


class Device:
    """Where it runs, how large the work is, and until when."""

    def __init__(self, name: str, tiny: bool, seconds: float) -> None:
        self.name, self.tiny = name, tiny
        self.until = time.monotonic() + seconds

    def wait(self) -> None:
        if self.name.startswith("cuda"):
            torch.cuda.synchronize()

    def seconds(self, run: Callable[[], object], repeats: int = 10) -> float:
        """Median of some runs after three to warm up; fewer where the time is short."""
        taken: list[float] = []
        for turn in range(3 + repeats):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            if turn >= 3 or self.tiny:
                taken.append(time.perf_counter() - start)
            if (self.tiny or time.monotonic() > self.until) and taken:
                break
        return statistics.median(taken)


def relative_error(answer: Tensor, exact: Tensor) -> float:
    """Root mean square of the difference, as a share of that of the exact answer."""
    exact = exact.double()
    return float((answer.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt())


def count(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def peaks(device: Device) -> Found:
    side = 256 if device.tiny else 8192
    found: Found = {}
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        a, b = (torch.randn(side, side, device=device.name, dtype=dtype) for _ in range(2))
        found[f"{name}, TFLOP/s"] = 2 * side**3 / device.seconds(lambda a=a, b=b: a @ b) / 1e12
    source = torch.empty(1 << (20 if device.tiny else 30), dtype=torch.uint8, device=device.name)
    target = torch.empty_like(source)
    found["copied, GB/s"] = 2 * source.nbytes / device.seconds(lambda: target.copy_(source)) / 1e9
    return found


def recognizer(device: Device, dtype: torch.dtype) -> VideoViT:
    torch.manual_seed(0)
    name = "vit_tiny_patch16_224" if device.tiny else "vit_base_patch16_224"
    backbone = timm.create_model(name, pretrained=False, num_classes=0).eval().to(device.name, dtype)
    network = VideoViT(backbone, CLASSES, adapters=AdapterConfig(width=384), dropout=0.0).to(device.name)
    torch.manual_seed(1)
    with torch.no_grad():  # adapters begin as nothing, and a head of zeros would hide every error
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return network


def st_adapter(device: Device, peak: float) -> Found:
    batch, frames = (1, 2) if device.tiny else (32, 8)
    torch.manual_seed(2)
    clips = torch.randn(batch, frames, 3, 224, 224, device=device.name)
    labels = torch.arange(batch, device=device.name) % CLASSES
    exact, half = recognizer(device, torch.float32), recognizer(device, torch.bfloat16)
    compiled = half if device.tiny else torch.compile(half, fullgraph=True)
    optimizer = torch.optim.AdamW([p for p in half.parameters() if p.requires_grad], lr=0.0, fused=not device.tiny)
    kind = device.name.partition(":")[0]

    def loss(network: nn.Module, autocast: bool) -> Tensor:
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=autocast):
            return F.cross_entropy(network(clips.bfloat16() if autocast else clips).float(), labels)

    def step(network: nn.Module) -> None:
        optimizer.zero_grad()
        loss(network, True).backward()
        optimizer.step()

    @torch.no_grad()
    def answer(network: nn.Module, autocast: bool) -> Tensor:
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=autocast):
            return network(clips.bfloat16() if autocast else clips).float()

    few = slice(0, 2)
    whole, clips = clips, clips[few]
    labels, all_labels = labels[few], labels
    loss(exact, False).backward()
    loss(half, True).backward()
    gradients = [torch.cat([p.grad.flatten() for p in n.parameters() if p.grad is not None]) for n in (half, exact)]
    found: Found = {
        "work": f"{batch} clips of {frames} frames of 224",
        "error of answers": relative_error(answer(half, True), answer(exact, False)),
        "error of gradients": relative_error(*gradients),
    }
    clips, labels = whole, all_labels
    operations = {"training": count(lambda: step(half)), "inference": count(lambda: answer(half, True))}
    times = {
        "training": device.seconds(lambda: step(compiled)),
        "inference": device.seconds(lambda: answer(compiled, True)),
    }
    for name, seconds in times.items():
        found[f"{name}, clips/s"] = batch / seconds
        found[f"{name}, share of the bfloat16 product"] = operations[name] / seconds / 1e12 / peak
    return found


@torch.inference_mode()
def avatar_net(device: Device, peak: float) -> Found:
    del peak
    widths = (8, 12, 16, 24) if device.tiny else AvatarNetConfig().widths
    networks: dict[str, AvatarNet] = {}
    for name, dtype in (("float32", torch.float32), ("half", torch.bfloat16 if device.tiny else torch.float16)):
        torch.manual_seed(0)
        network = AvatarNet(AvatarNetConfig(widths=widths)).eval()
        networks[name] = network.to(device.name, dtype, memory_format=torch.channels_last)
    found: Found = {"precision": "float16" if not device.tiny else "bfloat16"}
    sizes = {"tiny": (64, 96)} if device.tiny else {"1280x720": (720, 1280), "1920x1080": (1080, 1920)}
    torch.manual_seed(3)
    style = torch.rand(1, 3, *((64, 64) if device.tiny else (512, 512)), device=device.name) * 255
    for size, (height, width) in sizes.items():
        # Smooth, as pictures are; of white noise no two patches differ by more than rounding.
        coarse = torch.rand(1, 3, height // 16, width // 16, device=device.name) * 255
        picture = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)
        painted: dict[str, Tensor] = {}
        for name, network in networks.items():
            dtype = next(network.parameters()).dtype
            code = network.encode_style(style.to(dtype))
            given = picture.to(dtype).contiguous(memory_format=torch.channels_last)
            painted[name] = network(given, [(1.0, code)]).float()
            found[f"{size}, {name}, frames/s"] = 1 / device.seconds(
                lambda network=network, given=given, code=code: network(given, [(1.0, code)])
            )
        found[f"{size}, mean difference of 255"] = float((painted["half"] - painted["float32"]).abs().mean())
    return found


@torch.inference_mode()
def acar(device: Device, peak: float) -> Found:
    config = SlowFastConfig(blocks=(1, 1, 1, 1), width=8, frames=8) if device.tiny else SLOWFAST_R101
    clips, size, people = (1, (64, 96), 2) if device.tiny else (8, (256, 456), 5)
    torch.manual_seed(0)
    trunk = SlowFast(config)
    head = ACARHead(
        ACARConfig(
            context_channels=config.context_channels,
            reduced=16 if device.tiny else 1024,
            hidden=8 if device.tiny else 512,
            depth=1,
            output_kernel=1,
        )
    )
    network = ACARNet(trunk, head).eval().to(device.name)
    frames = torch.randn(clips, config.frames, 3, *size, device=device.name)
    corner = torch.rand(clips * people, 2, device=device.name) * 0.6
    groups = Grouping.from_counts([people] * clips).to(device.name)
    actors = Actors(torch.cat([corner, corner + 0.3], 1), groups)
    kind = device.name.partition(":")[0]

    def answer(trunk: nn.Module, autocast: bool) -> Tensor:
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=autocast):
            network.trunk = trunk
            return network(frames, actors).float()

    compiled = trunk if device.tiny else torch.compile(trunk)
    error = relative_error(answer(trunk, True), answer(trunk, False))
    operations = count(lambda: answer(trunk, True))
    found: Found = {
        "work": f"{clips} clips of {config.frames} frames of {size[1]}x{size[0]}",
        "error of answers": error,
    }
    for name, run in (("float32", lambda: answer(trunk, False)), ("bfloat16", lambda: answer(compiled, True))):
        seconds = device.seconds(run)
        found[f"{name}, clips/s"] = clips / seconds
        found[f"{name}, share of the bfloat16 product"] = operations / seconds / 1e12 / peak
    return found


PARTS: dict[str, Callable[[Device, float], Found]] = {
    "ST-Adapter": st_adapter,
    "Avatar-Net": avatar_net,
    "SlowFast R-101 with ACAR": acar,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    device = Device(args.device, args.tiny, args.seconds)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # float32 is what is told
    torch.backends.cudnn.benchmark = True
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    results: dict[str, Found] = {"machine": {"device": name, "torch": torch.__version__}, "peaks": peaks(device)}
    for part, measure in PARTS.items():
        if time.monotonic() < device.until:
            results[part] = measure(device, float(results["peaks"]["bfloat16, TFLOP/s"]))
        else:
            results[part] = {"left out": "no time was left"}
        if args.out is not None:  # after each part, so that a run that is cut off tells what it has
            args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        print(part, json.dumps(results[part]), flush=True)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
