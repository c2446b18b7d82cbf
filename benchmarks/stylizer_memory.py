"""Peak memory of painting one large picture with the built-in model, and tiles against one piece.

python benchmarks/stylizer_memory.py [--size 3840x2160] [--style-size 512]
python benchmarks/stylizer_memory.py --compare --size 1280x720     # largest difference of a pixel, tiled or not
"""

import argparse
import resource
import time

import numpy as np

from muybridge.data.textures import draw_texture
from muybridge.media.images import resize_image
from muybridge.stylize.stylizer import Stylizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="3840x2160")
    parser.add_argument("--style-size", type=int, default=512)
    parser.add_argument("--compare", action="store_true")
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    photo = resize_image(draw_texture("blocks", seed=2, size=1024), width, height)
    stylizer = Stylizer.from_pretrained(device="cpu")
    start = time.perf_counter()
    painted = stylizer(photo, "ember", style_size=args.style_size, strength=0.9)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{painted.shape[1]}x{painted.shape[0]}: peak {peak:.2f} GiB, {time.perf_counter() - start:.0f} s")
    if args.compare:
        stylizer._LARGEST_MAP_BYTES = 1
        tiled = stylizer(photo, "ember", style_size=args.style_size, strength=0.9)
        print(f"largest difference of a pixel: {np.abs(painted.astype(int) - tiled).max()} of 255")


if __name__ == "__main__":
    main()
