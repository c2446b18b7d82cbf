"""Recognizer: what happens in a clip.

path or uint8 RGB ── sample T frames ── crops (views) ── normalise ── VideoViT ── probabilities, mean over views
        └─ flow of neighbours ── motion vector ── linear ── log-odds, added ───────────────────────┘
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from muybridge.artifacts import Artifact, push_to_hub
from muybridge.counts import counted
from muybridge.data.clips.dataset import as_frames, load_views
from muybridge.data.clips.motion import motion_vector
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig, crop_views, normalize
from muybridge.data.label_maps import LabelMap
from muybridge.devices import choose_device, is_out_of_memory
from muybridge.errors import ModelMismatch, OptionError
from muybridge.media.video_reader import Frame
from muybridge.models.backbones import backbone_hash, backbone_input, create_backbone, load_backbone_state
from muybridge.models.st_adapter.checkpoint import import_authors_checkpoint, load_imported
from muybridge.models.st_adapter.sets import AdapterBank, load_trained_state, trained_state
from muybridge.models.st_adapter.stream import CausalStream
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.pretrained import BackboneIdentity, load_backbone, reload_backbone
from muybridge.recognize.model_file import TASK, RecognizerFile
from muybridge.recognize.motion import MotionReadout
from muybridge.weight_files import printable, read_torch_file

# OpenAI's CLIP by the channels of its image tower. Without the tag, the names stand for other weights of that shape.
CLIP_TOWERS = {768: "vit_base_patch16_clip_quickgelu_224.openai", 1024: "vit_large_patch14_clip_quickgelu_224.openai"}

RGB = NDArray[np.uint8]
Clip = str | Path | RGB | Tensor
Precision = Literal["float32", "bfloat16"]
Recipe = Literal["kinetics", "something-something"]

_CLASSES_OF_RECIPES: dict[int, Recipe] = {400: "kinetics", 174: "something-something"}


def recipe_of_authors(recipe: Recipe) -> tuple[SamplingConfig, ViewConfig]:
    """How ST-Adapter's authors test (arXiv 2206.13559, section 4), but for size, mean and deviation."""
    if recipe == "kinetics":
        return SamplingConfig(frames=8, stride=16, preprocessing="authors"), ViewConfig(temporal=3, spatial=1)
    if recipe == "something-something":
        return SamplingConfig(frames=8, mode="segments", preprocessing="authors"), ViewConfig(temporal=1, spatial=3)
    raise OptionError(f"recipe={recipe!r} is unknown. Choose one of: kinetics, something-something.")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a clip shows.

    Attributes:
        names: (K,) of the classes.
        probabilities: (K,) float32 on the CPU; they sum to 1, or are each for itself where a clip may have several
            labels.
        seconds: in a stream with times, when the frame was shown that the answer came with.
    """

    names: tuple[str, ...]
    probabilities: Tensor
    seconds: float | None = None

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.names[int(self.probabilities.argmax())]

    @property
    def score(self) -> float:
        """Its probability."""
        return float(self.probabilities.max())

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities, best first."""
        best = self.probabilities.topk(min(count, len(self.names)))
        return [
            (self.names[int(i)], float(p)) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def __repr__(self) -> str:
        return "Prediction(" + ", ".join(f"{name} {score:.2f}" for name, score in self.top(3)) + ")"


class Recognizer:
    """Says what happens in clips. Made by `from_pretrained`, or by training.

    It may be asked from several threads at once, also beside others over its backbone: each gets the answer that it
    would get alone.

    Example:
        >>> recognizer = Recognizer.from_pretrained("camera")
        >>> recognizer("clip.mp4").label
        'pan left'

    Attributes:
        labels: the classes.
        sampling: which frames the model sees, and how.
        views: how often a clip is looked at where nothing else is asked for; the answers are averaged.
        backbone: identity of the frozen image model.
        multi_label: whether a clip may have several labels.
        provenance: data, steps and plan of the training.
        scores: measured figures by name.
        threshold: least probability at which its labels are worth saying, where nothing else is asked for.
        motion: reads how clips move, and has its say beside the network; None where that is not looked at.
    """

    def __init__(
        self,
        model: VideoViT,
        labels: LabelMap,
        sampling: SamplingConfig,
        *,
        backbone: BackboneIdentity,
        views: ViewConfig | None = None,
        multi_label: bool = False,
        device: str = "auto",
        precision: Precision = "float32",
        provenance: Mapping[str, Any] | None = None,
        scores: Mapping[str, Any] | None = None,
        threshold: float = 0.0,
        motion: MotionReadout | None = None,
    ) -> None:
        if len(labels) != model.num_classes:
            raise ModelMismatch(
                f"{counted(len(labels), 'label')} beside a head of {counted(model.num_classes, 'class')}"
            )
        self.model = _moved(model, choose_device(device)).eval()
        self.labels, self.sampling, self.backbone = labels, sampling, backbone
        self.views = views or ViewConfig()
        self.multi_label = multi_label
        self.precision: Precision = precision
        self.provenance, self.scores = dict(provenance or {}), dict(scores or {})
        self.threshold = threshold
        self.motion = motion

    # ---- making one ----

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "camera",
        *,
        device: str = "auto",
        backbone_weights: Path | None = None,
        precision: Precision = "float32",
    ) -> "Recognizer":
        """A trained recognizer: "camera" (built in: what the camera does), a model file, or OWNER/NAME on the hub.

        "stage_actions" is built in too, to start trainings of people's actions from.

        Args:
            backbone_weights: file of the backbone's weights, where its name does not bring them.

        Raises:
            MissingInput: no such model.
            ModelMismatch: the file is for another task, or the backbone is not the one it was trained on.
            ModelError, UnsafeModelFile: the file, or the backbone's weights, cannot be read.
        """
        opened = RecognizerFile.open(name_or_path)
        opened.check(weights=backbone_weights)
        identity = opened.backbone
        if opened.trains_backbone:
            backbone = create_backbone(identity.name, pretrained=False, **identity.options)
        else:
            backbone = reload_backbone(identity, weights=backbone_weights)
        return cls._of(opened, backbone, identity, device=device, precision=precision)

    @classmethod
    def _of(
        cls,
        opened: RecognizerFile,
        backbone: nn.Module,
        identity: BackboneIdentity,
        *,
        device: str,
        precision: Precision,
    ) -> "Recognizer":
        model = opened.build(backbone)
        tensors, motion = opened.trained()
        load_trained_state(model, tensors)
        return cls(
            model,
            opened.labels(),
            opened.contract.sampling,
            backbone=identity,
            views=opened.contract.views,
            multi_label=opened.contract.multi_label,
            device=device,
            precision=precision,
            provenance=opened.file.provenance,
            scores=opened.file.scores,
            threshold=opened.contract.threshold,
            motion=motion,
        )

    @classmethod
    def from_authors_checkpoint(
        cls,
        path: str | Path,
        labels: LabelMap | Sequence[str],
        *,
        backbone: str | None = None,
        clip_weights: str | Path | None = None,
        recipe: Recipe | None = None,
        sampling: SamplingConfig | None = None,
        views: ViewConfig | None = None,
        device: str = "auto",
        **backbone_options: Any,
    ) -> "Recognizer":
        """A checkpoint of ST-Adapter's authors; `save` then makes a model file of it.

        Args:
            labels: the classes in the order of the checkpoint's training, which does not name them.
            backbone: timm's name of the image tower; by default OpenAI's ViT-B/16 or L/14, by the adapters' width.
            clip_weights: OpenAI CLIP as its authors publish it (a TorchScript archive, of which no code is run) or
                its state dict, where the checkpoint holds trained tensors only. Without it, and without a tower in
                the checkpoint, timm's weights of the name are taken.
            recipe: how the authors trained and tested it: "kinetics" (8 frames, every 16th of the file, 3 stretches
                of time) or "something-something" (one frame of each of 8 parts, 3 crops). None takes the one whose
                number of classes it is, 400 or 174, else "kinetics". A warning tells what was assumed, or that the
                number of classes speaks for the other one.
            sampling, views: in place of the recipe's, for a checkpoint of 16 or 32 frames for instance.
            backbone_options: handed to timm.

        Raises:
            MissingInput: there is no such file.
            UnsafeModelFile: the file would execute code.
            ModelMismatch: a name is missing or unknown, or classes differ in number.
        """
        if not isinstance(labels, LabelMap):
            labels = LabelMap(tuple(labels), tuple(range(len(labels))))
        imported = import_authors_checkpoint(
            read_torch_file(path), clip=None if clip_weights is None else read_torch_file(clip_weights)
        )
        if len(labels) != imported.num_classes:
            raise ModelMismatch(
                f"{path} has {counted(imported.num_classes, 'class')}, but given: {counted(len(labels), 'label')}"
            )
        recipe = _chosen_recipe(recipe, imported.num_classes, says=sampling is None)
        backbone = _openai_tower(backbone, imported.state)
        if imported.backbone:
            tower = create_backbone(backbone, pretrained=False, **backbone_options)
            load_backbone_state(tower, imported.backbone, source=str(clip_weights or path))
            source = Path(clip_weights or path).name
            identity = BackboneIdentity(backbone, source, backbone_hash(tower), backbone_options)
        else:
            tower, identity = load_backbone(backbone, **backbone_options)
        model = VideoViT(tower, imported.num_classes, adapters=imported.config, readout="class_token")
        load_imported(model, imported)
        seen = backbone_input(tower)
        theirs, their_views = recipe_of_authors(recipe)
        theirs = replace(theirs, size=(seen.height, seen.width), mean=seen.mean, std=seen.std)
        return cls(
            model,
            labels,
            sampling or theirs,
            views=views or (ViewConfig() if sampling else their_views),
            backbone=identity,
            device=device,
            provenance={"imported_from": Path(path).name} | ({} if sampling else {"recipe": recipe}),
        )

    def with_adapters(self, name_or_path: str | Path) -> "Recognizer":
        """Another recognizer on this one's backbone, which is neither read nor kept twice.

        Raises:
            ModelMismatch: the other one stands on another backbone, or trained its own.
        """
        opened = RecognizerFile.open(name_or_path)
        theirs = opened.backbone
        if opened.trains_backbone or self.model.train_backbone or theirs.hash != self.backbone.hash:
            raise ModelMismatch(
                f"{name_or_path} stands on backbone {printable(theirs.name)!r} of hash {printable(theirs.hash[:12])}"
                f", not on this one's {self.backbone.name!r} of hash {self.backbone.hash[:12]}. Load it with "
                "from_pretrained"
            )
        opened.check(weights=Path(self.backbone.name))  # an address, if it is one, was named for this one
        return self._of(opened, self.model.backbone, self.backbone, device=str(self.device), precision=self.precision)

    def save(self, path: str | Path) -> None:
        """Write the model file, whole or not at all: trained tensors, labels, sampling, identity of the backbone."""
        config = self.model.config
        architecture = {
            "backbone": self.backbone.name,
            "backbone_options": dict(self.backbone.options),
            "method": "full" if self.model.train_backbone else "head" if config is None else "adapters",
            "adapters": None if config is None else asdict(config),
            "readout": self.model.readout,
            "over_time": self.model.over_time,
            "num_classes": self.model.num_classes,
            "motion": None if self.motion is None else self.motion.codebook.hash,
            "network_weight": 1.0 if self.motion is None else self.motion.network,
        }
        contract = {
            "labels": list(self.labels.names),
            "ids": list(self.labels.ids),
            "multi_label": self.multi_label,
            "sampling": asdict(self.sampling),
            "views": asdict(self.views),
            "backbone": {"name": self.backbone.name, "source": self.backbone.source, "hash": self.backbone.hash},
            "threshold": self.threshold,
        }
        tensors = trained_state(self.model) | ({} if self.motion is None else self.motion.tensors())
        Artifact(TASK, architecture, tensors, self.provenance, self.scores, contract).save(path)

    def push_to_hub(self, repository: str, *, private: bool = False) -> str:
        """Upload as OWNER/NAME to the Hugging Face hub and return the address."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            self.save(path)
            return push_to_hub(path, repository, private=private)

    # ---- using it ----

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.model.head.weight.device

    def __call__(self, clip: Clip, *, views: ViewConfig | None = None) -> Prediction:
        """What one clip shows.

        Args:
            clip: a video file, a folder of frames, or frames (N, H, W, 3) uint8 RGB spread evenly over the clip. Of
                16 frames or more, which are taken to be neighbours, motion is read too.
            views: how often to look, in time and space; the answers are averaged. By default as the model file says.

        Raises:
            InputError: the clip cannot be read.
        """
        return self.batch([clip], views=views)[0]

    def batch(self, clips: Sequence[Clip], *, views: ViewConfig | None = None) -> list[Prediction]:
        """What each of several clips shows, worked out together."""
        loaded = [load_views(clip, self.sampling, views or self.views) for clip in clips]
        if not loaded:
            return []
        probabilities = self.probabilities(torch.cat(loaded))
        parts = probabilities.split([len(views) for views in loaded])
        answers = torch.stack([part.mean(dim=0) for part in parts])
        return [Prediction(self.labels.names, row) for row in self.with_motion(answers, clips)]

    def with_motion(self, probabilities: Tensor, clips: Sequence[Clip]) -> Tensor:
        """The network's probabilities (N, K) of clips, and with them what their motion says, where that is read."""
        if self.motion is None:
            return probabilities
        vectors = torch.stack([motion_vector(clip, self.motion.codebook) for clip in clips])
        return self.motion.joined(probabilities, vectors, multi_label=self.multi_label)

    @property
    def is_causal(self) -> bool:
        """Whether `stream` can be used: no frame is told about later ones, and motion is not read."""
        config = self.model.config
        looks_back = config is None or ((config.causal or config.kernel[0] == 1) and not config.frequency_scales)
        return looks_back and self.motion is None

    def stream(self, frames: Iterable[Frame | RGB], *, window_seconds: float | None = None) -> Iterator[Prediction]:
        """One answer after every frame, at the price of one image forward each.

        Of frames with times, those are taken that the model's sampling would take (by its rate, or every n-th), and
        the others passed over without an answer; plain arrays (H, W, 3) are all taken.

        Args:
            window_seconds: how far back the answer looks; by default as many frames as the clips of the training had.

        Raises:
            ModelMismatch: the adapters look at later frames, or motion is read; train with --causal.
            InputError: a frame of another shape or type.
            OptionError: `window_seconds` for a model that takes every n-th frame of a file, or no length of time.
        """
        if self.motion is not None:
            raise ModelMismatch(
                "this recognizer reads motion, which is of many frames, and cannot answer after each. Train with "
                "--causal, or --no-motion"
            )
        by_stride = self.sampling.mode == "dense" and self.sampling.stride is not None
        if window_seconds is None:
            window = self.sampling.frames
        elif by_stride:
            raise OptionError(
                f"window_seconds={window_seconds} needs a rate, but this model takes every {self.sampling.stride}-th "
                "frame. Leave it out"
            )
        elif not 0 < window_seconds < math.inf:
            raise OptionError(f"window_seconds={window_seconds} must be above 0 and finite, such as 2")
        else:
            window = max(1, round(window_seconds * self.sampling.rate))
        state = CausalStream(self.model, window=window)
        return self._answers(self._taken(frames), state)

    def _answers(self, frames: Iterable[Frame | RGB], state: CausalStream) -> Iterator[Prediction]:
        for frame in frames:
            image, seconds = (frame, None) if isinstance(frame, np.ndarray) else (frame.image, frame.pts_seconds)
            picture = as_frames(image[None]).permute(0, 3, 1, 2)
            crop = crop_views(picture, self.sampling)[0].to(self.device)
            with torch.inference_mode(), self._autocast():
                logits = state(normalize(crop, self.sampling))
            probabilities = self._to_probabilities(logits)[0]
            yield Prediction(self.labels.names, probabilities, None if seconds is None else float(seconds))

    def _taken(self, frames: Iterable[Frame | RGB]) -> Iterator[Frame | RGB]:
        stride = self.sampling.stride if self.sampling.mode == "dense" else None
        due: float | None = None
        for place, frame in enumerate(frames):
            if isinstance(frame, np.ndarray):
                yield frame
            elif stride is not None:
                if place % stride == 0:
                    yield frame
            else:
                seconds = float(frame.pts_seconds)
                if due is None or seconds >= due - 1e-6:
                    due = max((seconds if due is None else due) + 1 / self.sampling.rate, seconds)
                    yield frame

    def logits(self, frames: Tensor) -> Tensor:
        """Logits (B, K) float32 of clips (B, T, 3, height, width) uint8, of the size that `sampling` says.

        Raises:
            OptionError: too little memory.
        """
        return self._run(lambda seen: self.model(normalize(seen, self.sampling)), frames).float()

    def each_frame(self, frames: Tensor) -> Tensor:
        """What the frozen blocks make of each frame of clips, as `logits` takes them: (B, T, ...).

        With `logits_of` it gives the logits of the same frames in any order, and their work is done once. Of a model
        whose every block was trained, the frames themselves.
        """
        if self.model.train_backbone:
            return frames
        return self._run(lambda seen: self.model.forward_prefix(normalize(seen, self.sampling)), frames)

    def logits_of(self, seen: Tensor) -> Tensor:
        """Logits (B, K) float32 from what `each_frame` gave, its frames in any order."""
        if self.model.train_backbone:
            return self.logits(seen)
        return self._run(lambda part: self.model.forward_from_prefix(part, self.sampling.size), seen).float()

    def _run(self, work: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
        try:
            with torch.no_grad(), self._autocast():
                return work(clips.to(self.device))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise OptionError(
                f"too large for the memory of {self.device}: {counted(len(clips), 'clip')} of "
                f"{counted(clips.shape[1], 'frame')}. "
                "Lower --batch-size, or choose --device cpu"
            ) from error

    def probabilities(self, frames: Tensor, *, batch_size: int = 16) -> Tensor:
        """(B, K) float32 on the CPU, of clips as `logits` takes them."""
        return torch.cat([self._to_probabilities(self.logits(part)) for part in frames.split(batch_size)])

    def probabilities_of(self, seen: Tensor, *, batch_size: int = 16) -> Tensor:
        """`probabilities` from what `each_frame` gave."""
        return torch.cat([self._to_probabilities(self.logits_of(part)) for part in seen.split(batch_size)])

    def _to_probabilities(self, logits: Tensor) -> Tensor:
        logits = logits.float().cpu()
        return logits.sigmoid() if self.multi_label else logits.softmax(dim=-1)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


class RecognizerBank:
    """Several recognizers over one backbone, whose clips run as one batch. Safe in threads, as they are.

    Args:
        recognizers: made by `Recognizer.with_adapters` from the first, or the first itself.

    Raises:
        ModelMismatch: they do not share a backbone, or differ in the numbers of their adapters or their sampling.
    """

    def __init__(self, recognizers: Sequence[Recognizer]) -> None:
        if not recognizers:
            raise OptionError("recognizers is empty. Give at least one.")
        first = recognizers[0]
        for other in recognizers:
            if other.backbone.hash != first.backbone.hash or other.sampling != first.sampling:
                raise ModelMismatch("these recognizers differ in their backbone or sampling. Run them apart")
        self.recognizers = tuple(recognizers)
        self._bank = AdapterBank(first.model, [trained_state(r.model) for r in recognizers])

    def batch(self, clips: Sequence[Clip], choice: Sequence[int]) -> list[Prediction]:
        """What each clip shows, asked of the recognizer that `choice` names by its place."""
        first = self.recognizers[0]
        if len(choice) != len(clips) or any(not 0 <= c < len(self.recognizers) for c in choice):
            raise OptionError(f"choice={list(choice)} must name one of {len(self.recognizers)} recognizers a clip")
        asked = [self.recognizers[place] for place in choice]
        loaded = [load_views(clip, own.sampling, own.views) for clip, own in zip(clips, asked, strict=True)]
        counts = [len(views) for views in loaded]
        frames = torch.cat(loaded).to(first.device)
        places = torch.tensor(choice, device=first.device).repeat_interleave(
            torch.tensor(counts, device=first.device)
        )
        with torch.no_grad():
            logits = first.model(normalize(frames, first.sampling), self._bank.select(places)).float().cpu()
        answers: list[Prediction] = []
        for rows, own, clip in zip(logits.split(counts), asked, clips, strict=True):
            columns = rows[:, : len(own.labels)]
            probabilities = columns.sigmoid() if own.multi_label else columns.softmax(dim=-1)
            mean = own.with_motion(probabilities.mean(dim=0, keepdim=True), [clip])[0]
            answers.append(Prediction(own.labels.names, mean))
        return answers


def _moved(model: VideoViT, device: torch.device) -> VideoViT:
    """Moves what lies elsewhere only: others may be running the backbone, whose tensors stay as they are."""
    for part in (model.backbone, model.adapters, model.head):
        if any(tensor.device != device for tensor in (*part.parameters(), *part.buffers())):
            part.to(device)
    return model


def _chosen_recipe(recipe: Recipe | None, num_classes: int, *, says: bool) -> Recipe:
    """The recipe of a checkpoint; where it decides anything, a warning tells what was assumed or speaks against."""
    likely = _CLASSES_OF_RECIPES.get(num_classes)
    chosen = recipe or likely or "kinetics"
    sampling, views = recipe_of_authors(chosen)
    if says and recipe is None:
        described = f"{sampling.frames} frames, " + (
            "one of each equal part" if sampling.mode == "segments" else f"every {sampling.stride}-th of the file"
        )
        warnings.warn(
            f"the recipe of {chosen} was assumed for {counted(num_classes, 'class')}: {described}, "
            f"{counted(views.temporal, 'view')} in time, {views.spatial} in space. If that is right, say "
            f"recipe={chosen!r}; else give sampling and views",
            stacklevel=3,
        )
    elif says and likely not in (None, chosen):
        warnings.warn(
            f"{num_classes} classes are those of {likely}, but the recipe of {chosen} was asked for. Frames would be "
            "chosen otherwise than in the checkpoint's training",
            stacklevel=3,
        )
    return chosen


def _openai_tower(name: str | None, adapters: Mapping[str, Tensor]) -> str:
    """The tower's name with the tag of OpenAI's weights, where none is given."""
    if name is None:
        width = next(tensor for key, tensor in adapters.items() if key.endswith(".down.weight")).shape[1]
        return CLIP_TOWERS.get(width, CLIP_TOWERS[768])
    tagged = f"{name}.openai"
    return tagged if tagged in CLIP_TOWERS.values() else name
