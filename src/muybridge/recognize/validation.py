"""Measuring a recognizer on the held-out clips while it is trained."""

from collections.abc import Mapping

import torch
from torch import Tensor

from muybridge.data.clips.dataset import ClipDataset
from muybridge.data.clips.sampling import SamplingConfig, normalize
from muybridge.evaluation.classification import classification_report
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.recognize.evaluate import ClipViews, evaluate_views, truth_of
from muybridge.recognize.objective import to_probabilities
from muybridge.recognize.options import TrainingPlan
from muybridge.recognize.precision import autocast
from muybridge.recognize.prefixes import bytes_a_view, keep_prefixes
from muybridge.recognize.training_set import MOST_KEPT_BYTES
from muybridge.training.fit import FitConfig, Validation

# Held-out clips are read once and kept where they take no more than this.
KEPT_VIEWS_BYTES = 1 << 29


def validation_on(network: VideoViT, sampling: SamplingConfig, views: ClipViews, plan: TrainingPlan) -> Validation:
    """Measures on the held-out clips, of which what the frozen blocks make is kept where it is little."""
    config = plan.config
    key = "mAP" if views.clips.multi_label else "top1"
    device = network.head.weight.device
    held_out = ClipDataset(views.clips, sampling, plan.augmentation, views.views)

    def is_small() -> bool:
        """Of very many clips those held out are too much to keep beside the others."""
        with autocast(network, config):
            a_view = bytes_a_view(network, held_out, device=device)
        return views.views.count * a_view <= MOST_KEPT_BYTES // 4

    if network.first_trained_block and not plan.spread and is_small():
        with autocast(network, config):
            kept_views = keep_prefixes(network, held_out, drawn=0, seed=0, device=device, workers=config.workers)
        prefixes = kept_views.prefixes.flatten(0, 1)
        truth, names, multi_label = truth_of(views.clips), views.clips.classes.names, views.clips.multi_label

        def run_kept() -> Mapping[str, float]:
            here = network.head.weight.device  # by then moved
            with torch.no_grad(), autocast(network, config):
                parts = [
                    network.forward_from_prefix(part.float().to(here), sampling.size) for part in prefixes.split(16)
                ]
            probabilities = to_probabilities(torch.cat(parts), multi_label=multi_label)
            of_clips = probabilities.unflatten(0, kept_views.prefixes.shape[:2]).mean(dim=0)
            return classification_report(of_clips.cpu(), truth, names).numbers

        return Validation(run_kept, key)

    def logits(frames: Tensor) -> Tensor:
        here = network.head.weight.device  # by then moved
        with autocast(network, config):
            return network(normalize(frames.to(here), sampling))

    def run() -> Mapping[str, float]:
        return evaluate_views(logits, views, workers=readers_for(views, config), quiet=True).report.numbers

    return Validation(run, key)


def readers_for(views: ClipViews, config: FitConfig) -> int:
    """Processes that read held-out clips: none where all of them are kept in memory after the first time."""
    return 0 if views.num_bytes <= KEPT_VIEWS_BYTES else config.workers
