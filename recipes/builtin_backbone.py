r"""Makes the built-in backbone, `src/muybridge/weights/backbone.safetensors`: a small image transformer.

    python recipes/builtin_backbone.py --out runs/first --learning-rate 1.5e-3 --steps 1500
    python recipes/builtin_backbone.py --out runs/backbone --init runs/first/checkpoint.pt --learning-rate 6e-4 \
        --steps 550 --positions 2

The second part mends the first: learned from noise, positions had stayed a hundredth of the patches' content, so that
nothing built on the backbone could tell where in the picture something moved. It starts with strong sinusoids.

Stills alone: 18,000 photographs of 64x64 in 200 classes (photos/small64), and the larger ones of photos/imagenet and
photos/natural, less one in eight, which are kept for testing what is built on this backbone. Each patch learns to
tell what the distilled VGG-19 sees there (relu4_1 and relu5_1 of the undistorted crop), the class token learns the
class. Light, contrast, colour and noise of the crop vary, so that the features do not hang on them.

Held out: photos/small64's validation set, 3,000 photographs, measured at the end only. The
last weights are kept.
"""

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from distilled_vgg import DistilledVGG
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as TF

from muybridge.data.sampling import Draw
from muybridge.models.backbones import backbone_hash, create_backbone, fuse_attention
from muybridge.training.fit import FitConfig, fit

WEIGHTS = Path(__file__).parents[1] / "src" / "muybridge" / "weights" / "backbone.safetensors"
SIZE = 112
NO_CLASS = -1
LARGE_SIDE = 288
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def larger_photos(data: Path) -> tuple[list[Path], list[Path]]:
    """The larger photographs: those to train on, and those that no built-in model sees (one in eight)."""
    photos = sorted(
        path
        for folder in ("imagenet", "natural")
        for path in (data / "photos" / folder).iterdir()
        if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
    )
    return [p for i, p in enumerate(photos) if i % 8], photos[::8]


class Stills(Dataset[dict[str, Tensor]]):
    """Random crops of photographs: {"picture": (3, 112, 112) uint8, "label": int64, -1 where there is no class}."""

    def __init__(self, pictures: list[Tensor], labels: list[int], *, smallest_area: list[float]) -> None:
        self.pictures, self.labels, self.smallest_area = pictures, labels, smallest_area

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        picture = self.pictures[draw.index]
        random = np.random.default_rng(draw.seed)
        height, width = picture.shape[1:]
        side = int(min(height, width) * np.sqrt(random.uniform(self.smallest_area[draw.index], 1.0)))
        top, left = (int(random.integers(0, length - side + 1)) for length in (height, width))
        crop = TF.resized_crop(picture, top, left, side, side, [SIZE, SIZE], TF.InterpolationMode.BICUBIC)
        if random.random() < 0.5:
            crop = TF.horizontal_flip(crop)
        return {"picture": crop, "label": torch.tensor(self.labels[draw.index])}


def sinusoidal_positions(amplitude: float) -> Tensor:
    """(49, 192): sines and cosines of column and row at 48 rates (as He et al. 2022, appendix A)."""
    side = SIZE // 16
    rate = 1 / 10000 ** (torch.arange(48) / 48)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [axis.flatten()[:, None] * rate for axis in (x.float(), y.float())]
    return amplitude * torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)


def read_small(path: Path, classes: list[str]) -> tuple[list[Tensor], list[int]]:
    """All pictures of a zip file with a folder a class, (3, 64, 64) uint8 each, and their classes."""
    pictures: list[Tensor] = []
    labels: list[int] = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.lower().endswith((".jpeg", ".jpg")):
                with Image.open(io.BytesIO(archive.read(name))) as picture:
                    pictures.append(torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous())
                labels.append(classes.index(name.split("/")[0]))
    return pictures, labels


def read_large(path: Path) -> Tensor:
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
        scale = LARGE_SIDE / min(rgb.size)
        rgb = rgb.resize((round(rgb.width * scale), round(rgb.height * scale)), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(rgb)).permute(2, 0, 1).contiguous()


