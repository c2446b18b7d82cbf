"""Makes the built-in stylizer, `src/muybridge/weights/stylizer.safetensors`.

    python recipes/builtin_stylizer.py --data ../shared/data --out runs/stylizer [--resume]

Photographs: photos/imagenet and photos/natural, less one in 37 held out for validation. Styles: drawings after those
photographs and textures, all made by code, and the photographs themselves. No painting is used; photos/content and
styles are only ever seen by the benchmarks. The encoder is the distilled VGG-19 of Collaborative Distillation, the
decoder is trained to paint, with the decorator in the loop.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from distilled_vgg import DistilledVGG, colour_encoder
from numpy.typing import NDArray
from PIL import Image
from shufflenet import ShuffleNet
from torch import Tensor

from muybridge.artifacts import Artifact, open_model
from muybridge.data.drawings import DRAWING_KINDS, draw_photo, repaint
from muybridge.data.photos import CropConfig, random_crop
from muybridge.data.sampling import Draw
from muybridge.data.textures import TEXTURE_KINDS, draw_texture
from muybridge.models.avatar_net.detailed import DetailedAvatarNet
from muybridge.progress import progress_line
from muybridge.stylize.model_file import architecture_of, load_network
from muybridge.stylize.objective import PaintingObjective
from muybridge.training.fit import FitConfig, Validation, fit

WEIGHTS = Path(__file__).parents[1] / "src" / "muybridge" / "weights"
SIDE = 384  # of the squares that photographs and styles are kept at

RGB = NDArray[np.uint8]


def square(path: Path, random: np.random.Generator) -> RGB:
    """A square cut from a photograph scaled to a short side of `SIDE`."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    scale = SIDE / min(picture.size)
    width, height = (max(SIDE, round(side * scale)) for side in picture.size)
    left, top = random.integers(0, width - SIDE + 1), random.integers(0, height - SIDE + 1)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)))


def draw_styles(paths: list[Path], count: int, seed: int) -> Iterator[RGB]:
    """Of ten styles seven are drawings, one a texture, one a photograph, and one a photograph in other colours."""
    random = np.random.default_rng(seed)
    for number in range(count):
        block, place = divmod(number, 10)
        if place == 7:
            yield draw_texture(TEXTURE_KINDS[block % len(TEXTURE_KINDS)], seed=seed + number, size=SIDE)
            continue
        photo = square(paths[random.integers(len(paths))], random)
        if place < 7:
            kind = DRAWING_KINDS[(block * 7 + place) % len(DRAWING_KINDS)]
            yield draw_photo(kind, photo, seed=seed + number)
        else:
            yield photo if place == 8 else repaint(random, photo).astype(np.uint8)


def cut_photos(paths: list[Path]) -> Iterator[RGB]:
    random = np.random.default_rng(5)
    return (square(path, random) for path in paths)


def kept(file: Path, pictures: Iterator[RGB], count: int) -> RGB:
    """(count, SIDE, SIDE, 3) pictures, made once and read from a file after that."""
    if not file.exists():
        made = np.zeros((count, SIDE, SIDE, 3), np.uint8)
        with progress_line(file.stem, total=count, unit="pictures") as line:
            for number, picture in enumerate(pictures):
                made[number] = picture
                line.advance()
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, made)
    return np.load(file, mmap_mode="r")


