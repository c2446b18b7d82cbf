"""The model that ships: small, and it paints."""

import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from muybridge.artifacts import load_artifact
from muybridge.media.images import read_image, resize_image
from muybridge.stylize.objective import style_distance
from muybridge.stylize.options import BUILT_IN
from muybridge.stylize.stylizer import Stylizer

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "src" / "muybridge" / "weights" / BUILT_IN["builtin"]


@pytest.fixture(scope="module")
def built_in():
    return Stylizer.from_pretrained(device="cpu")


def test_it_is_small_and_says_how_it_was_made():
    assert WEIGHTS.stat().st_size <= 8e6
    artifact = load_artifact(WEIGHTS, task="stylize")
    assert (ROOT / artifact.provenance["recipe"]).is_file()
    assert WEIGHTS.with_suffix(".md").is_file()


def test_strength_zero_reconstructs_a_photograph(built_in):
    photo = read_image(ROOT / "src" / "muybridge" / "pictures" / "coffee.jpg").rgb
    rebuilt = built_in(photo, "glass", strength=0.0, style_size=64).astype(float)
    assert 10 * np.log10(255**2 / ((rebuilt - photo) ** 2).mean()) > 22


@pytest.mark.real_data
@pytest.mark.slow
def test_paintings_come_close_to_the_statistics_of_their_style(built_in, real_data):
    sys.path.insert(0, str(ROOT / "recipes"))
    from distilled_vgg import DistilledVGG

    teacher = DistilledVGG(real_data / "weights" / "vgg19_distilled").eval()

    def load(path):
        rgb = read_image(path).rgb
        return resize_image(rgb[: min(rgb.shape[:2]), : min(rgb.shape[:2])], 192, 192)

    @torch.inference_mode()
    def distance(rgb, style):
        levels = [teacher(torch.from_numpy(x).permute(2, 0, 1)[None].float()) for x in (rgb, style)]
        return float(sum(style_distance(a, b) for a, b in zip(*levels, strict=True)))

    ratios = []
    for painting in ("candy.jpg", "mosaic.jpg", "starry_night.jpg", "woman_in_peasant_dress_cropped.jpg"):
        style = load(real_data / "styles" / painting)
        for photo in ("lenna.jpg", "golden_gate.jpg"):
            content = load(real_data / "photos" / "content" / photo)
            painted = built_in(content, style, style_size=192)
            ratios.append(distance(painted, style) / distance(content, style))
    assert statistics.median(ratios) < 0.4
