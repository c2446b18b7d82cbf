"""Localizer: who does what, where and when.

frames ── people (a detector and a tracker, or boxes from a file) ── clips around key frames ── ACAR-Net ── actions
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muybridge.artifacts import Artifact, push_to_hub
from muybridge.counts import counted
from muybridge.data.annotations.table import Annotations
from muybridge.data.feature_bank import FeatureBankReader, FeatureBankWriter, StreamFeatureBank
from muybridge.data.label_maps import AVA_POSES, LabelMap
from muybridge.data.localization import BankSpan, KeyFrameSampling, normalize_clips
from muybridge.devices import PeopleMemory, choose_device, memory_bytes
from muybridge.errors import ModelMismatch, OptionError
from muybridge.localize.model_file import TASK, LocalizerFile
from muybridge.localize.motion import PersonMotionReadout
from muybridge.localize.movement import boxes_over_time, doubted_by_speed, ground_speeds
from muybridge.localize.objective import (
    NetworkConfig,
    bank_window,
    load_localizer_state,
    localizer_state,
    slowfast_sampling,
)
from muybridge.localize.options import ONE_VIEW, TestViews
from muybridge.localize.results import People
from muybridge.localize.shape import doubted_by_shape
from muybridge.localize.stream import Answer, LocalizeConfig, LocalizeRun, configured
from muybridge.localize.video_localizer import VideoLocalizer
from muybridge.localize.views import largest, resized, views_of_clip
from muybridge.media.camera_motion import camera_shifts, steadied
from muybridge.media.films import open_film
from muybridge.memory import check_fits
from muybridge.models.acar.actors import Actors
from muybridge.models.acar.checkpoint import convert_checkpoint, infer_configs
from muybridge.models.acar.head import ACARHead, ACARNet
from muybridge.models.acar.loss import action_probabilities
from muybridge.people.detector import Detector
from muybridge.people.sightings import PeopleSource
from muybridge.pretrained import BackboneIdentity, reload_backbone
from muybridge.weight_files import read_torch_file

Precision = Literal["float32", "bfloat16"]
# Of a clip's pixels alone, as numbers of 32 bits.
_BYTES_A_VALUE = 4
# ACAR-Net's authors show their network detections scored so high, and nobody else.
_AUTHORS_SCORE = 0.85
# Outputs of a network for AVA: the evaluated classes, or all of them.
_AVA_CLASSES = (60, 80)


class Localizer(VideoLocalizer):
    """Finds people, follows them and says what they do. Made by `from_pretrained`, or by training.

    It may be asked from several threads at once: each video gets the answer that it would get alone. A detector of
    one's own must bear that too.

    Example:
        >>> localizer = Localizer.from_pretrained("model.safetensors")
        >>> for span in localizer("street.mp4").spans(threshold=0.5):
        ...     print(span.person, span.start, span.end, span.label)

    Attributes:
        labels: the classes, and which exclude each other.
        sampling: what the model sees around a key frame.
        backbone: identity of the frozen image model; None for a SlowFast trunk.
        bank_span: what is read of a feature bank; None for a model that reads none.
        bank_writer: the localizer that writes this one's banks.
        views: how often and how each clip is seen.
        actor_score: people found with a lower score are not shown to the network: nothing is related to them, and
            their own actions stay unknown, NaN.
        usual_speeds: of poses by label, as `muybridge.localize.movement.doubted_by_speed` takes them. A model that
            has some is shown clips as a camera at rest would have filmed them; an empty one, clips as they are.
        motion: reads how each person moves, and has its say beside the head; None where that is not looked at.
        provenance: data, steps and plan of the training.
        scores: measured figures by name.
    """

    def __init__(
        self,
        network: ACARNet,
        config: NetworkConfig,
        labels: LabelMap,
        sampling: KeyFrameSampling,
        *,
        backbone: BackboneIdentity | None = None,
        detector: str | Path | Detector | None = None,
        bank_span: BankSpan | None = None,
        bank_model: str = "",
        bank_writer: "Localizer | None" = None,
        device: str = "auto",
        precision: Precision = "float32",
        views: TestViews = ONE_VIEW,
        actor_score: float = 0.0,
        usual_speeds: Mapping[str, tuple[float, float]] | None = None,
        motion: PersonMotionReadout | None = None,
        provenance: Mapping[str, Any] | None = None,
        scores: Mapping[str, Any] | None = None,
    ) -> None:
        if len(labels) != config.head.num_classes:
            raise ModelMismatch(
                f"{counted(len(labels), 'label')} beside a head of {counted(config.head.num_classes, 'class')}"
            )
        self.network = network.to(choose_device(device)).eval()
        super().__init__(labels, detector)
        self.config, self.sampling, self.backbone, self.views = config, sampling, backbone, views
        self.bank_span, self.bank_model, self.bank_writer = bank_span, bank_model, bank_writer
        if bank_writer is not None and bank_span is not None and bank_writer.fingerprint != bank_model:
            raise ModelMismatch(
                f"this localizer reads banks of model {bank_model}, but the one given writes those of "
                f"{bank_writer.fingerprint}. Give the model that wrote the banks of its training"
            )
        most = largest(views, sampling)
        check_fits(
            f"scales={most.short_side}: a clip of {most.frames} frames",
            needed=most.frames * 3 * most.short_side**2 * _BYTES_A_VALUE,
            available=memory_bytes(self.device),
            remedy="Choose such as 224 256 320",
        )
        self.precision, self.actor_score = precision, actor_score
        self.usual_speeds, self.motion = dict(usual_speeds or {}), motion
        self.provenance, self.scores = dict(provenance or {}), dict(scores or {})

    # ---- making one ----

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "people_actions",
        *,
        detector: str | Path | Detector | None = None,
        bank_writer: "str | Path | Localizer | None" = None,
        device: str = "auto",
        backbone_weights: Path | None = None,
        precision: Precision = "float32",
        views: TestViews = ONE_VIEW,
    ) -> "Localizer":
        """A trained localizer: "people_actions" (built in, small), a model file, or OWNER/NAME on the hub.

        Args:
            detector: what finds people, as `muybridge.people.detectors.load_detector` takes it; None for the built-in
                one. It is loaded when it is first needed.
            bank_writer: for a model that reads a feature bank, the one that writes it.
            backbone_weights: file of the image model's weights, where its name does not bring them.
            views: how often and how each clip is seen.

        Raises:
            MissingInput: no such model.
            ModelMismatch: the file is for another task, the image model is not the one it was trained on, or
                `bank_writer` is not the model whose banks it reads.
            ModelError, UnsafeModelFile: the file, or the image model's weights, cannot be read.
        """
        opened = LocalizerFile.open(name_or_path)
        opened.check(weights=backbone_weights)
        identity = opened.backbone
        backbone = None if identity is None else reload_backbone(identity, weights=backbone_weights)
        network = opened.build(backbone)
        tensors, motion = opened.trained()
        load_localizer_state(network, tensors, source=str(name_or_path))
        if bank_writer is not None and not isinstance(bank_writer, Localizer):
            bank_writer = cls.from_pretrained(bank_writer, device=device, precision=precision)
        return cls(
            network,
            opened.config,
            opened.labels(),
            opened.sampling,
            backbone=identity,
            detector=detector,
            bank_span=opened.bank_span,
            bank_model=opened.bank_model,
            bank_writer=bank_writer,
            device=device,
            precision=precision,
            views=views,
            actor_score=opened.actor_score,
            usual_speeds=opened.usual_speeds,
            motion=motion,
            provenance=opened.file.provenance,
            scores=opened.file.scores,
        )

    @classmethod
    def from_authors_checkpoint(
        cls,
        path: str | Path,
        labels: LabelMap | Sequence[str],
        *,
        detector: str | Path | Detector | None = None,
        sampling: KeyFrameSampling | None = None,
        actor_score: float = _AUTHORS_SCORE,
        device: str = "auto",
        precision: Precision = "float32",
    ) -> "Localizer":
        """A checkpoint of ACAR-Net's authors, trunk and head; `save` then makes a model file of it.

        Variant, depth, widths and classes are read from the shapes. `convert_checkpoint` in
        `muybridge.models.acar.checkpoint` tells what became of every name.

        Args:
            labels: the classes in the order of the checkpoint's outputs. Which exclude each other decides how logits
                become probabilities. A bare list of names does not say it; among AVA's 60 or 80, those that are
                AVA's poses are taken to, and a warning is given where none is.
            sampling: by default the authors', with their arithmetic (see `KeyFrameSampling.preprocessing`).
            actor_score: by default the authors' too.

        Raises:
            MissingInput: there is no such file.
            UnsafeModelFile: the file would execute code.
            ModelMismatch: a name is missing or unknown, there is no head, or classes differ in number.
        """
        loaded = read_torch_file(path)
        slowfast, head = infer_configs(loaded)
        if head is None:
            raise ModelMismatch(f"{path} holds a trunk without a head, which says nothing yet. Train one on it")
        imported = convert_checkpoint(loaded, slowfast, head)
        imported.report.require_complete()
        config = NetworkConfig(head, slowfast)
        network = config.build()
        network.trunk.load_state_dict(imported.trunk)
        network.head.load_state_dict(imported.head)
        return cls(
            network,
            config,
            labels if isinstance(labels, LabelMap) else _with_poses(labels),
            sampling or replace(slowfast_sampling(slowfast), preprocessing="authors"),
            actor_score=actor_score,
            detector=detector,
            device=device,
            precision=precision,
            provenance={"imported_from": Path(path).name},
        )

    def save(self, path: str | Path) -> None:
        """Write the model file, whole or not at all: trained tensors, labels, sampling, image model by name."""
        bank = None if self.bank_span is None else {"model": self.bank_model, **asdict(self.bank_span)}
        contract = {
            "labels": list(self.labels.names),
            "ids": list(self.labels.ids),
            "exclusive": [list(group) for group in self.labels.exclusive],
            "sampling": asdict(self.sampling),
            "backbone": None if self.backbone is None else asdict(self.backbone),
            "bank": bank,
            "actor_score": self.actor_score,
            "usual_speeds": [
                {"label": label, "mean": mean, "deviation": deviation}
                for label, (mean, deviation) in self.usual_speeds.items()
            ],
            "motion": None if self.motion is None else self.motion.hash,
        }
        tensors = localizer_state(self.network) | ({} if self.motion is None else self.motion.tensors())
        Artifact(TASK, self.config.to_json(), tensors, self.provenance, self.scores, contract).save(path)

    def push_to_hub(self, repository: str, *, private: bool = False) -> str:
        """Upload as OWNER/NAME to the Hugging Face hub and return the address."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            self.save(path)
            return push_to_hub(path, repository, private=private)

    @property
    def fingerprint(self) -> str:
        """Identifies the network by its trained tensors and its image model; feature banks carry it."""
        digest = hashlib.sha256((self.backbone.hash if self.backbone else "").encode())
        for name, tensor in sorted(localizer_state(self.network).items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    # ---- using it ----

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return next(self.network.head.parameters()).device

    def run(
        self,
        people: PeopleSource,
        config: LocalizeConfig,
        *,
        bank: FeatureBankReader | None = None,
        keep: bool = True,
    ) -> LocalizeRun:
        """One pass over one video, to be walked with its frames."""
        if self.bank_span is None:
            if bank is not None:
                raise OptionError(
                    "this localizer was trained without a feature bank and cannot read one. Leave it out"
                )
            return self._run(people, self._answer, config, keep=keep)
        if bank is not None:
            return self._run(people, self._answer_with(bank, None), config, keep=keep)
        writer = self.bank_writer
        if writer is None:
            raise OptionError(
                "this localizer reads a feature bank. Give the model that writes it with --bank-model, or the bank"
            )
        if writer.sampling != self.sampling:
            raise ModelMismatch(
                "in one pass, the model that writes the bank must see the same clips as the one that reads it. "
                "Write the bank first, with write-bank"
            )
        ring = StreamFeatureBank()
        return self._run(people, self._answer_with(ring, ring), config, keep=keep)

    def _run(self, people: PeopleSource, answer: Answer, config: LocalizeConfig, *, keep: bool) -> LocalizeRun:
        codebook = None if self.motion is None else self.motion.codebook
        sampling = largest(self.views, self.sampling)
        return LocalizeRun(sampling, len(self.labels), people, answer, config, codebook=codebook, keep=keep)

    def actions(
        self,
        clip_T3HW: Tensor,
        boxes: NDArray[np.float32] | Tensor,
        bank_maps: Tensor | None = None,
        motion_nM: NDArray[np.float32] | Tensor | None = None,
    ) -> NDArray[np.float32]:
        """Probabilities (n, K) float32 of the people of one clip.

        Args:
            clip_T3HW: uint8, as `sampling` says, or at the largest of several scales.
            boxes: (n, 4) fractions of the frame.
            bank_maps: (m, C, h, w) entries of the feature bank around the key frame.
            motion_nM: how people move, as `muybridge.data.person_motion.PersonMotion` tells it of this model's
                codebook; None where it is not known.

        Raises:
            OptionError: too little memory.
        """
        if not len(boxes):
            return np.zeros((0, len(self.labels)), np.float32)
        with torch.no_grad(), self._memory(len(boxes)), self._autocast():
            views = views_of_clip(self.views, clip_T3HW, torch.as_tensor(boxes), bank_maps, self.sampling)
            logits = torch.stack([self._logits(*view) for view in views]).mean(0)
            if self.motion is not None and motion_nM is not None:
                logits = self.motion.joined(logits, torch.as_tensor(motion_nM))
            return action_probabilities(logits, self.labels.exclusive).cpu().numpy()

    def _logits(self, clip: Tensor, boxes: Tensor, bank_maps: Tensor | None) -> Tensor:
        context = self.network.context(self._input(clip))
        bank = None if bank_maps is None else bank_window(self.network, context, [bank_maps])
        return self.network.head(context, self._actors(boxes), bank).float()

    def first_order(self, clip_T3HW: Tensor, boxes: NDArray[np.float32] | Tensor) -> Tensor:
        """What a feature bank keeps of the people of one clip: (n, C, h, w).

        Raises:
            OptionError: the baseline head has no such maps, or too little memory.
        """
        head = self.network.head
        if not isinstance(head, ACARHead):
            raise OptionError("the baseline head makes no maps for a feature bank. Train the writer with --head acar")
        with torch.no_grad(), self._memory(len(boxes)), self._autocast():
            return head.first_order(self.network.context(self._input(clip_T3HW)), self._actors(boxes)).maps

    def write_bank(
        self,
        video: str | Path,
        path: str | Path,
        *,
        boxes: Annotations | None = None,
        config: LocalizeConfig | None = None,
        **options: Any,
    ) -> int:
        """Write the feature bank of a video: the maps of everybody at every key frame; returns how many.

        Args:
            path: the file to write.
            boxes, config, options: as in a call.
        """
        config = configured(config, options)
        count = 0
        with (
            open_film(video) as reader,
            FeatureBankWriter(path, model=self.fingerprint, video=str(video)) as writer,
        ):

            def append(seconds: float, clip: Tensor, people: People) -> NDArray[np.float32]:
                nonlocal count
                boxes = people.boxes[self._is_shown(people)]
                writer.append(seconds, self.first_order(clip, boxes), torch.from_numpy(boxes))
                count += len(boxes)
                return people.actions

            source = self.people(boxes, config)
            run = LocalizeRun(self.sampling, len(self.labels), source, append, config, keep=False)
            for _ in run.walk(reader):
                pass
        return count

    def _answer(self, seconds: float, clip: Tensor, people: People) -> NDArray[np.float32]:
        del seconds
        return self.actions_of(people, clip)

    def _is_shown(self, people: People) -> NDArray[np.bool_]:
        return people.scores >= self.actor_score

    def actions_of(self, people: People, clip_T3HW: Tensor, bank_maps: Tensor | None = None) -> NDArray[np.float32]:
        """`actions` (n, K) of people found in a clip; NaN for those scored too low to be shown to the network."""
        shown = self._is_shown(people)
        actions = np.full((len(people), len(self.labels)), np.nan, np.float32)
        if not shown.any():
            return actions
        speeds = None
        if self.usual_speeds:
            clip_T3HW, speeds = self._steadied(people, clip_T3HW)
        motion = None if people.motion is None else people.motion[shown]
        actions[shown] = self.actions(clip_T3HW, people.boxes[shown], bank_maps, motion)
        if speeds is None:
            return actions
        height, width = clip_T3HW.shape[-2:]
        actions = doubted_by_shape(actions, self.labels, self.usual_speeds, people.boxes, (width, height))
        return doubted_by_speed(actions, self.labels, self.usual_speeds, speeds)

    def check_attention(self) -> None:
        """Whether there is attention to be looked at.

        Raises:
            OptionError: the head relates nobody to anybody, or to people of other times.
        """
        if not isinstance(self.network.head, ACARHead):
            raise OptionError(
                "this model looks at each person alone and has no attention to show. Train one with --head acar"
            )
        if self.bank_span is not None:
            raise OptionError(
                "this model attends to its feature bank, to people of other times, which no frame shows. "
                "Give one without a bank"
            )

    def attention_of(self, people: People, clip_T3HW: Tensor) -> tuple[NDArray[np.float32], tuple[int, int]]:
        """Whose relation to a place counts for whom, in the head's last layer.

        Returns:
            Shares (n, n, h, w): [i, j] is that of the j-th person for the i-th, at each place of the head's maps, and
            makes 1 over all j; 0 for and of those who are scored too low to be shown to the network. And the context
            map's rows and columns, by which `ACARHead.map_place` tells where the places are in the frame.

        Args:
            people: found in the clip.
            clip_T3HW: uint8, as `sampling` says.

        Raises:
            OptionError: see `check_attention`; too little memory.
        """
        self.check_attention()
        head, shown = self.network.head, np.flatnonzero(self._is_shown(people))
        assert isinstance(head, ACARHead)
        if self.usual_speeds:
            clip_T3HW, _ = self._steadied(people, clip_T3HW)
        with torch.no_grad(), self._memory(len(shown)), self._autocast():
            context = self.network.context(self._input(clip_T3HW))
            grid = head.map_grid((context.features.shape[-2], context.features.shape[-1]))
            found = np.zeros((len(people), len(people), *grid), np.float32)
            if len(shown):
                shares = head.attention(context, self._actors(people.boxes[shown]))[-1]
                found[np.ix_(shown, shown)] = shares.float().cpu().numpy()
        return found, (context.features.shape[-2], context.features.shape[-1])

    def _steadied(self, people: People, clip_T3HW: Tensor) -> tuple[Tensor, NDArray[np.floating]]:
        """The clip as a camera at rest would have filmed it, and people's speeds over the ground (n,)."""
        key = self.sampling.frames // 2
        times = self.sampling.seconds(0.0)
        shifts = camera_shifts(clip_T3HW, key, boxes_over_time(people, times))
        height, width = clip_T3HW.shape[-2:]
        return steadied(clip_T3HW, shifts, key), ground_speeds(people, times, shifts, (width, height))

    def _answer_with(self, bank: FeatureBankReader, ring: StreamFeatureBank | None) -> Answer:
        """Answers that read a bank's window; a stream's own entry comes into the ring first."""
        span = self.bank_span or BankSpan()

        def answer(seconds: float, clip: Tensor, people: People) -> NDArray[np.float32]:
            if ring is not None and self.bank_writer is not None:
                seen = resized(clip, self.bank_writer.sampling) if self.views.scales else clip
                boxes = people.boxes[self.bank_writer._is_shown(people)]
                ring.append(seconds, self.bank_writer.first_order(seen, boxes), torch.from_numpy(boxes))
            entries = bank.window(seconds, before=span.before, after=span.after)
            return self.actions_of(people, clip, entries.maps)

        return answer

    def _input(self, clip_T3HW: Tensor) -> Tensor:
        height, width = clip_T3HW.shape[-2:]
        return normalize_clips(clip_T3HW[None].to(self.device), self.sampling, [(height, width)])

    def _actors(self, boxes: NDArray[np.float32] | Tensor) -> Actors:
        return Actors.from_clips([torch.as_tensor(boxes)]).to(self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _memory(self, people: int) -> PeopleMemory:
        return PeopleMemory(people, self.device)


def _with_poses(names: Sequence[str]) -> LabelMap:
    """Bare names, numbered from 0; of AVA's classes the poses exclude each other."""
    poses = tuple(column for column, name in enumerate(names) if name in AVA_POSES.values())
    is_ava = len(names) in _AVA_CLASSES
    known = is_ava and len(poses) >= len(AVA_POSES) - 1  # the evaluated classes lack one of them
    if is_ava and not known:
        warnings.warn(
            f"{len(names)} classes speak of AVA, whose poses exclude each other, but these names are not AVA's: "
            "every class is taken for itself. Give a LabelMap that says which exclude each other, such as "
            "read_label_map(AVA's list)",
            stacklevel=3,
        )
    return LabelMap(tuple(names), tuple(range(len(names))), (poses,) if known else ())