class Pairs(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Crops of photographs and of styles at mixed scales, as the draw's seed decides."""

    def __init__(self, photos: RGB, styles: RGB, crop: int, style_crop: int) -> None:
        self.photos, self.styles = photos, styles
        self.crop, self.style_crop = CropConfig((crop, SIDE), crop), CropConfig((style_crop, SIDE), style_crop)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        random = np.random.default_rng(draw.seed)
        photo = Image.fromarray(self.photos[draw.index])
        style = Image.fromarray(self.styles[random.integers(len(self.styles))])
        return {"photo": random_crop(photo, self.crop, random), "style": random_crop(style, self.style_crop, random)}


def start_from(path: Path, objective: PaintingObjective) -> None:
    """Take over the decoder of a model file, or of a checkpoint of this recipe."""
    if path.suffix != ".safetensors":
        objective.load_state_dict(torch.load(path, weights_only=True)["state"], strict=False)
        return
    network = load_network(open_model(path, task="stylize"))
    found = network.get_submodule("encoder").state_dict()
    for name, tensor in objective.network.encoder.state_dict().items():
        # In half precision; the loss knows the sizes of this encoder's channels.
        if not torch.allclose(found[name], tensor, rtol=2e-3, atol=1e-4):
            raise SystemExit(f"{path} was trained on another encoder: {name} differs")
    objective.network.decoder.load_state_dict(network.get_submodule("decoder").state_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/stylizer"))
    parser.add_argument("--steps", type=int, default=2100)
    parser.add_argument("--crop", type=int, default=160)
    parser.add_argument("--style-crop", type=int, default=176)
    parser.add_argument("--learning-rate", type=float, default=2.5e-3)
    parser.add_argument("--artifact", type=Path, default=WEIGHTS / "stylizer.safetensors")
    parser.add_argument("--init", type=Path, help="model file, or checkpoint, whose weights to start from")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    paths = sorted(
        path
        for folder in ("imagenet", "natural")
        for path in (args.data / "photos" / folder).iterdir()
        if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    )
    held_out, training = paths[::37], [p for i, p in enumerate(paths) if i % 37]
    out: Path = args.out
    photos = kept(out / "photos.npy", cut_photos(training), len(training))
    styles = kept(out / "styles.npy", draw_styles(training, 1200, seed=0), 1200)
    unseen = kept(out / "held_out.npy", cut_photos(held_out), len(held_out))
    unseen_styles = kept(out / "held_out_styles.npy", draw_styles(held_out, 60, seed=100_000), 60)

    network = DetailedAvatarNet()
    teacher = DistilledVGG(args.data / "weights" / "vgg19_distilled")
    measured = np.concatenate([photos[::20, :256, :256], styles[::20, :256, :256]])
    encoder, sizes = colour_encoder(teacher, torch.from_numpy(measured).permute(0, 3, 1, 2).float(), network.config)
    network.encoder.load_state_dict(encoder.state_dict())
    perceptual = ShuffleNet(args.data / "weights" / "fastestdet" / "shufflenetv2.pth")
    objective = PaintingObjective(network, sizes, perceptual).to(memory_format=torch.channels_last)
    if args.init:
        start_from(args.init, objective)
    pairs = Pairs(unseen, unseen_styles, args.crop, args.style_crop)
    validation_batch = torch.utils.data.default_collate([pairs[Draw(i % len(unseen), i)] for i in range(24)])

    def validate() -> dict[str, float]:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            return {name: float(value) for name, value in objective(validation_batch).items()}

    config = FitConfig(
        steps=args.steps,
        batch_size=4,
        learning_rate=args.learning_rate,
        weight_decay=1e-4,
        warmup=20 / args.steps,
        schedule="cosine",
        clip_norm=2.0,
        save_every=50,
        validate_every=500,
    )
    result = fit(
        objective,
        Pairs(photos, styles, args.crop, args.style_crop),
        config,
        folder=args.out,
        resume=args.resume,
        validation=Validation(validate, "loss", larger_is_better=False),
        title="stylizer",
    )
    provenance = {
        "recipe": "recipes/builtin_stylizer.py",
        "photographs": f"{len(training)} of ImageNet samples and BSDS500, {len(held_out)} held out",
        "styles": "drawings of muybridge.data.drawings, textures of muybridge.data.textures, and the photographs",
        "encoder": "VGG-19 of Collaborative Distillation (MIT), idle channels left out",
        "judges": "the encoder, and ShuffleNetV2 0.5x",
        "steps": result.step,
        "best_step": result.best_step,
        "seed": config.seed,
    }
    half = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    Artifact("stylize", architecture_of(network), half, provenance, dict(result.metrics)).save(args.artifact)
    print(f"{args.artifact}: {result}")


if __name__ == "__main__":
    main()
