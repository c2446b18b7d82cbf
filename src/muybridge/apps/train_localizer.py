"""`muybridge train localizer`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

_Flag = Parameter(negative=())


def train_localizer(
    annotations: Path,
    /,
    *,
    videos: Path,
    labels: Path,
    out: Annotated[Path, Parameter(alias="-o")],
    trunk: str = "slowfast",
    head: Literal["acar", "baseline"] = "acar",
    depth: int = 2,
    output_kernel: Literal[1, 3] = 3,
    reduced: int = 0,
    hidden: int = 0,
    dropout: float = 0.2,
    adapter_width: int | None = None,
    backbone_weights: Path | None = None,
    frames: int = 0,
    rate: float = 0.0,
    short_side: int = 0,
    freeze_norms: Annotated[bool, _Flag] = False,
    initialize: str | None = None,
    validation: Path | None = None,
    held_out: float = 0.2,
    every: str = "500ms",
    boxes: Path | None = None,
    train_score: float = 0.9,
    test_score: float = 0.85,
    balance: Annotated[bool, _Flag] = False,
    focal_gamma: float = 0.0,
    jitter: float = 0.075,
    flip: bool = True,
    scales: tuple[float, float] = (1.0, 1.25),
    augment: Annotated[list[str] | None, _Flag] = None,
    banks: Path | None = None,
    bank_before: str = "10s",
    bank_after: str = "10s",
    epochs: float = 30,
    steps: int = 0,
    warmup: float = 0.1,
    warmup_from: float = 0.0,
    schedule: Literal["constant", "cosine", "step"] = "cosine",
    batch_size: int = 8,
    optimizer: Literal["adamw", "sgd"] = "adamw",
    momentum: float = 0.9,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
    accumulate: int = 1,
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
    workers: int = 2,
    seed: int = 0,
    validations: int = 10,
    patience: int = 0,
    save_every: int = 500,
    tensorboard: Annotated[bool, _Flag] = False,
    resume: Annotated[bool, _Flag] = False,
    device: str = "auto",
) -> None:
    """Teach a model who does what in videos: annotated videos, one command, one file.

    Beside the file, NAME.html is a report and NAME.training holds checkpoints.

    Parameters
    ----------
    annotations
        Who does what, where and when: AVA CSV, CVAT for video XML, VIA, COCO JSON, tubes as JSON, or a folder of such
        files.
    videos
        Folder of the videos that they name; they are read as they are.
    labels
        The classes: pbtxt, text or JSON. Groups of which a person has exactly one are part of it.
    out
        The model file to write, .safetensors.
    trunk
        slowfast is a small SlowFast for a CPU; slowfast_r50 and slowfast_r101 are the published ones; any other name
        is an image model that stays frozen and gets adapters: muybridge_vit is built in, or any ViT of timm.
    head
        acar relates people to their surroundings and each other; baseline looks at each alone.
    depth
        Layers of relations in the acar head.
    output_kernel
        Side of the last convolution in each of them.
    reduced
        Channels after the head's first convolution; 0 chooses by the trunk.
    hidden
        Channels of the relations; 0 for half of that.
    dropout
        In the layers of relations.
    adapter_width
        Channels of the adapters of an image model; by default half of its own.
    backbone_weights
        A file with an image model's weights, in place of those that belong to its name.
    frames
        Frames that the network sees around a key frame; 0 for the trunk's own.
    rate
        Frames a second of them, whatever the file's own rate; 0 for the trunk's own.
    short_side
        Pixels that the frame's short side is scaled to; 0 for the trunk's own.
    freeze_norms
        Keep the batch norms' statistics, as fine-tuning wants it.
    initialize
        A localizer file that training starts from; its classes may be others.
    validation
        Annotations to measure on, of videos in the same folder.
    held_out
        Share of the videos held out to measure, where there is no --validation; 0 trains on all.
    every
        Least time between key frames, where every frame is annotated.
    boxes
        Detections with scores, in any format of boxes: confident ones are trained on beside the true boxes, and
        measured with in place of them.
    train_score
        Detections are trained on from this score on.
    test_score
        Detections are measured with from this score on.
    balance
        Weigh classes against their frequency.
    focal_gamma
        Plays well-classified cases down in the loss; 2 is usual, 0 the published loss.
    jitter
        Share of a box by which each side moves at most.
    flip
        Mirror half of the clips; not where classes tell left from right.
    scales
        Range of factors that frames are scaled by.
    augment
        stylize=STYLES paints half of the clips, each in one of these styles, all its frames alike: built-in names,
        pictures, folders of pictures. stylize=STYLES:0.3 paints that share of them.
    banks
        Folder of feature banks, as `muybridge write-bank` makes them, to train a model that reads them.
    bank_before
        How far back the bank is read.
    bank_after
        How far ahead the bank is read; 0 for a model for live streams.
    epochs
        Passes over the key frames.
    steps
        Optimizer steps, in place of epochs.
    warmup
        Share of the steps in which the learning rate rises.
    warmup_from
        Share of the learning rate that it rises from.
    schedule
        What it does then: it falls along half a cosine, is constant, or is divided by 10 twice near the end.
    batch_size
        Clips of one step.
    optimizer
        adamw, or sgd with Nesterov momentum, as published.
    momentum
        Of sgd.
    learning_rate
        At its peak.
    weight_decay
        On matrices.
    clip_norm
        Largest gradient norm; 0 for any.
    accumulate
        Rounds that one batch is split into, to save memory.
    precision
        Number format of the forward pass.
    workers
        Processes that read videos.
    seed
        Of the split, the order, the augmentation and the initial weights.
    validations
        How often the held-out key frames are measured on the way.
    patience
        Stop after so many of them without improvement; 0 never stops early.
    save_every
        Steps between checkpoints.
    tensorboard
        Write TensorBoard's files too.
    resume
        Go on from the checkpoints of the same command.
    device
        auto, cpu, cuda, mps.
    """
    from muybridge.apps.durations import parse_seconds
    from muybridge.data.localization import BankSpan, BoxAugmentation
    from muybridge.localize.objective import LocalizerConfig
    from muybridge.localize.plan import BankPlan, BoxData, LocalizerPlan
    from muybridge.localize.train import train
    from muybridge.models.st_adapter.video_vit import AdapterConfig
    from muybridge.recognize.plan import RunLength
    from muybridge.stylize.clip_painter import parse_augment
    from muybridge.training.fit_config import FitConfig

    span = BankSpan(parse_seconds("--bank-before", bank_before), parse_seconds("--bank-after", bank_after))
    plan = LocalizerPlan(
        data=BoxData(
            annotations,
            videos,
            labels,
            validation=validation,
            held_out=held_out,
            every_seconds=parse_seconds("--every", every),
            boxes=boxes,
            train_score=train_score,
            test_score=test_score,
            balance=balance,
        ),
        model=LocalizerConfig(
            trunk=trunk,
            backbone_weights=backbone_weights,
            adapters=None if adapter_width is None else AdapterConfig(width=adapter_width),
            head=head,
            reduced=reduced,
            hidden=hidden,
            depth=depth,
            output_kernel=output_kernel,
            dropout=dropout,
            frames=frames,
            rate=rate,
            short_side=short_side,
            freeze_norms=freeze_norms,
        ),
        augmentation=BoxAugmentation(jitter=jitter, flip=flip, scales=scales),
        config=FitConfig(
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            optimizer=optimizer,
            momentum=momentum,
            warmup_from=warmup_from,
            schedule=schedule,
            accumulate=accumulate,
            precision=precision,
            workers=workers,
            seed=seed,
            patience=patience,
            save_every=save_every,
            tensorboard=tensorboard,
        ),
        length=RunLength(epochs=epochs, steps=steps, warmup=warmup, validations=validations),
        focal_gamma=focal_gamma,
        bank=None if banks is None else BankPlan(banks, span),
        initialize=initialize,
        painting=parse_augment(augment or []),
    )
    outcome = train(plan, out, resume=resume, device=device)
    numbers = outcome.evaluation.numbers() if outcome.evaluation else {}
    print(f"{out}: " + ", ".join(f"{name} {value:.3f}" for name, value in numbers.items()))  # noqa: T201
    print(f"report: {outcome.report}")  # noqa: T201
