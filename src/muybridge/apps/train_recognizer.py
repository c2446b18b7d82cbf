"""`muybridge train recognizer`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from muybridge.errors import OptionError

_PLAIN = Parameter(negative=())  # no --no-x, no --empty-x
_NETWORK = Parameter(group="Network")
_CLIPS = Parameter(group="Clips")
_FRAMES = Parameter(group="Frames and augmentation")
_TRAINING = Parameter(group="Training")
_RUN = Parameter(group="Run")


def train_recognizer(
    data: Path,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    backbone: Annotated[str, _NETWORK] = "muybridge_vit",
    backbone_weights: Annotated[Path | None, _NETWORK] = None,
    method: Annotated[Literal["adapters", "head", "full"], _NETWORK] = "adapters",
    width: Annotated[int | None, _NETWORK] = None,
    kernel: Annotated[tuple[int, int, int], _NETWORK, _PLAIN] = (3, 1, 1),
    placement: Annotated[Literal["mlp", "attention+mlp"], _NETWORK] = "mlp",
    blocks: Annotated[int | None, _NETWORK] = None,
    activation: Annotated[Literal["gelu", "quick_gelu", "relu"] | None, _NETWORK] = None,
    causal: Annotated[bool, _NETWORK, _PLAIN] = False,
    frequency_scales: Annotated[list[int] | None, _NETWORK, _PLAIN, Parameter(consume_multiple=True)] = None,
    readout: Annotated[Literal["auto", "class_token", "patch_mean"], _NETWORK] = "auto",
    dropout: Annotated[float, _NETWORK] = 0.5,
    initialize: Annotated[str | None, _NETWORK] = None,
    labels: Annotated[Path | None, _CLIPS] = None,
    root: Annotated[Path | None, _CLIPS] = None,
    group_pattern: Annotated[str | None, _CLIPS] = None,
    held_out: Annotated[float, _CLIPS] = 0.2,
    class_balance: Annotated[Literal["none", "loss", "draws"], _CLIPS] = "loss",
    frames: Annotated[int, _FRAMES] = 8,
    sampling: Annotated[Literal["dense", "segments"], _FRAMES] = "dense",
    rate: Annotated[float, _FRAMES] = 4.0,
    stride: Annotated[int | None, _FRAMES] = None,
    size: Annotated[int, _FRAMES] = 0,
    crop: Annotated[Literal["jitter", "random_resized", "center"] | None, _FRAMES] = None,
    flip: Annotated[bool, _FRAMES, _PLAIN] = False,
    mirror: Annotated[list[str] | None, _FRAMES, _PLAIN] = None,
    reverse: Annotated[list[str] | None, _FRAMES, _PLAIN] = None,
    rand_augment: Annotated[int, _FRAMES] = 0,
    color: Annotated[float, _FRAMES] = 0.0,
    augment: Annotated[list[str] | None, _FRAMES, _PLAIN] = None,
    epochs: Annotated[float, _TRAINING] = 30,
    steps: Annotated[int, _TRAINING] = 0,
    warmup: Annotated[float, _TRAINING] = 0.1,
    batch_size: Annotated[int, _TRAINING] = 16,
    learning_rate: Annotated[float | None, _TRAINING] = None,
    learning_rate_per_256: Annotated[float | None, _TRAINING] = None,
    weight_decay: Annotated[float, _TRAINING] = 0.01,
    clip_norm: Annotated[float, _TRAINING] = 1.0,
    accumulate: Annotated[int, _TRAINING] = 1,
    precision: Annotated[Literal["32-true", "bf16-mixed", "16-mixed"], _TRAINING] = "32-true",
    gradient_checkpointing: Annotated[bool, _TRAINING, _PLAIN] = False,
    compile: Annotated[bool, _TRAINING, _PLAIN] = False,
    workers: Annotated[int, _RUN] = 2,
    seed: Annotated[int, _TRAINING] = 0,
    validations: Annotated[int, _TRAINING] = 10,
    patience: Annotated[int, _TRAINING] = 0,
    save_every: Annotated[int, _RUN] = 100,
    cache: Annotated[Path | None, _RUN] = None,
    cache_views: Annotated[int, _RUN] = 1,
    tensorboard: Annotated[bool, _RUN, _PLAIN] = False,
    resume: Annotated[bool, _RUN, _PLAIN] = False,
    device: Annotated[str, _RUN] = "auto",
) -> None:
    """Teach an image model what happens in clips: one folder of clips a class, one command, one file.

    Beside the file, NAME.html is a report and NAME.training holds checkpoints.

    Parameters
    ----------
    data
        A folder with a folder of clips for each class (with train and val folders above them, or undivided), or a
        list: CSV, text, Kinetics, Something-Something, UCF101.
    out
        The model file to write, .safetensors.
    backbone
        The image model: muybridge_vit is built in; any ViT of timm by its name.
    backbone_weights
        A file with the backbone's weights, in place of those that belong to its name.
    method
        adapters trains small modules inside a frozen backbone; head trains a classifier on its features; full trains
        everything.
    width
        Channels of an adapter; by default half of the backbone's.
    kernel
        Extent of an adapter's convolution over time, height and width.
    placement
        Adapters before each MLP, or before each attention as well.
    blocks
        How many of the last blocks get adapters; by default all.
    activation
        Inside an adapter; by default none.
    causal
        A frame is told about earlier frames only: for live streams.
    frequency_scales
        Give half of an adapter's channels to a branch that filters frequencies of time, over windows of a whole clip,
        a half, a quarter: 1 2 4.
    readout
        What of a frame is read; auto takes the class token where there is one.
    dropout
        Before the classifier.
    initialize
        A recognizer whose adapters training starts from: stage_actions (built in, how people move), camera, or a
        file. Its classes may be others. Without options for adapters, they are as in it.
    labels
        A file with all classes, one a line; by default those that the data names.
    root
        Folder that the paths in a list are relative to.
    group_pattern
        Regular expression whose first group, searched in a path, names the source that a clip was cut from; clips of
        one source are held out together. The names of UCF101 and Kinetics are known.
    held_out
        Share of the clips held out to measure, where the data has no val or test of its own; 0 trains on all.
    class_balance
        Against classes of unequal size: weigh the loss, or draw rare classes more often.
    frames
        Frames that the network sees of a clip.
    sampling
        dense takes neighbouring frames from a random place of the clip; segments one from each equal part of it.
    rate
        Frames a second in dense sampling, whatever the file's own rate.
    stride
        Every how many frames of the file in dense sampling, in place of rate.
    size
        Side in pixels of what the network sees; 0 for what the backbone was trained on.
    crop
        How training crops frames: scaled up a little and cropped anywhere (jitter, the default), a part of random
        size and shape, or the centre (the default with --cache).
    flip
        Mirror clips half of the time; not where classes tell left from right.
    mirror
        With --flip, which class a class becomes in the mirror: "pan left=pan right"; once for each pair.
    reverse
        Show half of the clips of two classes backwards, as the other of the two: "sit down=stand up"; once for each
        pair.
    rand_augment
        Random changes of colour and shape done to a clip; 4 in the paper's recipe for Something-Something.
    color
        Strength of random brightness, contrast and saturation, 0 to 1.
    augment
        stylize=STYLES paints half of the clips, each in one of these styles, all its frames alike: built-in names,
        pictures, folders of pictures. stylize=STYLES:0.3 paints that share of them.
    epochs
        Passes over the clips.
    steps
        Optimizer steps, in place of epochs.
    warmup
        Share of the steps in which the learning rate rises from 0; then it falls along half a cosine.
    batch_size
        Clips of one step.
    learning_rate
        Of AdamW, at its peak; the default depends on the method.
    learning_rate_per_256
        The same by the linear scaling rule: times batch size / 256.
    weight_decay
        Of AdamW, on matrices.
    clip_norm
        Largest gradient norm; 0 for any.
    accumulate
        Rounds that one batch is split into, to save memory.
    precision
        Number format of the forward pass.
    gradient_checkpointing
        Compute blocks twice to save memory.
    compile
        Compile the network first; pays in long runs.
    workers
        Processes that read clips; 0 reads in the training process.
    seed
        Of the split, the order of clips, their augmentation, and new weights.
    validations
        How often the held-out clips are measured on the way; the best weights are kept.
    patience
        Stop after so many measurements without improvement; 0 never.
    save_every
        Steps between checkpoints.
    cache
        A folder that keeps what the frozen blocks make of each clip, so that all passes but the first skip them, in
        later runs too. Wants --blocks or --method head, and goes without augmentation.
    cache_views
        Places in time at which each clip is kept there; training draws one of them.
    tensorboard
        Write TensorBoard's files too, into NAME.training/tensorboard.
    resume
        Go on from the checkpoint, with the same options.
    device
        auto, cpu, cuda, mps.
    """
    from muybridge.data.clips.augmentation import AugmentationConfig
    from muybridge.models.st_adapter.video_vit import AdapterConfig
    from muybridge.recognize.objective import RecognizerConfig, default_learning_rate, default_width
    from muybridge.recognize.plan import ClipData, RunLength, SamplingOptions, TrainingPlan
    from muybridge.recognize.train import train
    from muybridge.stylize.clip_painter import parse_augment
    from muybridge.training.fit import FitConfig, learning_rate_of_batch

    if learning_rate is not None and learning_rate_per_256 is not None:
        raise OptionError("--learning-rate and --learning-rate-per-256 say the same twice. Give one of them")
    if learning_rate_per_256 is not None:
        learning_rate = learning_rate_of_batch(learning_rate_per_256, batch_size)
    given: dict[str, Any] = {
        "kernel": kernel,
        "placement": placement,
        "blocks": blocks,
        "activation": activation,
        "causal": causal,
        "frequency_scales": tuple(frequency_scales or ()),
    }
    adapters = None
    if width is not None or AdapterConfig(**given) != AdapterConfig():
        adapters = AdapterConfig(width=default_width(backbone) if width is None else width, **given)
    plan = TrainingPlan(
        data=ClipData(
            data, labels=labels, root=root, group_pattern=group_pattern, held_out=held_out, balance=class_balance
        ),
        model=RecognizerConfig(
            backbone=backbone,
            backbone_weights=backbone_weights,
            method=method,
            adapters=adapters,
            readout=readout,
            dropout=dropout,
            gradient_checkpointing=gradient_checkpointing,
        ),
        sampling=SamplingOptions(frames=frames, mode=sampling, rate=rate, stride=stride, size=size),
        augmentation=AugmentationConfig(
            crop=crop or ("jitter" if cache is None else "center"),
            flip=flip,
            flipped_labels=_pairs(mirror or [], "--mirror"),
            reversed_labels=_pairs(reverse or [], "--reverse"),
            rand_augment=rand_augment,
            color=color,
        ),
        config=FitConfig(
            batch_size=batch_size,
            learning_rate=default_learning_rate(method) if learning_rate is None else learning_rate,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            schedule="cosine",
            accumulate=accumulate,
            precision=precision,
            compile=compile,
            workers=workers,
            seed=seed,
            patience=patience,
            save_every=save_every,
            tensorboard=tensorboard,
        ),
        length=RunLength(epochs=epochs, steps=steps, warmup=warmup, validations=validations),
        initialize=initialize,
        cache=cache,
        cache_views=cache_views,
        painting=parse_augment(augment or []),
    )
    outcome = train(plan, out, resume=resume, device=device)
    numbers = outcome.evaluation.numbers() if outcome.evaluation else {}
    print(f"{out}: " + ", ".join(f"{name} {value:.3f}" for name, value in numbers.items()))  # noqa: T201
    print(f"report: {outcome.report}")  # noqa: T201


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    """Both ways of each "A=B"."""
    pairs: dict[str, str] = {}
    for text in texts:
        one, sign, other = text.partition("=")
        if not (one and sign and other):
            raise OptionError(f'{option} {text!r} is no pair of classes. Write "pan left=pan right"')
        pairs |= {one: other, other: one}
    return pairs
