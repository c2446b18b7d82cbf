"""How well a stylizer paints: style distance, content distance, reconstruction, and a contact sheet.

    python benchmarks/stylizer_quality.py --data ../shared/data [--sizes 256 512] [--contents 19] [--styles 46]

Measured with the distilled VGG-19 of `recipes/distilled_vgg.py` on every content photograph times every painting:

    style distance d(a, style)  sum over relu1_1..relu4_1 of (squared difference of channel means and of channel
                                deviations, averaged over channels) / (mean squared mean and deviation of the style)
    ratio                       d(painted, style) / d(photograph, style); 0 is the style, 1 the photograph
    content                     squared difference at relu4_1, as a share of the photograph's variance there
    PSNR                        of the painting at strength 0, "biased", against the photograph, in dB
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
from distilled_vgg import DistilledVGG

from muybridge.media.images import read_image, resize_image
from muybridge.progress import progress_line
from muybridge.stylize.objective import style_distance
from muybridge.stylize.stylizer import Stylizer

PICTURES = {".jpg", ".jpeg", ".png"}


def load(path: Path, size: int) -> np.ndarray:
    """RGB uint8 with the short side scaled to `size` and the long side cut to at most 1.5 times it."""
    rgb = read_image(path).rgb
    scale = size / min(rgb.shape[:2])
    rgb = resize_image(rgb, max(size, round(rgb.shape[1] * scale)), max(size, round(rgb.shape[0] * scale)))
    return rgb[: size * 3 // 2, : size * 3 // 2]


def levels(teacher: DistilledVGG, rgb: np.ndarray) -> list[torch.Tensor]:
    return teacher(torch.from_numpy(rgb).permute(2, 0, 1)[None].float())


def distance(a: list[torch.Tensor], style: list[torch.Tensor]) -> float:
    return float(sum(style_distance(x, y) for x, y in zip(a, style, strict=True)))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@torch.inference_mode()
def measure(stylizer: Stylizer, teacher: DistilledVGG, contents: list[Path], styles: list[Path], size: int) -> dict:
    photos = [load(path, size) for path in contents]
    photo_levels = [levels(teacher, photo) for photo in photos]
    ratios, content, by_style = [], [], {}
    with progress_line(f"size {size}", total=len(styles) * len(photos), unit="pictures") as line:
        for path in styles:
            painting = load(path, size)
            style, style_levels = stylizer.encode_style(painting, size=size), levels(teacher, painting)
            of_style = []
            for photo, seen in zip(photos, photo_levels, strict=True):
                painted = levels(teacher, stylizer(photo, style, style_size=size))
                of_style.append(distance(painted, style_levels) / distance(seen, style_levels))
                content.append(float((painted[3] - seen[3]).square().mean() / seen[3].var()))
                line.advance()
            by_style[path.name] = statistics.median(of_style)
            ratios += of_style
    plain = stylizer.encode_style(photos[0], size=size)
    restored = [psnr(stylizer(photo, plain, strength=0.0), photo) for photo in photos]
    return {
        "size": size,
        "pairs": len(ratios),
        "ratio_median": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4),
        "share_of_pairs_at_most_0.30": sum(r <= 0.30 for r in ratios) / len(ratios),
        "content_median": statistics.median(content),
        "psnr_mean": statistics.mean(restored),
        "psnr_min": min(restored),
        "worst_styles": sorted(by_style.items(), key=lambda item: -item[1])[:5],
    }


def contact_sheet(stylizer: Stylizer, contents: list[Path], styles: list[Path], cell: int, out: Path) -> None:
    """A table of pictures: styles along the top, photographs down the side."""

    def square(path: Path, side: int) -> np.ndarray:
        rgb = load(path, side)
        y, x = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
        return rgb[y : y + side, x : x + side]

    sheet = Image.new("RGB", ((len(styles) + 1) * (cell + 4), (len(contents) + 1) * (cell + 4)), "white")
    ImageDraw.Draw(sheet).text((8, cell // 2), "photograph \\ style", fill="black")

    def place(rgb: np.ndarray, column: int, row: int) -> None:
        sheet.paste(Image.fromarray(resize_image(rgb, cell, cell)), (column * (cell + 4), row * (cell + 4)))

    for column, path in enumerate(styles, start=1):
        place(square(path, cell), column, 0)
        style = stylizer.encode_style(load(path, 2 * cell), size=2 * cell)
        for row, photo in enumerate(contents, start=1):
            place(square(photo, cell), 0, row)
            place(stylizer(square(photo, 2 * cell), style), column, row)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--contents", type=int, default=19)
    parser.add_argument("--styles", type=int, default=46)
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet here")
    parser.add_argument("--cell", type=int, default=192, help="side of one picture of the sheet")
    args = parser.parse_args()
    pictures = lambda folder: sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)  # noqa: E731
    contents = pictures(args.data / "photos" / "content")
    styles = pictures(args.data / "styles")
    contents = contents[:: max(1, len(contents) // args.contents)][: args.contents]
    styles = styles[:: max(1, len(styles) // args.styles)][: args.styles]
    stylizer = Stylizer.from_pretrained(args.model)
    if args.sheet:
        contact_sheet(stylizer, contents, styles, args.cell, args.sheet)
    teacher = DistilledVGG(args.data / "weights" / "vgg19_distilled").eval()
    for size in args.sizes:
        print(json.dumps(measure(stylizer, teacher, contents, styles, size), indent=1))


if __name__ == "__main__":
    main()
