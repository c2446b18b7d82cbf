"""Makes the network of the built-in recognizer, `src/muybridge/weights/camera.safetensors`: what the camera does.

    python recipes/builtin_recognizer.py --artifact network.safetensors
    python recipes/builtin_camera_motion.py --network network.safetensors \\
        --artifact src/muybridge/weights/camera.safetensors                      # which sees motion too
    python recipes/builtin_recognizer.py --method full --parts 1 --steps 300     # to compare

Training goes in parts (`PARTS`): first the adapters have kernel (3, 1, 1) and learn what patches show one after the
other; then it grows to (3, 3, 3), which tells zooms from rolls; then clips become as dark and busy as film. The first
part of the shipped file was planned for 1,500 steps and ended after 1,000. `--resume` goes on where a run was ended.

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
from dataclasses import asdict, dataclass, replace
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

from muybridge.data.clips.sampling import SamplingConfig, ViewConfig
from muybridge.data.label_maps import LabelMap
from muybridge.data.sampling import Draw
from muybridge.models.backbones import fuse_attention
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import BackboneIdentity, load_backbone
from muybridge.recognize.recognizer import Recognizer
from muybridge.stage.camera import CAMERA_MOVES, STILLS_CEILING, CameraClipConfig, camera_clip, random_camera_clip
from muybridge.training.fit import FitConfig, fit

RGB = NDArray[np.uint8]
TEST_CLIPS_A_MOVE = 138
# Wider than the defaults at the small end, because film moves slowly, and at the large end, because it moves fast.
PLAIN_CLIPS = CameraClipConfig(travel=(0.06, 0.7), zoom=(1.07, 1.9), roll=(4, 35), movers=3)
# Dark and flat pictures, and things that the camera follows, because film has them.
FILM_CLIPS = replace(PLAIN_CLIPS, followed=0.4, light=0.75, noise=7.0)
TEST_CLIPS = CameraClipConfig()
LEARNING_RATES = {"adapters": 2e-3, "head": 5e-3, "full": 3e-4}


@dataclass(frozen=True)
class Part:
    """Of the training: `side` is the height and width of the adapters' kernel, `rate` scales the learning rate."""

    name: str
    steps: int
    side: int
    clips: CameraClipConfig
    rate: float = 1.0


PARTS = (
    Part("time", steps=1000, side=1, clips=PLAIN_CLIPS),
    Part("space", steps=1000, side=3, clips=PLAIN_CLIPS),
    Part("film", steps=700, side=3, clips=FILM_CLIPS, rate=0.75),
)


def read_photo(path: Path) -> RGB:
    """RGB with a short side of at most 320 pixels."""
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
        scale = min(1.0, 320 / min(rgb.size))
        return np.array(rgb.resize((round(rgb.width * scale), round(rgb.height * scale)), Image.Resampling.LANCZOS))


class CameraClips(Dataset[dict[str, Tensor]]):
    """Clips of random moves: {"frames": (8, 3, 112, 112) uint8, "label": int64}."""

    def __init__(self, photos: list[RGB], config: CameraClipConfig) -> None:
        self.photos, self.config = photos, config

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        random = np.random.default_rng(draw.seed)
        others = [self.photos[int(i)] for i in random.integers(0, len(self.photos), 2)]
        photo = self.photos[draw.index]
        clip, label = random_camera_clip(photo, seed=draw.seed, config=self.config, foregrounds=others)
        return {"frames": torch.from_numpy(clip).permute(0, 3, 1, 2), "label": torch.tensor(label)}


def held_out_clips(photos: list[RGB], a_move: int = TEST_CLIPS_A_MOVE) -> tuple[Tensor, Tensor]:
    """As many clips of each move, from photographs that were not trained on; (N, 8, 3, 112, 112) uint8."""
    clips, labels = [], []
    for number in range(a_move):
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


def make_model(method: str, side: int) -> tuple[VideoViT, BackboneIdentity]:
    backbone, identity = load_backbone("muybridge_vit")
    fuse_attention(backbone, fused=False)  # trains in 0.6 of the time in bfloat16 on a CPU
    model = VideoViT(
        backbone,
        len(CAMERA_MOVES),
        adapters=AdapterConfig(width=96, kernel=(3, side, side)) if method == "adapters" else None,
        readout="patch_mean",
        dropout=0.0 if method == "adapters" else 0.1,
        train_backbone=method == "full",
    )
    return model, identity


def grow(model: VideoViT, state: dict[str, Tensor]) -> None:
    """Load a model with smaller kernels, which become the middles of this one's."""
    wanted = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("conv.weight"):
            side = (wanted[name].shape[-1] - tensor.shape[-1]) // 2
            state[name] = F.pad(tensor, (side,) * 4)
    model.load_state_dict(state)


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
            "steps": result["steps"],
            "seed": args.seed,
        },
        scores={name: result[name] for name in ("accuracy", "on reversed frames", "stills ceiling")},
    ).save(args.artifact)


def parts_of(args: argparse.Namespace) -> list[Part]:
    return [replace(part, steps=min(part.steps, args.steps or part.steps)) for part in PARTS[: args.parts]]


def train_part(args: argparse.Namespace, number: int, objective: CameraObjective, photos: list[RGB]) -> None:
    part = parts_of(args)[number]
    folder = args.out / f"{args.method}-{args.seed}" / part.name
    config = FitConfig(
        steps=part.steps,
        batch_size=16,
        learning_rate=LEARNING_RATES[args.method] * part.rate,
        weight_decay=0.01,
        warmup=0.1,
        schedule="cosine",
        clip_norm=1.0,
        precision="bf16-mixed",
        seed=args.seed + 1000 * number,
        save_every=100,
    )
    fit(
        objective,
        CameraClips(photos, part.clips),
        config,
        folder=folder,
        resume=args.resume and (folder / "checkpoint.pt").exists(),
        title=f"{args.method} seed {args.seed}, {part.name}",
    )


def run(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    train_photos, test_photos = ([read_photo(p) for p in part] for part in larger_photos(args.data))
    model, identity = make_model(args.method, PARTS[0].side)
    started, parts = time.perf_counter(), parts_of(args)
    for number, part in enumerate(parts):
        if number:
            before, (model, identity) = model, make_model(args.method, part.side)
            grow(model, before.state_dict())
        train_part(args, number, CameraObjective(model), train_photos)
    objective = CameraObjective(model)
    steps = sum(part.steps for part in parts)
    seconds = time.perf_counter() - started
    clips, labels = held_out_clips(test_photos)
    guesses = objective.predict(clips).argmax(-1)
    confusion = torch.zeros(9, 9, dtype=torch.long)
    confusion.index_put_((labels, guesses), torch.tensor(1), accumulate=True)
    backwards = objective.predict(clips.flip(1)).argmax(-1)
    result = {
        "method": args.method,
        "seed": args.seed,
        "steps": steps,
        "adapters": None if model.config is None else asdict(model.config),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "accuracy": float((guesses == labels).float().mean()),
        "on reversed frames": float((backwards == labels).float().mean()),
        "stills ceiling": STILLS_CEILING,
        "seconds a step": seconds / steps,
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
    parser.add_argument("--steps", type=int, help="of each part at most")
    parser.add_argument("--parts", type=int, default=len(PARTS), help="of the training, counted from the first")
    parser.add_argument("--artifact", type=Path, help="model file to write")
    parser.add_argument("--resume", action="store_true")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
