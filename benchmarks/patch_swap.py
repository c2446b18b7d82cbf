"""The style swap and a whole stylization, against the same done the published way.

    python benchmarks/patch_swap.py swap       # 64x64 on 64x64, 512 channels, patches of 5
    python benchmarks/patch_swap.py whole      # 512x512 with VGG-19's widths (random weights: the work is the same)
    python benchmarks/patch_swap.py memory     # peak memory of each swap, in processes of their own

Published way: a convolution with the bank of all style patches, the arg max as a one-hot tensor, and a transposed
convolution with the bank; then a division by the overlap count. Times are medians of processor seconds of alternating
runs, and only their ratios mean anything.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from muybridge.bench.references import published_swap
from muybridge.models.avatar_net.network import (
    AvatarNet,
    Decoration,
    encode_style,
    fit_whitening,
    fusion_targets,
    recolour,
)
from muybridge.models.avatar_net.patch_swap import match_patches, rebuild_from_matches

K = 5


def our_swap(content: Tensor, style: Tensor, k: int = K) -> tuple[Tensor, Tensor]:
    matches = match_patches(content, style, patch_size=k)
    return rebuild_from_matches(style, matches, patch_size=k), matches


def compare(published: Callable[[], object], ours: Callable[[], object], repeats: int) -> None:
    published(), ours()  # neither pays for the first call
    times: dict[str, list[float]] = {"published": [], "ours": []}
    for _ in range(repeats):
        for name, call in (("published", published), ("ours", ours)):
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    slow, fast = (statistics.median(times[name]) for name in ("published", "ours"))
    print(f"published {slow:.2f} s, ours {fast:.2f} s: {slow / fast:.1f}x (medians of {repeats})")


@torch.inference_mode()
def swap(repeats: int) -> None:
    torch.manual_seed(0)
    content, style = torch.randn(512, 64, 64), torch.randn(512, 64, 64)
    (a, matches_a), (b, matches_b) = published_swap(content, style), our_swap(content, style)
    print(
        f"equal matches: {(matches_a == matches_b).float().mean():.2%}, largest difference {(a - b).abs().max():.1e}"
    )
    compare(lambda: published_swap(content, style), lambda: our_swap(content, style), repeats)


@torch.inference_mode()
def whole(repeats: int) -> None:
    torch.manual_seed(0)
    network = AvatarNet().eval().to(memory_format=torch.channels_last)
    picture = torch.rand(1, 3, 512, 512).mul(255).contiguous(memory_format=torch.channels_last)
    style = encode_style(network.encoder(torch.rand(1, 3, 512, 512) * 255))
    how = Decoration()

    def paint(swapped: Callable[[Tensor], Tensor]) -> Tensor:
        content = network.encode(picture)
        whitened = fit_whitening(content.z, style.projection, style.floor, style.softness).forward(content.z)
        z = recolour(content.z, whitened, swapped(whitened), style, how)
        return network.decode(z, fusion_targets(content.statistics, [(1.0, style)], how))

    def published(z: Tensor) -> Tensor:
        return published_swap(z, style.whitened, how.patch_size)[0]

    def ours(z: Tensor) -> Tensor:
        return our_swap(z, style.whitened, how.patch_size)[0]

    difference = (paint(published) - paint(ours)).abs().max()
    print(f"largest difference of a pixel, of 255: {difference:.1e}")
    compare(lambda: paint(published), lambda: paint(ours), repeats)


def peak_memory(which: str) -> None:
    """Peak resident memory of one swap beyond what holding the inputs takes, in MiB; meant for a fresh process."""
    torch.manual_seed(0)
    content, style = torch.randn(512, 64, 64), torch.randn(512, 64, 64)
    call = {"published": published_swap, "ours": our_swap}[which]
    with torch.inference_mode():
        call(content[:, :8, :8], style[:, :8, :8])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call(content, style)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def memory() -> None:
    peaks = {}
    for which in ("published", "ours"):
        done = subprocess.run(
            [sys.executable, __file__, "peak", "--which", which], capture_output=True, text=True, check=True
        )
        peaks[which] = float(done.stdout)
    ratio = peaks["published"] / peaks["ours"]
    print(f"peak: published {peaks['published']:.0f} MiB, ours {peaks['ours']:.0f} MiB: 1/{ratio:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["swap", "whole", "memory", "peak"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--which", default="ours")
    args = parser.parse_args()
    if args.what in ("swap", "whole"):
        {"swap": swap, "whole": whole}[args.what](args.repeats)
    elif args.what == "memory":
        memory()
    else:
        peak_memory(args.which)


if __name__ == "__main__":
    main()