class StillsObjective(nn.Module):
    """Each patch predicts the teacher's features at its place, the class token the class."""

    def __init__(self, backbone: nn.Module, teacher: DistilledVGG, classes: int) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.teacher = teacher
        self.patch_head = nn.Linear(192, 640)
        self.class_head = nn.Linear(192, classes)
        # The teacher's deep features are tiny: deviations of 1e-3, which the usual eps would drown.
        self.standard = nn.BatchNorm1d(640, eps=1e-9, affine=False)

    def distort(self, picture: Tensor) -> Tensor:
        """Other light, contrast, colour, noise; RGB in [0, 1]."""
        n = len(picture)

        def uniform(low: float, high: float, channels: int = 1) -> Tensor:
            return torch.empty(n, channels, 1, 1).uniform_(low, high)

        grey = picture.mean(dim=1, keepdim=True)
        saturation = torch.where(uniform(0, 1) < 0.1, torch.zeros(n, 1, 1, 1), uniform(0.5, 1.4))
        picture = grey + (picture - grey) * saturation
        picture = picture.clamp(1e-4, 1) ** torch.exp(uniform(-0.5, 0.5))
        picture = (picture - 0.5) * uniform(0.6, 1.3) + 0.5 + uniform(-0.15, 0.15) + uniform(-0.05, 0.05, 3)
        return (picture + torch.randn_like(picture) * uniform(0, 0.06)).clamp(0, 1)

    @torch.no_grad()
    def targets(self, picture: Tensor) -> Tensor:
        """(n * 49, 640): relu5_1 and the four relu4_1 vectors of each patch, standardised by channel."""
        levels = self.teacher((picture * 255).contiguous(memory_format=torch.channels_last))
        deep, middle = levels[-1].float(), F.pixel_unshuffle(levels[-2].float(), 2)
        target = torch.cat([deep, middle], dim=1).flatten(2).transpose(1, 2)
        return self.standard(target.reshape(-1, 640))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        picture = batch["picture"].float() / 255
        target = self.targets(picture)
        tokens = self.backbone.forward_features((self.distort(picture) - MEAN) / STD)
        patches = self.patch_head(tokens[:, 1:]).float().reshape(-1, 640)
        dense = F.smooth_l1_loss(patches, target)
        logits = self.class_head(tokens[:, 0]).float()
        known = batch["label"] != NO_CLASS
        category = F.cross_entropy(logits[known], batch["label"][known], label_smoothing=0.1)
        return {"loss": 4 * dense + category, "dense": dense.detach(), "category": category.detach()}

    @torch.no_grad()
    def measure(self, pictures: list[Tensor], labels: list[int]) -> dict[str, float]:
        """Top-1 of the class token, and the share of the teacher's variance that the patches tell."""
        self.eval()
        right, error, total = 0, 0.0, 0.0
        for start in range(0, len(pictures), 100):
            part = torch.stack(pictures[start : start + 100])
            part = TF.resize(part, [SIZE, SIZE], TF.InterpolationMode.BICUBIC).float() / 255
            with torch.autocast("cpu", torch.bfloat16):
                tokens = self.backbone.forward_features((part - MEAN) / STD)
                target = self.targets(part)
                patches = self.patch_head(tokens[:, 1:]).float().reshape(-1, 640)
                logits = self.class_head(tokens[:, 0])
            right += int((logits.argmax(-1) == torch.tensor(labels[start : start + 100])).sum())
            error += float((patches - target).square().sum())
            total += float((target - target.mean(0)).square().sum())
        return {"top1": right / len(pictures), "explained": 1 - error / total}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/backbone"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--init", type=Path, help="checkpoint to start from")
    parser.add_argument("--positions", type=float, default=0.0, help="amplitude of sinusoids to start from")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    photos = args.data / "photos"
    classes = [line.split("\t")[0] for line in (photos / "small64" / "classes.tsv").read_text().splitlines()]
    pictures, labels = read_small(photos / "small64" / "train.zip", classes)
    small = len(pictures)
    large = [read_large(path) for path in larger_photos(args.data)[0]]
    data = Stills(
        pictures + large,
        labels + [NO_CLASS] * len(large),
        smallest_area=[0.35] * small + [0.12] * len(large),
    )
    # One crop in four comes from the larger photographs.
    weights = torch.cat([torch.full((small,), 3 / small), torch.full((len(large),), 1 / len(large))])
    held_out = read_small(photos / "small64" / "val.zip", classes)
    backbone = create_backbone("muybridge_vit", pretrained=False, drop_path_rate=0.05)
    teacher = DistilledVGG(photos.parent / "weights" / "vgg19_distilled", depth=5)
    objective = StillsObjective(backbone, teacher.to(memory_format=torch.channels_last), len(classes))
    fuse_attention(backbone, fused=False)
    if args.init:
        objective.load_state_dict(torch.load(args.init, weights_only=True)["state"], strict=False)
    if args.positions:
        with torch.no_grad():
            objective.backbone.pos_embed[0, 1:] = sinusoidal_positions(args.positions)
    config = FitConfig(
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        weight_decay=0.05,
        warmup=min(100 / args.steps, 0.25),
        schedule="cosine",
        clip_norm=1.0,
        precision="bf16-mixed",
        save_every=100,
    )
    fit(objective, data, config, folder=args.out, weights=weights, resume=args.resume, title="backbone")
    print(objective.measure(*held_out))
    # Stored in half precision and used in float32: the hash is of the rounded numbers.
    rounded = {name: tensor.half() for name, tensor in objective.backbone.state_dict().items()}
    save_file(rounded, args.weights, metadata={"recipe": "recipes/builtin_backbone.py", "steps": str(args.steps)})
    backbone.load_state_dict({name: tensor.float() for name, tensor in rounded.items()})
    print("hash", backbone_hash(backbone))


if __name__ == "__main__":
    main()
