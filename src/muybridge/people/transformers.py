"""Object detection of the Hugging Face hub: RT-DETR, D-FINE, DETR and others under the same interface."""

from collections.abc import Sequence
from typing import Any

import torch

from muybridge.devices import choose_device, is_out_of_memory
from muybridge.errors import MissingExtra, ModelError
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


class TransformersDetector:
    """An object detection model of the transformers library, with the processor of its pictures.

    Args:
        model, processor: as `AutoModelForObjectDetection` and `AutoImageProcessor` give them; typed as Any because
            the library is optional.

    Raises:
        OptionError: the model does not know a class of `classes`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        classes: Sequence[str] | None = PEOPLE,
        min_score: float = MIN_SCORE,
        device: str = "auto",
    ) -> None:
        by_number: dict[int, str] = {int(number): name for number, name in model.config.id2label.items()}
        names = [by_number.get(number, "N/A") for number in range(max(by_number) + 1)]
        self._keep = kept_classes(names, classes, detector="The Hugging Face model")
        self.classes = tuple(names) if classes is None else tuple(classes)
        self._device, self._min_score = choose_device(device), min_score
        self._model, self._processor = model.to(self._device).eval(), processor

    @classmethod
    def from_pretrained(
        cls,
        repository: str,
        *,
        classes: Sequence[str] | None = PEOPLE,
        min_score: float = MIN_SCORE,
        device: str = "auto",
    ) -> "TransformersDetector":
        """OWNER/NAME on the hub, or a folder with such a model. Code that a repository brings is never run.

        Raises:
            MissingExtra: transformers is not installed.
            ModelError: no such repository, it is not for object detection, or it cannot be downloaded.
        """
        try:
            import transformers  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise MissingExtra(f"the detector hf/{repository}", extra="transformers") from error
        # Weights as safetensors only: a pickle would be executed.
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(repository)
            model = transformers.AutoModelForObjectDetection.from_pretrained(repository, use_safetensors=True)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"cannot use the detector hf/{repository}: {reason}") from error
        return cls(model, processor, classes=classes, min_score=min_score, device=device)

    @torch.inference_mode()
    def __call__(self, frames: RGB) -> list[Detections]:
        """See `muybridge.people.detector.Detector`."""
        check_frames(frames)
        height, width = frames.shape[1:3]
        if len(frames) == 0:
            return []
        try:
            inputs = self._processor(images=list(frames), return_tensors="pt").to(self._device)
            answers = self._processor.post_process_object_detection(
                self._model(**inputs), threshold=self._min_score, target_sizes=[(height, width)] * len(frames)
            )
        except (RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
            raise DetectionFailed(f"the model failed on frames of {width} x {height}: {reason}") from error
        return labelled_detections(answers, keep=self._keep, size=(width, height), min_score=self._min_score)
