"""Makes the built-in stylizer, `src/muybridge/weights/stylizer.safetensors`.

    python recipes/builtin_stylizer.py --data ../shared/data --out runs/stylizer [--resume]

Photographs: photos/imagenet and photos/natural, less one in 37 held out for validation. Styles: textures drawn by
code and the same photographs. No painting is used; photos/content and styles are only ever seen by
`benchmarks/stylizer_quality.py`.

The shipped file was made in about an hour on two CPU cores, in three parts:

    python recipes/builtin_stylizer.py --pixel-weight 60                     # interrupted at step 2750
    python recipes/builtin_stylizer.py --resume                              # to step 4200
    python recipes/builtin_stylizer.py --out runs/sharper --init runs/stylizer/checkpoint.pt \\
        --steps 1000 --learning-rate 8e-4 --pixel-weight 400                 # for sharper reconstructions
"""

import argparse
from pathlib import Path

import torch
from distilled_vgg import WIDTHS, DistilledVGG

from muybridge.artifacts import Artifact
from muybridge.data.photos import CropConfig, PhotoCrops
from muybridge.data.sampling import Draw
from muybridge.models.avatar_net.network import AvatarNet, AvatarNetConfig
from muybridge.stylize.objective import (
    DistillationObjective,
    DistillationWeights,
    add_normalisation,
    fold_normalisation,
)
from muybridge.training.fit import FitConfig, Validation, fit

WEIGHTS = Path(__file__).parents[1] / "src" / "muybridge" / "weights"
CONFIG = AvatarNetConfig(widths=(24, 48, 96, 192))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/stylizer"))
    parser.add_argument("--steps", type=int, default=4200)
    parser.add_argument("--artifact", type=Path, default=WEIGHTS / "stylizer.safetensors")
    parser.add_argument("--pixel-weight", type=float, default=200.0, help="of the reconstruction's error")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--init", type=Path, help="checkpoint whose weights to start from")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    network = AvatarNet(CONFIG)
    teacher = DistilledVGG(args.data / "weights" / "vgg19_distilled").to(memory_format=torch.channels_last)
    objective = DistillationObjective(network, teacher, WIDTHS, DistillationWeights(pixel=args.pixel_weight))
    photos = sorted(
        path
        for folder in ("imagenet", "natural")
        for path in (args.data / "photos" / folder).iterdir()
        if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    )
    held_out, photos = photos[::37], [p for i, p in enumerate(photos) if i % 37]
    crops = CropConfig(short_side=(176, 300), crop=128)
    validation_set = PhotoCrops(held_out, crops, texture_seeds=400)
    validation_batch = torch.utils.data.default_collate([validation_set[Draw(i, i)] for i in range(len(held_out))])

    add_normalisation(network)
    network.to(memory_format=torch.channels_last)
    if args.init:
        objective.load_state_dict(torch.load(args.init, weights_only=True)["state"], strict=False)

    def validate() -> dict[str, float]:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            torch.manual_seed(0)
            return {name: float(value) for name, value in objective(validation_batch).items()}

    config = FitConfig(
        steps=args.steps,
        batch_size=4,
        learning_rate=args.learning_rate,
        warmup=200 / args.steps,
        schedule="cosine",
        clip_norm=5.0,
        precision="bf16-mixed",
        save_every=250,
        validate_every=500,
    )
    dataset = PhotoCrops(photos, crops, texture_seeds=400)
    result = fit(
        objective,
        dataset,
        config,
        folder=args.out,
        resume=args.resume,
        validation=Validation(validate, "pixel", larger_is_better=False),
        title="stylizer",
    )
    fold_normalisation(network)
    provenance = {
        "recipe": "recipes/builtin_stylizer.py",
        "photographs": f"{len(photos)} of ImageNet samples and BSDS500, {len(held_out)} held out",
        "styles": "textures of muybridge.data.textures, and the photographs",
        "teacher": "VGG-19 of Collaborative Distillation (MIT), as target and loss",
        "steps": result.step,
        "best_step": result.best_step,
        "seed": config.seed,
    }
    half = {name: tensor.half() for name, tensor in network.state_dict().items()}
    architecture = {"widths": list(CONFIG.widths), "mean": list(CONFIG.mean)}
    Artifact("stylize", architecture, half, provenance, dict(result.metrics)).save(args.artifact)
    print(f"{args.artifact}: {result}")


if __name__ == "__main__":
    main()
