"""What the frozen part of a network makes of clips, kept in memory; and a head fitted to it before all else moves.

The frozen part takes most of the time of a training step, and makes the same of the same frames. So each clip is seen
a few times only: in each of the ways that a test looks at it, and at other times, crops and, where asked for,
mirrored. Training then draws one of these views, and begins where the frozen part ends.

One letter an axis: V views, N clips, F features of a clip, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from muybridge.data.clips.dataset import ClipDataset
from muybridge.data.clips.sampling import normalize
from muybridge.data.loading import Loader
from muybridge.data.options import SamplingConfig
from muybridge.data.sampling import Draw
from muybridge.models.st_adapter.over_time import Standardization
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.progress import ProgressLine, progress_line
from muybridge.training.fit import is_main_process

# A head's penalty on its squared weights, per clip; the strength of logistic regression's C = 0.003 over features of
# deviation 1, chosen by cross-validation over four data sets (docs/recognize.md).
_PENALTY = 333.0
_FIT_ITERATIONS = 60
# Views that a head is fitted to, of all clips together; more would take gigabytes.
_MOST_FITTED = 12_000
_HALF_BYTES = 2
_MOST_DRAWN, _DRAWN_OF_ALL = 4, 600


class KeptPrefixes(Dataset[dict[str, Tensor]]):
    """Items as of `ClipDataset`, "prefix" in place of "frames": see `VideoViT.forward_prefix`.

    Args:
        prefixes: (V, N, T, ...) float16.
        labels: V lists of N labels each, as a clip's view has them; a mirrored clip may be of another class.
    """

    def __init__(self, prefixes: Tensor, labels: list[list[Tensor]]) -> None:
        self.prefixes, self.labels = prefixes, labels

    def __len__(self) -> int:
        return self.prefixes.shape[1]

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        view = int(np.random.default_rng(draw.seed).integers(len(self.prefixes)))
        return {
            "prefix": self.prefixes[view, draw.index].float(),
            "labels": self.labels[view][draw.index],
            "index": torch.tensor(draw.index),
        }

    def seen(self, most_views: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each clip up to so many views, (V, T, ...), and their labels, (V,) or (V, classes)."""
        views = min(len(self.prefixes), most_views)
        for index in range(len(self)):
            yield self.prefixes[:views, index], torch.stack([self.labels[view][index] for view in range(views)])


class SeenClips(Protocol):
    """Training clips of which the frozen part's work is done."""

    def __len__(self) -> int: ...

    def seen(self, most_views: int, /) -> Iterator[tuple[Tensor, Tensor]]:
        """See `KeptPrefixes.seen`."""
        ...


