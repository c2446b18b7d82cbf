"""Time and memory of the ACAR head against the published form: a loop over clips that tiles every actor.

    python benchmarks/acar_head.py [--actors 50] [--height 256] [--width 456] [--depth 2] [--threads 1]

Both get the same context map, boxes and weights, and their logits are compared. Time is the median of alternating
runs. Memory is what HR2O's attention adds to the process at its peak, each form in a process of its own.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from muybridge.bench.references import PublishedHead, published_attention
from muybridge.models.acar.actors import Actors, ContextMap, Grouping
from muybridge.models.acar.head import ACARConfig, ACARHead
from muybridge.models.acar.relations import attend

HIDDEN = 512


def peak_of_attention(form: str, actors: int, grid: tuple[int, int]) -> float:
    """Megabytes that one attention adds to this process at its peak."""
    torch.set_num_threads(1)
    # One convolution's output holds all three, as in the head. Made in place, since freed memory would hide growth.
    maps = torch.empty(actors, *grid, 3 * HIDDEN).normal_().permute(0, 3, 1, 2)
    query, key, value = maps.split(HIDDEN, dim=1)
    groups = Grouping.from_counts([actors])

    def run(count: int) -> Tensor:
        few = Grouping.from_counts([count]) if count < actors else groups
        parts = (query[:count], key[:count], value[:count])
        return attend(*parts, few, few) if form == "ours" else published_attention(*(x.contiguous() for x in parts))

    with torch.inference_mode():
        run(2)  # loads the libraries
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run(actors)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def median_of(runs: dict[str, Callable[[], Tensor]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each run, the runs taking turns: by the clock, and of the processor."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start, busy = time.perf_counter(), time.process_time()
            run()
            if turn > 0:  # the first turn warms up
                taken[name].append((time.perf_counter() - start, time.process_time() - busy))
    return {
        name: (statistics.median(clock for clock, _ in each), statistics.median(busy for _, busy in each))
        for name, each in taken.items()
    }


def compare_time(actors: int, grid: tuple[int, int], depth: int, repeats: int) -> None:
    """Print medians and their ratios, float32 and bfloat16."""
    torch.manual_seed(0)
    head = ACARHead(ACARConfig(depth=depth)).eval()
    context = torch.randn(1, head.config.context_channels, *grid)
    corner = torch.rand(actors, 2) * 0.7
    boxes = torch.cat([corner, corner + 0.05 + torch.rand(actors, 2) * 0.25], dim=1)
    together = Actors.from_clips([boxes])
    published = PublishedHead(head)

    def half(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def inside() -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return run()

        return inside

    def ours() -> Tensor:
        return head(ContextMap(context), together)

    def theirs() -> Tensor:
        return published(context, [boxes])

    with torch.inference_mode():
        difference = (ours() - theirs()).abs().max() / theirs().abs().max()
        print(f"largest difference of logits, relative: {difference:.1e}")
        median = median_of(
            {"published": theirs, "ours": ours, "published bf16": half(theirs), "ours bf16": half(ours)}, repeats
        )
    clock, busy = median["published"]
    print(f"{f'median of {repeats}':<15}{'by the clock':>22}{'processor':>22}")
    for name, (seconds, used) in median.items():
        print(f"{name:<15}{seconds:10.3f} s {clock / seconds:7.2f} x{used:10.3f} s {busy / used:7.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description="The ACAR head against its published form.")
    parser.add_argument("--actors", type=int, default=50)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=456)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    grid = (-(-options.height // 16), -(-options.width // 16))
    rows, columns = ACARHead.map_grid(grid)
    print(
        f"{options.actors} actors, context {grid[0]} x {grid[1]}, maps {rows} x {columns}, {options.threads} threads"
    )
    peaks: dict[str, float] = {}
    for form in ("published", "ours"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks[form] = pool.apply(peak_of_attention, (form, options.actors, (rows, columns)))
    print(f"attention at its peak: published {peaks['published']:.0f} MB, ours {peaks['ours']:.1f} MB, "
          f"1/{peaks['published'] / max(peaks['ours'], 1e-3):.0f}")  # fmt: skip
    compare_time(options.actors, grid, options.depth, options.repeats)


if __name__ == "__main__":
    main()
