"""How fast the stage renders and the moving crop cuts clips, on one core, in processor time.

    python benchmarks/stage_rendering.py [--seconds 4]

Processor time is reported rather than the clock's, so that other programs on the machine do not count.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from muybridge.stage import Scene, SceneSpec
from muybridge.stage.camera import CameraClipConfig, random_camera_clip

SIZES = ((256, 144), (384, 216), (640, 360), (1280, 720))


def per_second(work: Callable[[int], int], seconds: float) -> float:
    """How many items a second of processor time yields; `work` gets a running number and returns its items."""
    work(0)
    start, items, number = time.process_time(), 0, 1
    while time.process_time() - start < seconds:
        items += work(number)
        number += 1
    return items / (time.process_time() - start)


def render(width: int, height: int, actors: int, number: int) -> int:
    scene = Scene(SceneSpec(seed=number, actors=actors, width=width, height=height, duration_seconds=4))
    return len(scene.clip(range(0, len(scene), 2)).frames)


def cut(photos: list[np.ndarray], config: CameraClipConfig, number: int) -> int:
    random_camera_clip(photos[number % len(photos)], seed=number, config=config)
    return 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="processor time spent on each line")
    seconds = parser.parse_args().seconds
    print("stage: frames per second of one core, scene set up (plan, background) and truth included")
    for width, height in SIZES:
        line = f"  {width}x{height:<5}"
        for actors in (1, 3, 6):
            line += f"  {actors} actors {per_second(partial(render, width, height, actors), seconds):7.0f}"
        print(line, flush=True)
    photos = [np.random.default_rng(i).integers(0, 256, (375, 500, 3), dtype=np.uint8) for i in range(4)]
    print("camera: clips per second of one core, 8 frames")
    for size in (112, 224):
        config = CameraClipConfig(height=size, width=size)
        rate = per_second(partial(cut, photos, config), seconds)
        print(f"  {size}x{size}  {rate:7.0f}")


if __name__ == "__main__":
    main()
