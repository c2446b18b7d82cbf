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
import subprocess
import sys
import time

import torch

from muybridge.bench.comparisons import Comparison, our_swap, painting_of, swap_of
from muybridge.bench.measure import PeakGauge, compare_sides
from muybridge.bench.references import published_swap
from muybridge.models.avatar_net.patch_swap import match_patches


@torch.inference_mode()
def compare(comparison: Comparison, repeats: int) -> None:
    gauge = PeakGauge(time.process_time, quick=False)
    found = compare_sides(comparison, time.process_time, gauge.rate, repeats=repeats)
    print(f"largest difference, of the largest number: {found.difference:.1e}")
    print(
        f"published {found.reference_seconds:.2f} s, ours {found.seconds:.2f} s: {found.times_as_fast:.1f}x "
        f"(medians of {repeats}), {found.share:.0%} of the matrix peak"
    )


@torch.inference_mode()
def equal_matches() -> None:
    """Where two patches fit equally well up to rounding, either may be taken: all else must agree."""
    content, style = torch.randn(512, 64, 64), torch.randn(512, 64, 64)
    published, ours = published_swap(content, style)[1], match_patches(content, style, patch_size=5)
    print(f"equal matches: {(published == ours).float().mean():.2%}")


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
    torch.manual_seed(0)
    if args.what == "swap":
        equal_matches()
        compare(swap_of(64, 512), args.repeats)
    elif args.what == "whole":
        compare(painting_of(512), args.repeats)
    elif args.what == "memory":
        memory()
    else:
        peak_memory(args.which)


if __name__ == "__main__":
    main()
