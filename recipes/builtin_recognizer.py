r"""Makes the built-in recognizer, `src/muybridge/weights/camera.safetensors`: what the camera does.

    python recipes/builtin_recognizer.py --name time --kernel 1 --steps 1500     # stopped at step 1000
    python recipes/builtin_recognizer.py --name space --kernel 3 --steps 1000 --init runs/camera/time-0/checkpoint.pt
    python recipes/builtin_recognizer.py --name film --kernel 3 --steps 700 --learning-rate 1.5e-3 \
        --init runs/camera/space-0/checkpoint.pt --artifact src/muybridge/weights/camera.safetensors

The first two parts were made with clips of ordinary light in which the camera follows nothing (`light=0.25, noise=5,
followed=0`), the last with those below, after a look at what the second got wrong in real film.

Clips are made by a moving crop over photographs (`muybridge.stage.camera`): photos/imagenet and photos/natural, less
one in eight, which only the test sees; the built-in backbone has not seen those either. Each clip's time reversal is
the opposite move, so stills are at best at 5/9. Nine moves, as many test clips of each.

Methods, all with the same data, steps and read-out: `adapters` (ST-Adapter, the shipped one), `head` (a linear head
on the frozen backbone), `full` (everything trained, no adapters).
"""

import argparse
import json
import resource
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from builtin_backbone import MEAN, STD, larger_photos
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from muybridge.data.clip_sampling import SamplingConfig, ViewConfig
from muybridge.data.label_maps import LabelMap
from muybridge.data.sampling import Draw
from muybridge.models.backbones import fuse_attention
from muybridge.models.st_adapter import AdapterConfig, VideoViT
from muybridge.pretrained import BackboneIdentity, load_backbone
from muybridge.stage.camera import CAMERA_MOVES, STILLS_CEILING, CameraClipConfig, camera_clip, random_camera_clip
from muybridge.tasks.recognize import Recognizer
from muybridge.training.fit import FitConfig, fit

RGB = NDArray[np.uint8]
TEST_CLIPS_A_MOVE = 138
# Wider than the defaults at the small end, because film moves slowly, and at the large end, because it moves fast;
# dark and flat pictures, and things that the camera follows, because film has them.
CLIPS = CameraClipConfig(
    travel=(0.06, 0.7), zoom=(1.07, 1.9), roll=(4, 35), movers=3, followed=0.4, light=0.75, noise=7.0
)
TEST_CLIPS = CameraClipConfig()


def read_photo(path: Path) -> RGB:
    """RGB with a short side of at most 320 pixels."""
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
        scale = min(1.0, 320 / min(rgb.size))
        return np.array(rgb.resize((round(rgb.width * scale), round(rgb.height * scale)), Image.Resampling.LANCZOS))


class CameraClips(Dataset[dict[str, Tensor]]):
    """Clips of random moves: {"frames": (8, 3, 112, 112) uint8, "label": int64}."""

    def __init__(self, photos: list[RGB]) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        random = np.random.default_rng(draw.seed)
        others = [self.photos[int(i)] for i in random.integers(0, len(self.photos), 2)]
        clip, label = random_camera_clip(self.photos[draw.index], seed=draw.seed, config=CLIPS, foregrounds=others)
        return {"frames": torch.from_numpy(clip).permute(0, 3, 1, 2), "label": torch.tensor(label)}


def held_out_clips(photos: list[RGB]) -> tuple[Tensor, Tensor]:
    """As many clips of each move, from photographs that were not trained on; (N, 8, 3, 112, 112) uint8."""
    clips, labels = [], []
    for number in range(TEST_CLIPS_A_MOVE):
        photo, other = photos[number % len(photos)], photos[(number * 7 + 3) % len(photos)]
        for label, move in enumerate(CAMERA_MOVES):
            clips.append(camera_clip(photo, move=move, seed=900_000 + number, config=TEST_CLIPS, foregrounds=[other]))
            labels.append(label)
    return torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3), torch.tensor(labels)


