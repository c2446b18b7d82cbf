"""One label after every frame, at the price of one image forward a frame.

Attention looks at one frame at a time, and a causal adapter only at the frames before. So all that a stream has to
remember is, for each adapter, the bottleneck features of the last few frames, and the vectors of the frames that the
label is the mean of.
"""

from collections import deque

import torch
from torch import Tensor

from muybridge.errors import ModelMismatch, OptionError
from muybridge.models.st_adapter.video_vit import VideoViT


class CausalStream:
    """The state of a stream, or of B streams in step, that runs through a model.

    After any frame, its answer equals that of the model on the whole clip so far, if that mean too is taken over the
    last `window` frames. The model may serve any number of streams at once.

    Args:
        model: with causal adapters, or without adapters; best in evaluation mode.
        window: over how many of the last frames the label is the mean; None for all since the start.

    Raises:
        ModelMismatch: the model's adapters look at later frames.
        OptionError: `window` is below 1, or None for a model that reads change over time.
    """

    def __init__(self, model: VideoViT, window: int | None = None) -> None:
        config = model.config
        if config is not None and not (config.causal or config.kernel[0] == 1):
            raise ModelMismatch(
                f"The adapters' kernel {config.kernel} looks at later frames, which a stream does not have yet. "
                "Train with causal=True for streams."
            )
        if config is not None and config.frequency_scales:
            raise ModelMismatch("The adapters' frequency branch looks at whole clips. Train without it for streams.")
        if window is not None and window < 1:
            raise OptionError(f"window={window} holds no frame. Choose 1 or more, or None for all frames.")
        if window is None and model.over_time != "mean":
            raise OptionError("a model that reads change over time needs a window. Say how many frames it holds.")
        self.model = model
        self.window = window
        self.reset()

    def reset(self) -> None:
        """Forget all frames, as at a cut."""
        self.frames_seen = 0
        self._history: dict[str, Tensor] = {}
        self._recent: deque[Tensor] = deque(maxlen=self.window)
        self._sum: Tensor | None = None

    @torch.no_grad()
    def __call__(self, frame: Tensor) -> Tensor:
        """Logits (B, classes) after one more frame (B, 3, height, width) of each stream, normalised as for the model.

        B, height and width stay the same until `reset`.
        """
        feature = self.model.frame_features(frame[:, None], history=self._history)[:, 0]
        self.frames_seen += 1
        return self.model.classify(self._read_with(feature))

    def _read_with(self, feature: Tensor) -> Tensor:
        """(B, T, D) whose summary is that of all frames the label looks at."""
        if self.window is not None:
            self._recent.append(feature)
            return torch.stack(tuple(self._recent), dim=1)
        # An unbounded mean is kept as a sum in double precision, which stays exact enough over days of frames.
        self._sum = feature.double() if self._sum is None else self._sum + feature
        return (self._sum / self.frames_seen).to(feature.dtype)[:, None]
