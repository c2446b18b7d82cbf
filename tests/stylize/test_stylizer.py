"""The stylizer from arrays and files to arrays."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from muybridge.artifacts import Artifact, load_artifact
from muybridge.errors import InputError, MissingInput, ModelError, ModelMismatch, OptionError
from muybridge.media.video_reader import Frame
from muybridge.stylize.pictures import sized
from muybridge.stylize.styles import BUILT_IN_STYLES
from muybridge.stylize.stylizer import Style, StylizeConfig, Stylizer
from tests.stylize.conftest import random_vgg19_state, smooth_picture


@pytest.mark.parametrize("size", [(75, 102), (64, 64), (1, 1), (3, 400), (33, 31)])
def test_exactly_the_input_size_comes_out(stylizer, painting, size):
    painted = stylizer(smooth_picture(*size), painting, style_size=64)
    assert painted.shape == (*size, 3)
    assert painted.dtype == np.uint8


def test_another_size_on_request_keeps_the_aspect(stylizer, photo, painting):
    assert stylizer(photo, painting, style_size=64, size=50).shape == (50, 68, 3)


def test_the_same_call_gives_the_same_picture_and_leaves_its_input_alone(stylizer, photo, painting):
    before = photo.copy()
    first = stylizer(photo, painting, style_size=64)
    assert np.array_equal(first, stylizer(photo, painting, style_size=64))
    assert np.array_equal(photo, before)


def test_a_style_computed_once_paints_as_one_computed_anew(stylizer, photo, painting, tmp_path):
    expected = stylizer(photo, painting, style_size=64)
    style = stylizer.encode_style(painting, size=64)
    assert np.array_equal(stylizer(photo, style), expected)
    style.save(tmp_path / "style.safetensors")
    assert np.array_equal(stylizer(photo, tmp_path / "style.safetensors"), expected)
    assert Style.load(tmp_path / "style.safetensors").name == style.name


def test_a_style_keeps_the_projection_it_was_made_with(stylizer, photo, painting):
    styles = {name: stylizer.encode_style(painting, projection=name, size=64) for name in ("zca", "adain")}
    expected = {name: stylizer(photo, painting, style_size=64, projection=name) for name in styles}
    assert not np.array_equal(expected["zca"], expected["adain"])
    for made, style in styles.items():
        for asked in styles:
            assert np.array_equal(stylizer(photo, style, projection=asked), expected[made])


def test_a_style_of_another_model_is_refused(stylizer, photo, painting):
    style = stylizer.encode_style(painting, size=64)
    with pytest.raises(ModelMismatch, match="another model"):
        stylizer(photo, Style(style.name, style.code, "0" * 16))


def test_files_arrays_and_built_in_names_are_all_styles(stylizer, photo, painting, tmp_path):
    Image.fromarray(painting).save(tmp_path / "painting.png")
    from_file = stylizer(str(tmp_path / "painting.png"), tmp_path / "painting.png", style_size=64)
    assert np.array_equal(from_file, stylizer(painting, painting, style_size=64))
    for name in BUILT_IN_STYLES:
        assert stylizer(photo, name, style_size=64).shape == photo.shape
    for missing in ("no-such-style", "", str(tmp_path)):
        with pytest.raises(MissingInput, match=f"no style '{missing}'.*muybridge styles"):
            stylizer(photo, missing)


def test_weights_are_shares(stylizer, photo, painting):
    other = smooth_picture(64, 64, 9)
    a = stylizer(photo, [painting, other], weights=[1, 3], style_size=64)
    b = stylizer(photo, [painting, other], weights=[0.25, 0.75], style_size=64)
    assert np.array_equal(a, b)
    alone = stylizer(photo, [painting, other], weights=[1, 0], style_size=64)
    assert np.abs(alone.astype(int) - stylizer(photo, painting, style_size=64)).max() <= 1


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [float("nan"), 1], [float("inf"), 1]])
def test_weights_that_are_no_shares_are_refused(stylizer, photo, painting, weights):
    with pytest.raises(OptionError, match="weight"):
        stylizer(photo, [painting, painting], weights=weights, style_size=64)


def test_masks_leave_the_rest_of_the_photo_untouched(stylizer, photo, painting):
    mask = np.zeros(photo.shape[:2], bool)
    mask[:, 40:] = True
    whole = stylizer(photo, painting, style_size=64)
    part = stylizer(photo, painting, style_size=64, masks=[mask])
    assert np.array_equal(part[:, :40], photo[:, :40])
    assert np.abs(part[:, 40:].astype(int) - whole[:, 40:]).max() <= 1


def test_soft_masks_blend_and_each_style_has_its_own(stylizer, photo, painting):
    other = smooth_picture(64, 64, 9)
    half = np.full(photo.shape[:2], 0.5, np.float32)
    a, b = (stylizer(photo, style, style_size=64).astype(float) for style in (painting, other))
    both = stylizer(photo, [painting, other], style_size=64, masks=[half, half / 2])
    expected = 0.5 * a + 0.25 * b + 0.25 * photo
    assert np.abs(both - expected).max() <= 1.01
    full = stylizer(photo, [painting, other], style_size=64, masks=[half * 2, half * 2])
    assert np.abs(full - (a + b) / 2).max() <= 1.01  # masks that overlap share


def test_a_mask_of_another_size_is_scaled_and_of_another_shape_refused(stylizer, photo, painting):
    small = np.zeros((25, 34), np.uint8)
    small[:, 17:] = 255
    painted = stylizer(photo, painting, style_size=64, masks=[small])
    assert np.array_equal(painted[:, :48], photo[:, :48])
    with pytest.raises(OptionError, match="34x30"):
        stylizer(photo, painting, style_size=64, masks=[np.zeros((30, 34), np.uint8)])
    with pytest.raises(OptionError, match="3 masks for 1 style:"):
        stylizer(photo, painting, style_size=64, masks=[small] * 3)
    with pytest.raises(OptionError, match="values from"):
        stylizer(photo, painting, style_size=64, masks=[np.full(photo.shape[:2], 7.0)])


def test_kept_colors_are_the_contents(stylizer, photo, painting):
    painted = stylizer(photo, painting, style_size=64, keep_colors=True).astype(float)
    # Where nothing was clipped, the differences between channels are the photograph's.
    inside = (painted > 0).all(2) & (painted < 255).all(2)
    assert inside.mean() > 0.2
    difference = np.diff(painted, axis=2) - np.diff(photo.astype(float), axis=2)
    assert np.abs(difference[inside]).max() <= 1


def test_a_flat_style_and_a_flat_photo_paint_without_nan(stylizer, photo, painting):
    flat = np.full((40, 50, 3), 90, np.uint8)
    assert stylizer(photo, flat, style_size=64).shape == photo.shape
    assert stylizer(flat, painting, style_size=64).shape == flat.shape


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"strength": 1.7}, "strength=1.7"),
        ({"strength": float("nan")}, "strength=nan"),
        ({"patch_size": 4}, "patch_size=4"),
        ({"style_size": 3}, "style_size=3"),
        ({"size": -1}, "size=-1"),
        ({"strenght": 1}, "strenght"),
    ],
)
def test_options_out_of_range_are_named(stylizer, photo, painting, options, says):
    with pytest.raises(OptionError, match=says):
        stylizer(photo, painting, **options)


def test_patches_larger_than_the_picture_are_refused(stylizer, painting):
    picture = smooth_picture(48, 70, 1)  # a map of 6 x 9, whose shorter side can be mirrored up to 5 at each end
    assert stylizer(picture, painting, style_size=64, patch_size=11).shape == picture.shape
    with pytest.raises(OptionError, match="patch_size=13 is too large for 70x48 pixels: choose at most 11"):
        stylizer(picture, painting, style_size=64, patch_size=13)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")],
)
def test_arrays_that_are_no_pictures_are_refused(stylizer, painting, array):
    with pytest.raises(InputError, match="uint8 RGB"):
        stylizer(array, painting)


def test_frames_alone_equal_pictures_and_keep_their_times(stylizer, photo, painting):
    frames = [Frame(smooth_picture(40, 48, i), Fraction(i, 3), i) for i in range(3)]
    painted = list(stylizer.stream(frames, painting, style_size=64, temporal=None))
    assert [frame.pts_seconds for frame in painted] == [0, Fraction(1, 3), Fraction(2, 3)]
    for before, after in zip(frames, painted, strict=True):
        assert np.array_equal(after.image, stylizer(before.image, painting, style_size=64))


def test_large_pictures_are_painted_in_tiles_alike(stylizer, painting, monkeypatch):
    photo = smooth_picture(330, 410, 5)
    whole = stylizer(photo, painting, style_size=64, strength=0.6)
    monkeypatch.setattr("muybridge.stylize.stylizer._LARGEST_MAP_BYTES", 1)
    monkeypatch.setattr("muybridge.stylize.stylizer._TILE", 128)
    tiled = stylizer(photo, painting, style_size=64, strength=0.6)
    differs = np.abs(whole.astype(int) - tiled).max(axis=-1) > 1
    # Where two patches of the style match equally well, rounding decides between them. A seam would be a line of
    # pixels across the picture: one is 0.2 %.
    assert differs.mean() < 0.002


def test_save_and_load_paint_alike(stylizer, photo, painting, tmp_path):
    stylizer.save(tmp_path / "copy.safetensors")
    copy = Stylizer.from_pretrained(tmp_path / "copy.safetensors", device="cpu")
    assert np.array_equal(copy(photo, painting, style_size=64), stylizer(photo, painting, style_size=64))


def test_a_model_file_with_missing_tensors_is_refused(model_file, tmp_path):
    artifact = load_artifact(model_file, task="stylize")
    tensors = dict(artifact.tensors)
    tensors.pop("decoder.finish.1.bias")
    Artifact("stylize", artifact.architecture, tensors).save(tmp_path / "less.safetensors")
    with pytest.raises(ModelMismatch, match=r"finish\.1\.bias"):
        Stylizer.from_pretrained(tmp_path / "less.safetensors")


def test_weights_that_overflow_are_told(stylizer, photo, painting, model_file, tmp_path):
    artifact = load_artifact(model_file, task="stylize")
    tensors = {name: tensor * 1e30 for name, tensor in artifact.tensors.items()}
    Artifact("stylize", artifact.architecture, tensors).save(tmp_path / "wild.safetensors")
    with pytest.raises(ModelError, match="not numbers"):
        Stylizer.from_pretrained(tmp_path / "wild.safetensors", device="cpu")(photo, painting, style_size=64)


def test_unknown_devices_are_refused(model_file):
    with pytest.raises(OptionError, match="device='abacus'"):
        Stylizer.from_pretrained(model_file, device="abacus")


def test_config_and_options_together_are_refused(stylizer, photo, painting):
    with pytest.raises(OptionError, match="both given"):
        stylizer(photo, painting, config=StylizeConfig(), strength=0.5)


def test_vgg19_is_named_not_copied_and_checked(tmp_path, monkeypatch, photo, painting):
    from muybridge import pretrained_vgg19
    from muybridge.stylize.stylizer import TASK

    weights = tmp_path / "vgg19.pth"
    torch.save(random_vgg19_state(), weights)
    network = pretrained_vgg19.avatar_net_with_vgg19(weights)
    named = {"source": pretrained_vgg19.VGG19, "sha256": pretrained_vgg19.encoder_fingerprint(network.encoder)}
    tensors = {f"decoder.{name}": tensor for name, tensor in network.decoder.state_dict().items()}
    path = tmp_path / "model.safetensors"
    Artifact(TASK, {}, tensors, contract={"encoder": named}).save(path)
    assert path.stat().st_size < 15e6  # the decoder's 3.55 M numbers alone

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "empty"))
    with pytest.raises(ModelError, match=r"not on this machine.*--encoder-weights vgg19"):
        Stylizer.from_pretrained(path, device="cpu")
    loaded = Stylizer.from_pretrained(path, device="cpu", encoder_weights=weights)
    assert loaded(photo[:40, :40], painting, style_size=32).shape == (40, 40, 3)
    loaded.save(tmp_path / "again.safetensors")
    assert load_artifact(tmp_path / "again.safetensors", task=TASK).contract["encoder"] == named

    Artifact(TASK, {}, tensors, contract={"encoder": named | {"sha256": "0"}}).save(path)
    with pytest.raises(ModelMismatch, match="weights differ"):
        Stylizer.from_pretrained(path, encoder_weights=weights)


def test_a_thread_of_pixels_is_not_blown_up() -> None:
    with pytest.raises(InputError, match=r"a picture of 60000x2 with a short side of 512 .* Cut it first"):
        sized(np.zeros((2, 60_000, 3), np.uint8), 512)
    assert sized(np.zeros((20, 60, 3), np.uint8), 10).shape == (10, 30, 3)