class ReadClips:
    """Training clips of which nothing is kept: each is read, as a test sees it, when it is asked for.

    Args:
        network: makes prefixes of them, as it is then; where nothing of it is frozen, frames' features.
        clips: without what augmentation does to them.
        device: the network's.
        workers: processes that read.
    """

    def __init__(self, network: VideoViT, clips: ClipDataset, *, device: torch.device, workers: int = 0) -> None:
        self.network, self.clips, self.device, self.workers = network, clips, device, workers

    def __len__(self) -> int:
        return len(self.clips)

    def seen(self, most_views: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `KeptPrefixes.seen`."""
        views = ViewsOfClips(self.clips, drawn=0, seed=0)
        loader: Loader[Any] = Loader(views, batch_size=None, num_workers=self.workers)
        with progress_line("reading clips", total=len(self), unit="clips", quiet=not is_main_process()) as line:
            for item in loader:
                frames = normalize(item["frames"][:most_views].to(self.device), self.clips.sampling)
                if self.network.train_backbone:
                    yield self.network.frame_features(frames)[:, :, None], item["labels"][:most_views]
                else:
                    yield self.network.forward_prefix(frames), item["labels"][:most_views]
                line.advance()


class ViewsOfClips(Dataset[dict[str, Tensor]]):
    """Of each clip "frames", (V, T, 3, height, width) uint8: the views of a test, and behind them others, drawn."""

    def __init__(self, clips: ClipDataset, drawn: int, seed: int) -> None:
        self.clips, self.drawn, self.seed = clips, drawn, seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        own, label = self.clips.as_tested(index)
        drawn = [self.clips[Draw(index, self.seed + number * len(self) + index)] for number in range(self.drawn)]
        return {
            "frames": torch.cat([own, *(item["frames"][None] for item in drawn)]),
            "labels": torch.stack([label] * len(own) + [item["labels"] for item in drawn]),
        }


def drawn_views(wanted: int | None, clips: int) -> int:
    """How often to read each clip beside as a test sees it: by default the more often, the fewer there are."""
    return max(1, min(_MOST_DRAWN, _DRAWN_OF_ALL // clips)) if wanted is None else wanted


@torch.no_grad()
def bytes_a_view(network: VideoViT, clips: ClipDataset, *, device: torch.device) -> int:
    """What is kept of one view of all clips."""
    sampling = clips.sampling
    black = torch.zeros(1, sampling.frames, 3, *sampling.size, device=device)
    network.to(device).eval()
    return len(clips) * network.forward_prefix(black).numel() * _HALF_BYTES


def keep_prefixes(
    network: VideoViT,
    clips: ClipDataset,
    *,
    drawn: int,
    seed: int,
    device: torch.device,
    workers: int = 0,
    line: ProgressLine | None = None,
) -> KeptPrefixes:
    """Read every clip and run the frozen part over it, once a view: those of a test, and so many drawn ones.

    Raises:
        InputError: a clip cannot be read.
    """
    network.to(device).eval()
    loader: Loader[Any] = Loader(ViewsOfClips(clips, drawn, seed), batch_size=None, num_workers=workers)
    kept = torch.empty(0)
    labels: list[list[Tensor]] = []
    with torch.inference_mode():
        for index, item in enumerate(loader):
            # A clip at a time, straight to its place: there is never a second copy of all.
            prefixes = network.forward_prefix(normalize(item["frames"].to(device), clips.sampling)).half().cpu()
            if not index:
                with torch.inference_mode(mode=False):
                    kept = torch.empty(len(prefixes), len(clips), *prefixes.shape[1:], dtype=torch.float16)
            kept[:, index] = prefixes
            labels.append(list(item["labels"].unbind()))
            if line is not None:
                line.advance()
    return KeptPrefixes(kept, [list(of_view) for of_view in zip(*labels, strict=True)])


@dataclass(frozen=True, eq=False)
class SeenFeatures:
    """What a head reads of the training clips.

    Attributes:
        features: (N, V, F) float32, mean 0 and deviation 1 over all, on the network's device: of each clip its views,
            those of a test first.
        labels: (N, V) int64 or (N, V, K) float32 of 0 and 1, on the same device.
    """

    features: Tensor
    labels: Tensor

    def fit(
        self,
        head: nn.Linear,
        loss: Callable[..., Tensor],
        *,
        draws: Tensor | None = None,
        clips: Tensor | None = None,
    ) -> None:
        """Set a head to the minimum of a penalized loss over the views of all clips, or of some.

        Args:
            loss, draws: as `fit_head` takes them.
            clips: (S,) int64 places.
        """
        features, labels = self.features, self.labels
        if clips is not None:
            features, labels = features[clips], labels[clips]
            draws = None if draws is None else draws[clips]
        count, views = features.shape[:2]
        if draws is not None:
            of_views = draws.repeat_interleave(views)
            loss = partial(loss, weights=(of_views / of_views.mean()).to(features.device))
        fit_linear(head, features.flatten(0, 1), labels.flatten(0, 1), loss, penalty=_PENALTY / count)


def fit_head(
    network: VideoViT,
    clips: SeenClips,
    sampling: SamplingConfig,
    loss: Callable[..., Tensor],
    *,
    draws: Tensor | None = None,
) -> SeenFeatures:
    """Standardize what the head reads, and set the head to the minimum of a penalized loss over the clips' views.

    Args:
        network: on its device; its head and standardization are replaced.
        loss: of logits (B, K) and labels, a mean over clips; with `draws` it is given weights (B,) as well.
        draws: (len(clips),) frequencies with which training draws clips, where it does not draw all alike.

    Returns:
        What the head was fitted to.
    """
    device = network.head.weight.device
    network.eval()
    # A clip's rows straight to their place, and standardized there: of all features there is never a second copy.
    features = torch.empty(0)
    labels: list[Tensor] = []
    with torch.no_grad():
        for index, (prefixes, of_views) in enumerate(clips.seen(max(1, _MOST_FITTED // len(clips)))):
            read = network.features_from_prefix(prefixes.float().to(device), sampling.size)
            rows = network.read_over_time(read).float()
            if not index:
                features = rows.new_empty(len(clips), *rows.shape)
            features[index] = rows
            labels.append(of_views)
        network.standardization = Standardization(features.flatten(0, 1)).to(device)
        features.sub_(network.standardization.mean).div_(network.standardization.deviation)
    seen = SeenFeatures(features, torch.stack(labels).to(device))
    seen.fit(network.head, loss, draws=draws)
    return seen


def fit_linear(
    head: nn.Linear,
    features_BF: Tensor,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    penalty: float,
) -> None:
    """Set a linear layer to the least loss plus half its squared weights times `penalty`, by L-BFGS."""
    weight = torch.zeros_like(head.weight).requires_grad_()
    bias = torch.zeros_like(head.bias).requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_FIT_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(F.linear(features_BF, weight, bias), labels) + 0.5 * penalty * weight.square().sum()
        value.backward()
        return value

    # In half precision a line search would not see where the loss falls.
    with torch.enable_grad(), torch.autocast(features_BF.device.type, enabled=False):
        optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
