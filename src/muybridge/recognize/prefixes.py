"""What the frozen part of a network makes of clips, kept in memory; and a head fitted to it before adapters move.

The frozen part takes most of the time of a training step, and makes the same of the same frames. So each clip is seen
a few times only: as a test sees it, and at other times, crops and, where asked for, mirrored. Training then draws one
of these views, and begins where the frozen part ends.

One letter an axis: V views, N clips, F features of a clip, K classes.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from muybridge.data.clips.dataset import ClipDataset, encode_labels, load_views
from muybridge.data.clips.sampling import normalize
from muybridge.data.options import SamplingConfig
from muybridge.data.sampling import Draw
from muybridge.models.st_adapter.over_time import Standardization
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.progress import ProgressLine

# A head's penalty on its squared weights, per clip; the strength of logistic regression's C = 0.003 over features of
# deviation 1, chosen by cross-validation over four data sets (docs/recognize.md).
_PENALTY = 333.0
_FIT_ITERATIONS = 60
_HALF_BYTES = 2


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


class _Views(Dataset[dict[str, Tensor]]):
    """Every clip once a view, as a list: the first view as a test sees it, the others drawn."""

    def __init__(self, clips: ClipDataset, views: int, seed: int) -> None:
        self.drawn, self.views, self.seed = clips, views, seed

    def __len__(self) -> int:
        return self.views * len(self.drawn)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        view, index = divmod(position, len(self.drawn))
        if view:
            item = self.drawn[Draw(index, self.seed + position)]
            return {"frames": item["frames"], "labels": item["labels"]}
        clips = self.drawn.clips
        entry = clips.entries[index]
        frames = load_views(entry.path, self.drawn.sampling, start=entry.start_seconds, end=entry.end_seconds)[0]
        labels = encode_labels(entry.labels, len(clips.classes), multi_label=clips.multi_label)
        return {"frames": frames, "labels": labels}


@torch.no_grad()
def views_that_fit(network: VideoViT, clips: ClipDataset, *, most: int, num_bytes: int, device: torch.device) -> int:
    """How many views of the clips take no more than `num_bytes`, `most` at most."""
    sampling = clips.sampling
    black = torch.zeros(1, sampling.frames, 3, *sampling.size, device=device)
    network.to(device).eval()
    return min(most, num_bytes // (len(clips) * network.forward_prefix(black).numel() * _HALF_BYTES))


def keep_prefixes(
    network: VideoViT,
    clips: ClipDataset,
    *,
    views: int,
    seed: int,
    device: torch.device,
    workers: int = 0,
    line: ProgressLine | None = None,
) -> KeptPrefixes:
    """Read every clip and run the frozen part over it, once a view.

    Raises:
        InputError: a clip cannot be read.
    """
    network.to(device).eval()
    loader = DataLoader(_Views(clips, views, seed), batch_size=4, num_workers=workers)
    prefixes: list[Tensor] = []
    labels: list[Tensor] = []
    with torch.inference_mode():
        for batch in loader:
            frames = normalize(batch["frames"].to(device), clips.sampling)
            prefixes.append(network.forward_prefix(frames).half().cpu())
            labels += batch["labels"].unbind()
            if line is not None:
                line.advance(len(frames))
    with torch.autocast("cpu", enabled=False):  # which would not join numbers of this type
        kept = torch.cat(prefixes).clone()  # leaves inference mode behind
    count = len(clips)
    return KeptPrefixes(
        kept.unflatten(0, (views, count)), [labels[view * count : (view + 1) * count] for view in range(views)]
    )


def fit_head(
    network: VideoViT, kept: KeptPrefixes, sampling: SamplingConfig, loss: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """Standardize what the head reads, and set the head to the minimum of a penalized loss over all views.

    Args:
        network: on its device; its head and standardization are replaced.
        loss: of logits (B, K) and labels, a mean over clips.
    """
    device = network.head.weight.device
    network.eval()
    with torch.no_grad():
        features = torch.cat(
            [
                network.read_over_time(network.features_from_prefix(part.float().to(device), sampling.size))
                for part in kept.prefixes.flatten(0, 1).split(16)
            ]
        )
    labels = torch.stack([label for view in kept.labels for label in view]).to(device)
    network.standardization = Standardization(features).to(device)
    fit_linear(network.head, network.standardization(features), labels, loss, clips=len(kept))


def fit_linear(
    head: nn.Linear,
    features_BF: Tensor,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    clips: int,
) -> None:
    """Set a linear layer to the least loss plus half its squared weights times `_PENALTY` a clip, by L-BFGS."""
    weight = torch.zeros_like(head.weight).requires_grad_()
    bias = torch.zeros_like(head.bias).requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_FIT_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(F.linear(features_BF, weight, bias), labels) + 0.5 * _PENALTY / clips * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
