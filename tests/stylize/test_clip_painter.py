"""`--augment stylize=STYLES`: what it may say, and that a painted training resumes bit for bit."""

import pytest
import torch
from PIL import Image

from muybridge.data.clips.painting import PaintingConfig
from muybridge.errors import InputError, OptionError
from muybridge.stylize.clip_painter import load_clip_painter, parse_augment, style_files
from tests.stylize.conftest import smooth_picture


def test_what_may_be_said():
    assert parse_augment([]) is None
    assert parse_augment(["stylize=ember"]) == PaintingConfig(("ember",), 0.5)
    assert parse_augment(["stylize=ember, pictures/:0.3"]) == PaintingConfig(("ember", "pictures/"), 0.3)
    assert parse_augment(["stylize=C:/pictures"]) == PaintingConfig(("C:/pictures",), 0.5)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["mixup=0.5"], "'mixup=0.5' is unknown"),
        (["stylize"], "'stylize' is unknown"),
        (["stylize="], "at least one"),
        (["stylize=ember:2"], "probability=2"),
        (["stylize=ember", "stylize=comic"], "2 times"),
    ],
)
def test_what_may_not(texts, says):
    with pytest.raises(OptionError, match=says):
        parse_augment(texts)


def test_styles_are_names_pictures_and_folders(tmp_path):
    for name in ("b.png", "a.png"):
        Image.fromarray(smooth_picture(40, 40)).save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    both = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert style_files(["ember", str(tmp_path)]) == ["ember", *both]
    assert style_files(both[:1]) == both[:1]
    with pytest.raises(OptionError, match=r"'embers'.*ember"):
        style_files(["embers"])
    with pytest.raises(InputError, match="empty"):
        style_files([str(tmp_path / "empty")])


def test_the_built_in_stylizer_paints_a_clip():
    painter = load_clip_painter(PaintingConfig(("ember",), 1.0))
    picture = torch.from_numpy(smooth_picture(48, 48)).permute(2, 0, 1)
    frames = torch.stack([picture, picture.flip(-1)])
    painted = painter(frames, 5)
    assert painted.shape == frames.shape and (painted.float() - frames.float()).abs().mean() > 5
    assert torch.equal(painted, painter(frames, 5))
