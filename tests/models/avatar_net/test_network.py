"""Avatar-Net against float64 references, torchvision's VGG-19 and the paper's numbers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from muybridge.models.avatar_net.network import (
    AvatarNet,
    AvatarNetConfig,
    Decoration,
    StyleCode,
    channel_statistics,
    decorate,
    encode_style,
    fit_whitening,
    fusion_targets,
    impose_statistics,
)

SMALL = AvatarNetConfig(widths=(6, 8, 10, 12))


@pytest.fixture
def network() -> AvatarNet:
    torch.manual_seed(0)
    network = AvatarNet(SMALL).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    return network


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 8 + 1, width // 8 + 1, generator=generator) * 255
    fine = torch.rand(1, 3, height, width, generator=generator) * 60
    return (F.interpolate(coarse, (height, width), mode="bilinear") + fine).clamp(0, 255)


def test_parameter_counts_of_the_published_network():
    with torch.device("meta"):
        network = AvatarNet()
    # The decoder's 3.55 M; the encoder is VGG-19 up to relu4_1.
    assert sum(p.numel() for p in network.decoder.parameters()) == 3_549_827
    assert sum(p.numel() for p in network.encoder.parameters()) == 3_505_728


def test_encoder_is_torchvisions_vgg19_with_average_pooling():
    from torchvision.models import vgg19

    torch.manual_seed(0)
    theirs = vgg19(weights=None).features
    for i, layer in enumerate(theirs):
        if isinstance(layer, nn.MaxPool2d):
            theirs[i] = nn.AvgPool2d(2)
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    network = AvatarNet()
    network.encoder.load_torchvision(theirs)
    rgb = picture(40, 48)
    x = (rgb / 255 - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        1, 3, 1, 1
    )
    expected = []
    for i, layer in enumerate(theirs):
        x = layer(x)
        if i in (1, 6, 11, 20):  # relu1_1, relu2_1, relu3_1, relu4_1
            expected.append(x)
        if i == 20:
            break
    for ours, reference in zip(network.encoder(rgb), expected, strict=True):
        ours, reference = ours.detach(), reference.detach()
        assert ours.shape == reference.shape
        torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-5 * float(reference.abs().max()) + 1e-6)


def test_zca_whitening_gives_identity_on_the_kept_directions():
    torch.manual_seed(1)
    basis = torch.randn(12, 7, dtype=torch.float64)  # rank 7: five directions must be dropped
    features = (basis @ torch.randn(7, 90, dtype=torch.float64)).view(12, 9, 10) + 3
    whitening = fit_whitening(features)
    white = whitening.forward(features).flatten(1)
    covariance = white @ white.T / 90
    values = torch.linalg.eigvalsh(covariance)
    assert torch.allclose(values, torch.tensor([0.0] * 5 + [1.0] * 7, dtype=torch.float64), atol=1e-9)
    assert white.mean(1).abs().max() < 1e-9
    torch.testing.assert_close(whitening.inverse(whitening.forward(features)), features)
    assert torch.allclose(whitening.whiten, whitening.whiten.T)


def test_adain_whitening_standardises_each_channel():
    features = torch.randn(5, 8, 8, dtype=torch.float64) * torch.arange(1.0, 6)[:, None, None] + 2
    features[3] = 7.0  # a channel that never changes carries nothing
    white = fit_whitening(features, "adain").forward(features)
    deviations = white.flatten(1).std(1, correction=0)
    torch.testing.assert_close(deviations, torch.tensor([1, 1, 1, 0, 1], dtype=torch.float64))


def test_statistics_are_of_the_population():
    features = torch.randn(2, 3, 4, 5)
    mean, deviation = channel_statistics(features)
    reference = features.numpy().astype(np.float64)
    np.testing.assert_allclose(mean[..., 0, 0], reference.mean((2, 3)), atol=1e-6)
    np.testing.assert_allclose(deviation[..., 0, 0], reference.std((2, 3)), atol=1e-6)


def test_fusions_have_the_authors_epsilons_at_channels_that_hardly_change():
    """1e-10 beside the content's variance, nothing beside the style's; 1e-7 in the decorator's per-channel form."""
    random = np.random.default_rng(0)
    content = (3 + random.standard_normal((1, 4, 6, 7)) * np.array([1, 1e-3, 2e-5, 0])[:, None, None]).astype(
        np.float32
    )
    style = (5 + random.standard_normal((1, 4, 5, 4)) * np.array([2, 1e-3, 1e-2, 0])[:, None, None]).astype(
        np.float32
    )
    x, s = content.astype(np.float64), style.astype(np.float64)
    x_mean, x_variance = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
    expected = (x - x_mean) / np.sqrt(x_variance + 1e-10) * s.std((2, 3), keepdims=True) + s.mean(
        (2, 3), keepdims=True
    )
    found = impose_statistics(torch.from_numpy(content), channel_statistics(torch.from_numpy(style), 0.0))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-4)
    whitening = fit_whitening(torch.from_numpy(x[0]), "adain")
    np.testing.assert_allclose(
        whitening.forward(torch.from_numpy(x[0])),
        ((x - x_mean) / np.sqrt(x_variance + 1e-7))[0],
        rtol=1e-9,
        atol=1e-12,
    )
    np.testing.assert_allclose(whitening.colour.diagonal(), x.std((2, 3))[0], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("value", [0.0, 0.1, 123.4567])
def test_a_channel_that_never_changes_stays_so(value):
    """Its mean's last digit, divided by a deviation of nothing, would be noise."""
    features = torch.full((1, 1, 37, 53), value)
    imposed = impose_statistics(features, (torch.tensor(7.0), torch.tensor(40.0)))
    assert torch.equal(imposed, torch.full_like(imposed, 7.0))


def test_imposed_statistics_are_the_targets():
    features, style = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 9, 9) * 4 + 2
    target = channel_statistics(style)
    mean, deviation = channel_statistics(impose_statistics(features, target))
    torch.testing.assert_close(mean, target[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(deviation, target[1], atol=1e-3, rtol=1e-3)


def naive_decorate(z: np.ndarray, s: np.ndarray, k: int, strength: float, interpolation: str) -> np.ndarray:
    """Section 3.2 in float64, one patch at a time."""
    from tests.models.avatar_net.test_patch_swap import naive_rebuild, naive_scores

    def parts(features):
        flat = features.reshape(len(features), -1)
        mean = flat.mean(1, keepdims=True)
        values, vectors = np.linalg.eigh((flat - mean) @ (flat - mean).T / flat.shape[1])
        kept = values > 1e-5
        values, vectors = values[kept], vectors[:, kept]
        white = vectors @ np.diag(values**-0.5) @ vectors.T @ (flat - mean)
        return white.reshape(features.shape), mean, vectors @ np.diag(values**0.5) @ vectors.T

    white_z, _, _ = parts(z)
    white_s, mean, colour = parts(s)
    swapped = naive_rebuild(white_s, naive_scores(white_z, white_s, k).argmax(2), k)
    blend = strength * swapped + (1 - strength) * white_z if interpolation == "normalized" else swapped
    coloured = (colour @ blend.reshape(len(z), -1) + mean).reshape(z.shape)
    return coloured if interpolation == "normalized" else strength * coloured + (1 - strength) * z


@pytest.mark.parametrize("interpolation", ["normalized", "biased"])
@pytest.mark.parametrize("strength", [0.0, 0.8, 1.0])
def test_decorator_is_the_published_one(interpolation, strength):
    torch.manual_seed(3)
    z, s = torch.randn(6, 7, 8, dtype=torch.float64).relu(), torch.randn(6, 6, 9, dtype=torch.float64).relu() * 2 + 1
    code = encode_style([s[None]] * 4)
    # In float32, as encode_style makes it; ties apart, the arg max is the same.
    ours = decorate(z.float(), code, Decoration(strength, interpolation, 3)).features
    expected = naive_decorate(z.numpy(), s.numpy(), 3, strength, interpolation)
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-4)


def test_biased_strength_zero_is_the_content_and_normalized_is_not():
    z, s = torch.randn(6, 7, 8), torch.randn(6, 6, 9) * 3
    code = encode_style([s[None]] * 4)
    assert torch.equal(decorate(z, code, Decoration(0.0, "biased")).features, z)
    wct = decorate(z, code, Decoration(0.0, "normalized")).features
    assert not torch.allclose(wct, z, atol=0.1)
    torch.testing.assert_close(wct.flatten(1).mean(1), s.flatten(1).mean(1), atol=1e-4, rtol=1e-3)


def test_fusion_targets_move_from_content_to_style():
    content = [channel_statistics(torch.randn(1, 3, 8, 8)) for _ in range(3)]
    statistics = tuple(channel_statistics(torch.randn(1, 3, 8, 8) * 5) for _ in range(3))
    code = StyleCode(torch.zeros(1), torch.zeros(1), torch.zeros(1), statistics)
    nothing = fusion_targets(content, [(1.0, code)], Decoration(0.0, "biased"))
    for (mean, deviation), own in zip(nothing, reversed(content), strict=True):
        torch.testing.assert_close(mean, own[0])
        torch.testing.assert_close(deviation, own[1])
    for targets in (
        fusion_targets(content, [(1.0, code)], Decoration(1.0, "biased")),
        fusion_targets(content, [(0.25, code), (0.75, code)], Decoration(0.3, "normalized")),
    ):
        for target, of_style in zip(targets, statistics, strict=True):
            torch.testing.assert_close(target[0], of_style[0])


def test_batch_equals_loop(network):
    pictures = torch.cat([picture(40, 48, seed) for seed in range(3)])
    styles = [
        (0.3, encode_style(network.encoder(picture(32, 40, 8)))),
        (0.7, encode_style(network.encoder(picture(48, 32, 9)))),
    ]
    together = network(pictures, styles)
    alone = torch.cat([network(p[None], styles) for p in pictures])
    torch.testing.assert_close(together, alone)
    assert together.shape == pictures.shape


@pytest.mark.parametrize("interpolation", ["normalized", "biased"])
def test_tiles_change_nothing(network, interpolation):
    rgb = picture(168, 200)
    how = Decoration(0.7, interpolation)
    styles = [(1.0, encode_style(network.encoder(picture(64, 64, 5))))]
    whole, tiled = network.encode(rgb), network.encode(rgb, tile=64)
    torch.testing.assert_close(tiled.z, whole.z, atol=1e-3, rtol=1e-4)
    decorated = decorate(whole.z, styles[0][1], how).features
    a = network.decode(decorated, fusion_targets(whole.statistics, styles, how))
    b = network.decode(decorated, fusion_targets(tiled.statistics, styles, how), tile=64)
    assert a.std() > 5  # not a flat picture, which any tiling would get right
    assert (a - b).abs().max() < 1.0


def test_flat_pictures_make_no_nan(network):
    flat = torch.full((1, 3, 64, 64), 120.0)
    for content, style in ((picture(64, 64), flat), (flat, picture(64, 64)), (flat, flat)):
        for projection in ("zca", "adain"):
            painted = network(content, [(1.0, encode_style(network.encoder(style), projection))])
            assert torch.isfinite(painted).all()


def test_decoder_without_fusion_differs(network):
    z = network.encode(picture(64, 64)).z[None]
    own = [channel_statistics(level) for level in network.encoder(picture(64, 64, 3))[2::-1]]
    assert not torch.allclose(network.decoder(z, None), network.decoder(z, own), atol=1.0)