class CameraObjective(nn.Module):
    """Cross-entropy of the move."""

    def __init__(self, model: VideoViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.model((batch["frames"].float() / 255 - MEAN) / STD).float()
        accuracy = (logits.argmax(-1) == batch["label"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["label"]), "accuracy": accuracy.detach()}

    @torch.no_grad()
    def predict(self, clips: Tensor) -> Tensor:
        """Logits (N, 9), in float32."""
        self.eval()
        parts = [self.model((part.float() / 255 - MEAN) / STD) for part in clips.split(24)]
        return torch.cat(parts)


def make_model(args: argparse.Namespace) -> tuple[VideoViT, Any]:
    backbone, identity = load_backbone()
    fuse_attention(backbone, fused=False)
    method = args.method
    adapters = AdapterConfig(
        width=args.width, kernel=(3, args.kernel, args.kernel), placement=args.placement, activation=args.activation
    )
    model = VideoViT(
        backbone,
        len(CAMERA_MOVES),
        adapters=adapters if method == "adapters" else None,
        readout=args.readout,
        dropout=0.0 if method == "adapters" else 0.1,
        train_backbone=method == "full",
    )
    return model, identity


def start_from(objective: CameraObjective, checkpoint: Path) -> None:
    """Trained tensors of another run; a temporal kernel becomes the middle of a spatio-temporal one."""
    state = torch.load(checkpoint, weights_only=True)["state"]
    wanted = objective.state_dict()
    for name, tensor in state.items():
        if name.endswith("conv.weight"):
            side = (wanted[name].shape[-1] - tensor.shape[-1]) // 2
            state[name] = F.pad(tensor, (side,) * 4)
    objective.load_state_dict(state, strict=False)


def ship(args: argparse.Namespace, model: VideoViT, identity: BackboneIdentity, result: dict[str, Any]) -> None:
    """Write the model file. Eight frames spread over a window: a clip of the training has no length of its own.
    Three crops: things that move seldom fill the whole picture."""
    Recognizer(
        model,
        LabelMap(CAMERA_MOVES, tuple(range(len(CAMERA_MOVES)))),
        SamplingConfig(frames=8, mode="segments", size=(112, 112), interpolation="bilinear"),
        views=ViewConfig(spatial=3),
        backbone=identity,
        device="cpu",
        provenance={
            "recipe": "recipes/builtin_recognizer.py",
            "data": "moving crops over 962 photographs (samples of ImageNet's classes, BSDS500)",
            "steps": args.steps,
            "seed": args.seed,
        },
        scores={name: result[name] for name in ("accuracy", "on reversed frames", "stills ceiling")},
    ).save(args.artifact)


def run(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    train_photos, test_photos = ([read_photo(p) for p in part] for part in larger_photos(args.data))
    model, identity = make_model(args)
    objective = CameraObjective(model)
    if args.init:
        start_from(objective, args.init)
    name = args.name or args.method
    folder = args.out / f"{name}-{args.seed}"
    rate = {"adapters": 2e-3, "head": 5e-3, "full": 3e-4}[args.method]
    config = FitConfig(
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate or rate,
        weight_decay=0.01,
        warmup_steps=args.steps // 10,
        schedule="cosine",
        clip_norm=1.0,
        precision="bf16-mixed",
        seed=args.seed,
        save_every=100,
    )
    started = time.perf_counter()
    fit(objective, CameraClips(train_photos), config, folder=folder, resume=args.resume, title=args.method)
    seconds = time.perf_counter() - started
    clips, labels = held_out_clips(test_photos)
    guesses = objective.predict(clips).argmax(-1)
    confusion = torch.zeros(9, 9, dtype=torch.long)
    confusion.index_put_((labels, guesses), torch.tensor(1), accumulate=True)
    backwards = objective.predict(clips.flip(1)).argmax(-1)
    result = {
        "method": args.method,
        "name": name,
        "seed": args.seed,
        "steps": args.steps,
        "batch_size": args.batch_size,
        "adapters": None if model.config is None else asdict(model.config),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "accuracy": float((guesses == labels).float().mean()),
        "on reversed frames": float((backwards == labels).float().mean()),
        "stills ceiling": STILLS_CEILING,
        "seconds a step": seconds / args.steps,
        "peak memory MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "confusion": confusion.tolist(),
    }
    print(json.dumps({k: v for k, v in result.items() if k != "confusion"}, indent=1))
    print(confusion)
    if args.artifact:
        ship(args, model, identity, result)
    with (args.out / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/camera"))
    parser.add_argument("--method", choices=("adapters", "head", "full"), default="adapters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--kernel", type=int, default=1, help="height and width of the adapters' kernel")
    parser.add_argument("--placement", default="mlp")
    parser.add_argument("--activation", choices=("gelu", "relu"))
    parser.add_argument("--readout", default="patch_mean", choices=("class_token", "patch_mean"))
    parser.add_argument("--init", type=Path, help="checkpoint whose adapters to start from")
    parser.add_argument("--name", help="of the run's folder, if not the method's")
    parser.add_argument("--artifact", type=Path, help="model file to write")
    parser.add_argument("--resume", action="store_true")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
