"""Detection models of torchvision, with the weights that it publishes."""

from collections.abc import Sequence
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from torch import nn
from torchvision.models import detection as torchvision_detection
from torchvision.models import get_model, get_model_weights, list_models

from muybridge.devices import choose_device, is_out_of_memory
from muybridge.errors import MissingInput, ModelError
from muybridge.people.detector import (
    MIN_SCORE,
    PEOPLE,
    RGB,
    DetectionFailed,
    Detections,
    check_frames,
    kept_classes,
    labelled_detections,
)


class TorchvisionDetector:
    """A torchvision detection model: takes a list of (3, H, W) in [0, 1], answers with boxes, labels and scores.

    Args:
        names: of its classes in the order of its labels.

    Raises:
        OptionError: it does not know a class of `classes`.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        *,
        classes: Sequence[str] | None = PEOPLE,
        min_score: float = MIN_SCORE,
        device: str = "auto",
    ) -> None:
        self._keep = kept_classes(names, classes, detector="The torchvision model")
        self.classes = tuple(names) if classes is None else tuple(classes)
        self._device, self._min_score = choose_device(device), min_score
        self._model = model.to(self._device).eval()

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        *,
        classes: Sequence[str] | None = PEOPLE,
        min_score: float = MIN_SCORE,
        device: str = "auto",
    ) -> "TorchvisionDetector":
        """By torchvision's name, such as fasterrcnn_resnet50_fpn_v2; the weights are downloaded once.

        Raises:
            MissingInput: torchvision has no such detection model.
            ModelError: the weights cannot be downloaded.
        """
        known = list_models(module=torchvision_detection)
        if name not in known:
            raise MissingInput(f"torchvision has no detection model {name!r}. It has {', '.join(known)}")
        weights: Any = get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
        try:
            model = get_model(name, weights=weights)
        except (URLError, OSError, RuntimeError) as error:
            raise ModelError(f"cannot get the weights of torchvision/{name}: {error}") from error
        return cls(model, weights.meta["categories"], classes=classes, min_score=min_score, device=device)

    @torch.inference_mode()
    def __call__(self, frames: RGB) -> list[Detections]:
        """See `muybridge.people.detector.Detector`."""
        check_frames(frames)
        height, width = frames.shape[1:3]
        pictures = [
            torch.from_numpy(np.array(frame)).to(self._device).permute(2, 0, 1).float().div_(255) for frame in frames
        ]
        try:
            answers: list[dict[str, torch.Tensor]] = self._model(pictures) if pictures else []
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
            raise DetectionFailed(f"torchvision's model failed on frames of {width} x {height}: {reason}") from error
        return labelled_detections(answers, keep=self._keep, size=(width, height), min_score=self._min_score)
