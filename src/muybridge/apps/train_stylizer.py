"""`muybridge train stylizer`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def train_stylizer(
    photos: Annotated[list[str], Parameter(negative=())],
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    encoder: str = "vgg19",
    steps: int = 120_000,
    batch_size: int = 8,
    learning_rate: float = 1e-4,
    short_side: int = 512,
    crop: int = 256,
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
    accumulate: int = 1,
    workers: int = 2,
    seed: int = 0,
    save_every: int = 500,
    validate_every: int = 2000,
    resume: Annotated[bool, Parameter(negative=())] = False,
    device: str = "auto",
) -> None:
    """Train Avatar-Net's decoder to reconstruct photographs, as in section 3.4 of the paper.

    Parameters
    ----------
    photos
        Photographs, folders, globs. Every fiftieth is held out to measure the reconstruction.
    out
        The model file to write. Checkpoints go into a folder beside it, NAME.training.
    encoder
        vgg19 is torchvision's, fetched over the network once; a .pth file is the same from disk; builtin takes the
        small encoder that ships with muybridge.
    steps
        Optimizer steps.
    batch_size
        Crops of one step.
    learning_rate
        Of Adam.
    short_side
        Pixels that a photograph's short side is scaled to.
    crop
        Side of the random crop in pixels.
    precision
        Number format of the forward pass.
    accumulate
        Rounds that one batch is split into, to save memory.
    workers
        Processes that read photographs.
    seed
        Of the order and the crops.
    save_every
        Steps between checkpoints.
    validate_every
        Steps between measurements on the held-out photographs.
    resume
        Go on from the checkpoint.
    device
        auto, cpu, cuda, mps.
    """
    from muybridge.data.photos import CropConfig
    from muybridge.stylize.train import train
    from muybridge.training.fit import FitConfig

    config = FitConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        precision=precision,
        accumulate=accumulate,
        workers=workers,
        seed=seed,
        save_every=save_every,
        validate_every=validate_every,
    )
    crops = CropConfig(short_side=(short_side, short_side), crop=crop)
    scores = train(photos, out, encoder=encoder, crops=crops, config=config, resume=resume, device=device)
    print(f"{out}: " + ", ".join(f"{name} {value:.2f}" for name, value in scores.items()))  # noqa: T201
