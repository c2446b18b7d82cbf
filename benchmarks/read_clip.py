"""Times reading a clip of 8 frames out of a 10 s video of 1280x720, against decoding all of it.

    python benchmarks/read_clip.py [--repeats 5] [--frames 8] [--rate 2]

Prints medians in milliseconds of processor time (which other work on the machine disturbs less) and elapsed, for a
key frame every 250 and every 30 frames, and how many times as fast each way is as the first.

    everything   all frames decoded and converted, then the wanted ones picked
    test         `read_clip`, the middle of the video: frames spread over frames / rate seconds
    training     `read_clip`, starts drawn at random, another at each repeat
    segments     `read_clip`, one frame from each eighth of the video
    at 2 s       `read_clip`, the same span as "test", in a clip that begins 2 s into the video
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from read_video import make_clip
from torch import Tensor

from muybridge.data.clips.dataset import read_clip
from muybridge.data.clips.sampling import SamplingConfig, sample_seconds
from muybridge.media.video_reader import VideoReader

SECONDS = 10.0


def everything(path: Path, config: SamplingConfig) -> Tensor:
    with VideoReader(path) as reader:
        frames = list(reader)
    times = np.array([float(frame.pts_seconds) for frame in frames])
    wanted = np.searchsorted(times, sample_seconds(config, 0, SECONDS) + 1e-6, side="right") - 1
    return torch.from_numpy(np.stack([frames[i].image for i in wanted])).permute(0, 3, 1, 2)


def ways(path: Path, config: SamplingConfig) -> dict[str, Callable[[], Tensor]]:
    random = np.random.default_rng(0)
    return {
        "everything": lambda: everything(path, config),
        "test": lambda: read_clip(path, config),
        "training": lambda: read_clip(path, config, random=random),
        "segments": lambda: read_clip(path, replace(config, mode="segments")),
        "at 2 s": lambda: read_clip(path, config, start=2.0, end=2.0 + config.frames / config.rate),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2.0)
    options = parser.parse_args()
    config = SamplingConfig(frames=options.frames, rate=options.rate)
    with tempfile.TemporaryDirectory() as folder:
        for gop in (250, 30):
            path = Path(folder) / f"gop_{gop}.mp4"
            make_clip(path, gop)
            assert torch.equal(everything(path, config), read_clip(path, config))
            compared = ways(path, config)
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in compared}
            for _ in range(options.repeats):
                for name, way in compared.items():
                    start, start_cpu = time.perf_counter(), time.process_time()
                    way()
                    now, now_cpu = time.perf_counter(), time.process_time()
                    taken[name].append((now_cpu - start_cpu, now - start))
            print(f"a key frame every {gop} frames")
            whole = statistics.median(cpu for cpu, _ in taken["everything"])
            for name, pairs in taken.items():
                cpu, elapsed = (statistics.median(values) * 1000 for values in zip(*pairs, strict=True))
                print(f"  {name:10} {cpu:8.0f} ms cpu {elapsed:8.0f} ms   {whole * 1000 / cpu:5.2f}x")


if __name__ == "__main__":
    main()
