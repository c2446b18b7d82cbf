"""What a recognizer's training draws from: clips, with the frozen blocks' work on them done as far as can be.

That work is kept in memory where it fits, else on disk where there is room, else clips are read at each pass.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from muybridge.counts import counted
from muybridge.data.clips.dataset import ClipDataset
from muybridge.data.clips.lists import ClipList
from muybridge.data.clips.painting import PaintedClips
from muybridge.data.clips.prefix_cache import CachedClips, PrefixCache, PrefixIdentity
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig, normalize
from muybridge.data.clips.shards import is_member
from muybridge.errors import OptionError
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.pretrained import BackboneIdentity
from muybridge.progress import progress_line
from muybridge.recognize.objective import views_for
from muybridge.recognize.options import TrainingPlan
from muybridge.recognize.precision import HALF, autocast
from muybridge.recognize.prefixes import KeptPrefixes, ReadClips, SeenClips, bytes_a_view, drawn_views, keep_prefixes
from muybridge.stylize.clip_painter import load_clip_painter, parse_augment
from muybridge.training.fit import is_main_process

# What the frozen blocks make of the training clips is kept in memory where it takes no more than this.
MOST_KEPT_BYTES = 2 << 30

KeptClips = KeptPrefixes | CachedClips


@dataclass(frozen=True)
class Keeping:
    """Where what the frozen blocks make of the training clips is kept: in memory, in a folder, or nowhere.

    Attributes:
        in_memory: as many views as fit.
        folder: None where they are not kept on disk.
    """

    in_memory: bool = False
    folder: Path | None = None

    @property
    def is_somewhere(self) -> bool:
        """Whether each clip is read once only."""
        return self.in_memory or self.folder is not None


def choose_keeping(
    plan: TrainingPlan,
    clips: ClipList,
    network: VideoViT,
    sampling: SamplingConfig,
    views: ViewConfig,
    folder: Path,
    device: torch.device,
    tell: Callable[[str], None],
) -> Keeping:
    """Where to keep the frozen blocks' work: in memory, else on disk, as far as there is room. Reads no clip.

    Args:
        views: of a test, which are kept.
        folder: of this training, for what memory does not carry.
        tell: takes lines for the user.

    Raises:
        OptionError: a cache is asked for, and no block is frozen.
    """
    if plan.cache is not None:
        if network.first_trained_block == 0:
            raise OptionError(
                f"--cache has nothing to keep: all {network.depth} blocks are trained or adapted. Give --blocks "
                "with fewer, or --method head"
            )
        return Keeping(folder=plan.cache)
    if not _can_be_kept(plan, network) or any(is_member(entry.path) for entry in clips.entries[:1]):
        return Keeping()
    needed = _bytes_of_views(plan, ClipDataset(clips, sampling, plan.augmentation, views), network, device)
    if needed <= MOST_KEPT_BYTES:
        return Keeping(in_memory=True)
    return Keeping(folder=_room_on_disk(folder / "cache", needed, tell))


def training_set(
    plan: TrainingPlan,
    keeping: Keeping,
    clips: ClipList,
    network: VideoViT,
    identity: BackboneIdentity,
    sampling: SamplingConfig,
    views: ViewConfig,
    device: torch.device,
    tell: Callable[[str], None],
) -> Dataset[dict[str, Tensor]]:
    """The training clips; where it is kept, with the frozen blocks' work on them done.

    Args:
        network, identity: what it is, and its backbone.
        views: of a test, which are kept.
        tell: takes lines for the user.

    Raises:
        InputError: a clip cannot be read.
    """
    read = ClipDataset(clips, sampling, plan.augmentation, views)
    if keeping.in_memory:
        return _kept(plan, read, network, device)
    if keeping.folder is not None:
        return _cached(plan, keeping.folder, clips, network, identity, sampling, views, device, tell)
    painting = parse_augment(plan.augment)
    return read if painting is None else PaintedClips(read, load_clip_painter(painting))


def _can_be_kept(plan: TrainingPlan, network: VideoViT) -> bool:
    """Whether there are frozen blocks, and nothing that must be done to frames at each pass."""
    varied_each_time = plan.augmentation.rand_augment or plan.augmentation.color or plan.augment
    wanted = plan.keep_views != 0 and not plan.spread
    return bool(wanted and network.first_trained_block and not varied_each_time)


def _bytes_of_views(plan: TrainingPlan, dataset: ClipDataset, network: VideoViT, device: torch.device) -> int:
    """What the frozen blocks make of the views of a test of all training clips."""
    with autocast(network, plan.config):
        return dataset.views.count * bytes_a_view(network, dataset, device=device)


def _kept(plan: TrainingPlan, dataset: ClipDataset, network: VideoViT, device: torch.device) -> KeptPrefixes:
    """What the frozen blocks make of the training clips, in memory: as many drawn views as fit."""
    a_view = _bytes_of_views(plan, dataset, network, device) // dataset.views.count
    quiet = not is_main_process()
    with (
        progress_line("reading clips", total=len(dataset), unit="clips", quiet=quiet) as line,
        autocast(network, plan.config),
    ):
        return keep_prefixes(
            network,
            dataset,
            drawn=min(drawn_views(plan.keep_views, len(dataset)), MOST_KEPT_BYTES // a_view - dataset.views.count),
            seed=plan.config.seed,
            device=device,
            workers=plan.config.workers,
            line=line,
        )


def _room_on_disk(folder: Path, needed: int, tell: Callable[[str], None]) -> Path | None:
    """A folder for what memory does not carry, unless it would take most of what the disk has left."""
    folder.mkdir(parents=True, exist_ok=True)
    # A cache keeps numbers of 32 bits.
    needed, free = 2 * needed, disk_usage(folder).free
    about = f"what the frozen blocks make of so many clips takes {needed / 1e9:.1f} GB"
    if needed > free / 2:
        tell(f"{about}, too much for memory and disk; clips are read at each pass")
        return None
    tell(f"{about}, and is kept in {folder}")
    return folder


def _cached(
    plan: TrainingPlan,
    folder: Path,
    clips: ClipList,
    network: VideoViT,
    identity: BackboneIdentity,
    sampling: SamplingConfig,
    views: ViewConfig,
    device: torch.device,
    tell: Callable[[str], None],
) -> CachedClips:
    """The training clips from a folder of what the frozen blocks make of them, worked out where it is missing."""
    # A head's features follow from how they were read as well.
    pooled = network.readout if network.config is None else ""
    dtype = HALF.get(plan.config.precision, torch.float32)
    about = PrefixIdentity(identity.hash, network.first_trained_block, sampling, dtype, pooled)
    views = replace(views, temporal=plan.cache_views)
    cache = PrefixCache(folder, about, views=views)

    def compute(frames: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return network.forward_prefix(normalize(frames.to(device), sampling)).to(dtype)

    network.to(device).eval()
    with progress_line("filling the cache", total=len(clips), unit="clips", quiet=not is_main_process()) as line:
        made = cache.fill(clips, compute, line=line)
    tell(f"cache: {made} of {counted(len(clips) * views.count, 'view')} worked out, the others found in {folder}")
    return CachedClips(clips, cache)


def seen_clips(
    dataset: Dataset[Any], plan: TrainingPlan, clips: ClipList, network: VideoViT, sampling: SamplingConfig
) -> SeenClips:
    """The training clips as a test sees them: what is kept of them, else read once for this."""
    if isinstance(dataset, KeptClips):
        return dataset
    read = ClipDataset(clips, sampling, plan.augmentation, views_for(plan.sampling))
    return ReadClips(network, read, device=network.head.weight.device, workers=plan.config.workers)
