"""The network with skips: what passes, what does not, and that tiles, styles and strengths fit together."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from muybridge.models.avatar_net.detailed import (
    ColourEncoder,
    DetailedAvatarNet,
    DetailedConfig,
    band_quantiles,
    band_statistics,
    convolve_fused,
    fusion,
    impose_bands,
    picture_bands,
)
from muybridge.models.avatar_net.network import Decoration, decorate, fusion_targets, transfer_skips
from muybridge.models.avatar_net.patch_swap import rebuild_finer

SMALL = DetailedConfig(convolutions=(7, 6, 8, 8, 9, 9, 9, 9, 10), widths=(8, 9, 10, 11))


@pytest.fixture(scope="module")
def network() -> DetailedAvatarNet:
    torch.manual_seed(0)
    return DetailedAvatarNet(SMALL).eval()


# For a content of 8 x 8 locations, among the 6 x 8 of a style.
MATCHES = torch.arange(64).view(8, 8) % 48


def picture(height: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 8 + 1, width // 8 + 1, generator=generator) * 255
    fine = torch.rand(1, 3, height, width, generator=generator) * 60
    return (F.interpolate(coarse, (height, width), mode="bilinear") + fine).clamp(0, 255)


def test_built_in_size_fits_six_megabytes_in_half_precision():
    with torch.device("meta"):
        network = DetailedAvatarNet()
    assert 2 * sum(p.numel() for p in network.parameters()) < 6e6


def test_every_level_ends_in_the_pictures_own_colours(network):
    rgb = picture(40, 48, 1)
    for level, features in enumerate(network.look(rgb)):
        assert features.shape == (1, SMALL.widths[level], 40 >> level, 48 >> level)
        expected = F.avg_pool2d(rgb / 64, 1 << level)
        torch.testing.assert_close(features[:, -3:], expected, rtol=1e-5, atol=1e-5)


def test_encoder_is_nine_reflected_convolutions_with_max_pooling():
    torch.manual_seed(3)
    encoder = ColourEncoder(SMALL).double()
    rgb = picture(32, 32, 2).double()
    x = rgb
    for number, convolution in enumerate(encoder.convolutions):
        if number in (2, 4, 8):
            x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), convolution.weight, convolution.bias).clamp_min(0)
    torch.testing.assert_close(encoder(rgb)[3][:, :-3], x[:, : SMALL.widths[3] - 3])


def test_skips_carry_the_styles_mean_and_covariance(network):
    code = network.encode_style(picture(48, 64, 5))
    content = network.encode(picture(64, 64, 6))
    skips = transfer_skips(content.skips, [(1.0, code)], Decoration(1.0, "biased"), [MATCHES])
    for level, skip in enumerate(skips):
        style = network.look(picture(48, 64, 5))[level][0].detach().double().flatten(1).numpy()
        ours = skip[0, : len(style)].double().flatten(1).numpy()
        np.testing.assert_allclose(ours.mean(1), style.mean(1), atol=1e-2)
        # Directions that vary less than the floor, in either picture, are left as they are or dropped.
        assert np.abs(np.cov(ours) - np.cov(style)).max() < 0.05 * np.abs(np.cov(style)).max()


def test_strength_nought_hands_the_content_through_and_a_half_lies_between(network):
    code = network.encode_style(picture(48, 64, 5))
    content = network.encode(picture(64, 64, 6))
    at = {
        s: transfer_skips(content.skips, [(1.0, code)], Decoration(s, "biased"), [MATCHES]) for s in (0.0, 0.5, 1.0)
    }
    for level in range(3):
        own = content.skips[level]
        own = torch.cat([own, own], 1) if level in network.texture_levels else own
        torch.testing.assert_close(at[0.0][level], own, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(at[0.5][level], (at[0.0][level] + at[1.0][level]) / 2, rtol=1e-4, atol=1e-4)


def test_detail_runs_from_the_styles_pieces_alone_to_the_structure_alone(network):
    code = network.encode_style(picture(48, 64, 5))
    content = network.encode(picture(64, 64, 6))
    at = {
        d: transfer_skips(content.skips, [(1.0, code)], Decoration(1.0, "biased", detail=d), [MATCHES])
        for d in (0.0, 0.5, 1.0)
    }
    for level in range(3):
        C = SMALL.widths[level]
        assert at[0.0][level][:, :C].std((2, 3)).max() < 1e-4
        torch.testing.assert_close(at[0.5][level][:, :C], at[1.0][level][:, :C])
        if level in network.texture_levels:
            pieces = rebuild_finer(code.textures[level], MATCHES, 8 >> level, network.match_step)
            torch.testing.assert_close(at[0.0][level][:, C:], pieces)
            torch.testing.assert_close(at[0.5][level][:, C:], pieces)
            torch.testing.assert_close(at[1.0][level][:, C:], at[1.0][level][:, :C])


def test_two_half_styles_are_one(network):
    code = network.encode_style(picture(48, 64, 5))
    whole = network(picture(64, 64, 6), [(1.0, code)], Decoration(0.7, "biased"))
    halves = network(picture(64, 64, 6), [(0.5, code), (0.5, code)], Decoration(0.7, "biased"))
    torch.testing.assert_close(whole, halves, rtol=0, atol=0.02)


@pytest.mark.parametrize("detail", [0.2, 0.5, 0.8])
@torch.inference_mode()
def test_tiles_do_not_show_nor_whether_the_decoder_joins_its_skips_itself(network, detail):
    code = network.encode_style(picture(48, 64, 5))
    photo = picture(152, 200, 6)
    how = Decoration(0.8, "biased", patch_size=3, detail=detail)
    painted = []
    for tile in (None, 64):
        content = network.encode(photo, tile=tile)
        decorated = decorate(content.z, code, how)
        targets = fusion_targets(content.statistics, [(1.0, code)], how)
        skips = transfer_skips(content.skips, [(1.0, code)], how, [decorated.matches], network.joints)
        painted.append(network.decode(decorated.features, targets, skips, tile=tile))
    torch.testing.assert_close(painted[0], painted[1], rtol=0, atol=0.05)
    raw = transfer_skips(content.skips, [(1.0, code)], how, [decorated.matches])
    rendered = network.render(decorated.features[None], targets, raw).clamp(0, 255)
    torch.testing.assert_close(painted[0], rendered, rtol=0, atol=0.05)


def test_a_fused_convolution_is_a_fusion_and_a_convolution():
    torch.manual_seed(4)
    convolution = torch.nn.Conv2d(5, 6, 3, padding=1, padding_mode="reflect").double()
    features, style = torch.randn(1, 5, 9, 8).double(), 3 * torch.randn(1, 5, 20, 20).double() + 1
    mean, deviation = (of(features, (2, 3), keepdim=True) for of in (torch.mean, torch.std))
    target = style.mean((2, 3), keepdim=True), style.std((2, 3), keepdim=True)
    expected = convolution((features - mean) / deviation * target[1] + target[0])
    ours = convolve_fused(convolution, features, fusion(features, target))
    torch.testing.assert_close(ours, expected, rtol=0.02, atol=0.02)


def test_bands_add_up_to_the_picture_and_take_on_the_styles_colours_each():
    rgb, style = picture(320, 256, 1), picture(240, 320, 2) * 0.6 + 40
    target = band_statistics(style)
    bands = picture_bands(rgb)
    whole = bands[-1]
    for band in reversed(bands[:-1]):
        whole = band + F.interpolate(whole, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(whole, rgb, rtol=0, atol=1e-3)
    changed = impose_bands(rgb, target)
    np.testing.assert_allclose(changed.mean((2, 3)), target[0].flatten(1), atol=0.5)
    for ours, theirs in zip(picture_bands(changed), picture_bands(style), strict=True):
        wanted = np.cov(theirs[0].flatten(1).numpy())
        # Bands are not wholly apart, and what hardly varies is not raised.
        assert np.abs(np.cov(ours[0].flatten(1).numpy()) - wanted).max() < 0.2 * np.abs(wanted).max()


def test_a_picture_keeps_its_own_bands():
    rgb = picture(64, 96, 1)
    torch.testing.assert_close(impose_bands(rgb, band_statistics(rgb)), rgb, rtol=0, atol=3.0)


def test_flat_bands_are_not_blown_up():
    flat = torch.full((1, 3, 32, 32), 90.0) + 0.1 * torch.randn(1, 3, 32, 32)
    changed = impose_bands(flat, band_statistics(picture(64, 96, 1)))
    assert changed.std((2, 3)).max() < 8


def test_training_reaches_every_tensor_of_the_decoder(network):
    rebuilt, _ = network.reconstruct(picture(32, 32, 1))
    rebuilt.mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.decoder.parameters())


def lines(least: float, most: float, every: int, seed: int) -> torch.Tensor:
    """(1, 3, 128, 128) grey: upright lines on noisy paper."""
    torch.manual_seed(seed)
    grey = torch.full((1, 1, 128, 128), most) + torch.randn(1, 1, 128, 128)
    grey[..., ::every] = least
    return grey.expand(1, 3, -1, -1).clone()


def kurtosis(band: torch.Tensor) -> float:
    values = band.mean(1).flatten() - band.mean()
    return float((values**4).mean() / (values**2).mean() ** 2)


def test_faint_strokes_all_over_become_few_and_bold_where_the_style_has_such():
    drawing, faint = lines(30, 220, 24, 0), picture(128, 128, 3)
    target, spread = band_statistics(drawing), band_quantiles(drawing)
    linear, moved = impose_bands(faint, target), impose_bands(faint, target, spread)
    before, after, wanted = (picture_bands(p)[0] for p in (linear, moved, drawing))
    assert kurtosis(wanted) > 8
    assert kurtosis(after) > 1.3 * kurtosis(before)
    assert after.std() == pytest.approx(float(before.std()), rel=0.25)


def test_a_picture_keeps_how_its_own_bands_are_spread():
    rgb = picture(64, 96, 1)
    kept = impose_bands(rgb, band_statistics(rgb), band_quantiles(rgb))
    # Quantiles are tabulated; between them values may move by a little.
    torch.testing.assert_close(kept, impose_bands(rgb, band_statistics(rgb)), rtol=0, atol=1.5)


def test_flat_bands_are_not_spread():
    flat = torch.full((1, 3, 32, 32), 90.0) + 0.1 * torch.randn(1, 3, 32, 32)
    style = picture(64, 96, 1)
    changed = impose_bands(flat, band_statistics(style), band_quantiles(style))
    assert changed.std((2, 3)).max() < 8
    constant = torch.full((1, 3, 32, 32), 90.0)
    assert torch.isfinite(impose_bands(constant, band_statistics(style), band_quantiles(style))).all()


def test_quantiles_are_those_of_the_bands():
    rgb = picture(64, 96, 5)
    median, about = band_quantiles(rgb)
    light = picture_bands(rgb)[1][0].sum(0).flatten().numpy() / np.sqrt(3)
    expected = np.quantile(light, np.linspace(0.002, 0.998, about.shape[-1]), method="nearest")
    np.testing.assert_allclose((median + about)[0, 1, 0].numpy(), expected, atol=0.5)
