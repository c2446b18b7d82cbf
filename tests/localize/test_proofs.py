"""The stage's ceilings hold for our models, and what is beyond them can be learned: the recipes' claims, in small.

The recipes `stage_relations.py` and `stage_memory.py` train; here are the same scenes, with untrained trunks where
that is enough.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from muybridge.models.acar.actors import Actors, ContextMap, Grouping
from muybridge.models.acar.head import ACARNet
from muybridge.models.acar.slowfast import SlowFast

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    import stage_localization
    import stage_memory
    import stage_relations

    yield argparse.Namespace(shared=stage_localization, relations=stage_relations, memory=stage_memory)
    for name in ("stage_localization", "stage_memory", "stage_relations"):
        del sys.modules[name]


@pytest.fixture
def trunk(recipes):
    torch.manual_seed(0)
    return SlowFast(recipes.shared.TRUNK).eval()


def test_the_baseline_head_sees_no_further_than_the_recipe_says(recipes, trunk):
    """Against autograd: the pixels on which a figure's logits depend."""
    height, width = recipes.relations.HEIGHT, recipes.relations.WIDTH
    left, right = 120, 136
    clip = torch.randn(1, 4, 3, height, width, requires_grad=True)
    net = ACARNet(trunk, recipes.shared.baseline_head(9)).eval()
    box = torch.tensor([[left / width, 0.2, right / width, 0.8]])
    net(clip, Actors.from_clips([box])).square().sum().backward()
    columns = clip.grad.abs().sum((0, 1, 2, 3)).nonzero()[:, 0]
    reach = recipes.shared.TRUNK_REACH
    assert left - reach <= columns.min() < left - reach + 24
    assert right + reach - 24 < columns.max() < right + reach
    assert reach < recipes.relations.SEPARATION * width


def test_only_relations_tell_the_siblings_of_a_relation_scene_apart(recipes, trunk):
    clips = recipes.relations.clips_of(range(5, 7), 4)
    data = recipes.relations.MapData(trunk, clips, mirror=False)
    assert (clips.targets.argmax(-1)[:4, 0] == clips.targets.argmax(-1)[:1, 0]).sum() == 1  # four performances

    def difference(head):
        objective = recipes.shared.HeadObjective(head(9), recipes.relations.LABELS.exclusive)
        logits = recipes.relations.logits_of(objective, data)
        return recipes.relations.largest_difference_of_siblings(logits, 4), float(logits.std())

    alike, scale = difference(recipes.shared.baseline_head)
    assert scale > 1e-3 and alike < 1e-4 * scale
    apart, scale = difference(recipes.shared.acar_head)
    assert apart > 1e-2 * scale


def test_a_window_is_read_from_the_scene_of_its_clip(recipes, trunk, tmp_path):
    """Against the maps themselves: entries from ten seconds before to ten after, of the same video."""
    clips = recipes.memory.clips_of(range(2), 1)
    maps = recipes.shared.context_maps(trunk, clips.frames)
    head = recipes.shared.acar_head(4)
    banks = recipes.memory.write_banks(head, clips, maps, tmp_path, "untrained")
    data = recipes.memory.MemoryData(clips, maps, banks)
    row = int(np.flatnonzero((clips.video == 1) & (clips.seconds == 0))[0])
    near = np.flatnonzero((clips.video == 1) & (clips.seconds <= 10))
    boxes = torch.from_numpy(clips.boxes[near][clips.present[near]])
    groups = Grouping.from_counts(clips.present[near].sum(1).tolist())
    with torch.inference_mode():
        expected = head.eval().first_order(ContextMap(maps[near].float()), Actors(boxes, groups)).maps
    torch.testing.assert_close(data.item(row)["bank"].float(), expected, atol=2e-3, rtol=2e-3)
