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


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The training clips as a network sees them.

    Attributes:
        plan: of the training.
        clips: to train on.
        network, identity: what is trained, and its backbone.
        sampling: which frames it sees, and how.
        views: of a test, which are kept.
        device: where the network is to work.
        tell: takes lines for the user.
    """

    plan: TrainingPlan
    clips: ClipList
    network: VideoViT
    identity: BackboneIdentity
    sampling: SamplingConfig
    views: ViewConfig
    device: torch.device
    tell: Callable[[str], None]

    def choose_keeping(self, folder: Path) -> Keeping:
        """Where to keep the frozen blocks' work: in memory, else on disk, as far as there is room. Reads no clip.

        Args:
            folder: of this training, for what memory does not carry.

        Raises:
            OptionError: a cache is asked for, and no block is frozen.
        """
        if self.plan.cache is not None:
            if self.network.first_trained_block == 0:
                raise OptionError(
                    f"--cache has nothing to keep: all {self.network.depth} blocks are trained or adapted. Give "
                    "--blocks with fewer, or --method head"
                )
            return Keeping(folder=self.plan.cache)
        if not self._can_be_kept() or any(is_member(entry.path) for entry in self.clips.entries[:1]):
            return Keeping()
        needed = self.views.count * self._bytes_a_view()
        if needed <= MOST_KEPT_BYTES:
            return Keeping(in_memory=True)
        return Keeping(folder=self._room_on_disk(folder / "cache", needed))

    def dataset(self, keeping: Keeping) -> Dataset[dict[str, Tensor]]:
        """The clips; where it is kept, with the frozen blocks' work on them done.

        Raises:
            InputError: a clip cannot be read.
        """
        if keeping.in_memory:
            return self._kept()
        if keeping.folder is not None:
            return self._cached(keeping.folder)
        painting = parse_augment(self.plan.augment)
        return self._read() if painting is None else PaintedClips(self._read(), load_clip_painter(painting))

    def as_in_test(self, dataset: Dataset[Any]) -> SeenClips:
        """The clips as a test sees them: what `dataset` keeps of them, else read once for this."""
        if isinstance(dataset, KeptClips):
            return dataset
        return ReadClips(self.network, self._read(), device=self.device, workers=self.plan.config.workers)

    def _read(self) -> ClipDataset:
        return ClipDataset(self.clips, self.sampling, self.plan.augmentation, self.views)

    def _can_be_kept(self) -> bool:
        """Whether there are frozen blocks, and nothing that must be done to frames at each pass."""
        plan = self.plan
        varied_each_time = plan.augmentation.rand_augment or plan.augmentation.color or plan.augment
        wanted = plan.keep_views != 0 and not plan.spread
        return bool(wanted and self.network.first_trained_block and not varied_each_time)

    def _bytes_a_view(self) -> int:
        """What the frozen blocks make of a view of all clips."""
        with autocast(self.network, self.plan.config):
            return bytes_a_view(self.network, self._read(), device=self.device)

    def _kept(self) -> KeptPrefixes:
        """What the frozen blocks make of the clips, in memory: as many drawn views as fit."""
        plan, count = self.plan, len(self.clips)
        as_many_as_fit = MOST_KEPT_BYTES // self._bytes_a_view() - self.views.count
        quiet = not is_main_process()
        with (
            progress_line("reading clips", total=count, unit="clips", quiet=quiet) as line,
            autocast(self.network, plan.config),
        ):
            return keep_prefixes(
                self.network,
                self._read(),
                drawn=min(drawn_views(plan.keep_views, count), as_many_as_fit),
                seed=plan.config.seed,
                device=self.device,
                workers=plan.config.workers,
                line=line,
            )

    def _room_on_disk(self, folder: Path, needed: int) -> Path | None:
        """A folder for what memory does not carry, unless it would take most of what the disk has left."""
        folder.mkdir(parents=True, exist_ok=True)
        # A cache keeps numbers of 32 bits.
        needed, free = 2 * needed, disk_usage(folder).free
        about = f"what the frozen blocks make of so many clips takes {needed / 1e9:.1f} GB"
        if needed > free / 2:
            self.tell(f"{about}, too much for memory and disk; clips are read at each pass")
            return None
        self.tell(f"{about}, and is kept in {folder}")
        return folder

    def _cached(self, folder: Path) -> CachedClips:
        """The clips from a folder of what the frozen blocks make of them, worked out where it is missing."""
        network, plan, device = self.network, self.plan, self.device
        # A head's features follow from how they were read as well.
        pooled = network.readout if network.config is None else ""
        dtype = HALF.get(plan.config.precision, torch.float32)
        about = PrefixIdentity(self.identity.hash, network.first_trained_block, self.sampling, dtype, pooled)
        views = replace(self.views, temporal=plan.cache_views)
        cache = PrefixCache(folder, about, views=views)

        def compute(frames: Tensor) -> Tensor:
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                return network.forward_prefix(normalize(frames.to(device), self.sampling)).to(dtype)

        network.to(device).eval()
        total, quiet = len(self.clips), not is_main_process()
        with progress_line("filling the cache", total=total, unit="clips", quiet=quiet) as line:
            made = cache.fill(self.clips, compute, line=line)
        count = counted(total * views.count, "view")
        self.tell(f"cache: {made} of {count} worked out, the others found in {folder}")
        return CachedClips(self.clips, cache)
