"""The swap against a reference that walks over every patch in float64."""

import numpy as np
import pytest
import torch

from muybridge.models.avatar_net import patch_swap
from muybridge.models.avatar_net.patch_swap import (
    MatchBonus,
    match_patches,
    overlap_weights,
    patch_norms,
    rebuild_finer,
    rebuild_from_matches,
)


def naive_scores(content: np.ndarray, style: np.ndarray, k: int) -> np.ndarray:
    """(H, W, h * w) scores of the published definition, one patch pair at a time."""
    r = k // 2
    padded_content = np.pad(content, ((0, 0), (r, r), (r, r)), mode="reflect")
    padded_style = np.pad(style, ((0, 0), (r, r), (r, r)))
    (_, H, W), (_, h, w) = content.shape, style.shape
    scores = np.empty((H, W, h * w))
    for v in range(h):
        for u in range(w):
            patch = padded_style[:, v : v + k, u : u + k]
            patch = patch / (np.sqrt((patch**2).sum()) + 1e-7)
            for y in range(H):
                for x in range(W):
                    scores[y, x, v * w + u] = (padded_content[:, y : y + k, x : x + k] * patch).sum()
    return scores


def naive_rebuild(style: np.ndarray, matches: np.ndarray, k: int) -> np.ndarray:
    """Paste whole patches one after another into a padded canvas, count them, divide, cut the padding off."""
    r = k // 2
    (C, _, w), (H, W) = style.shape, matches.shape
    padded_style = np.pad(style, ((0, 0), (r, r), (r, r)))
    canvas, count = np.zeros((C, H + 2 * r, W + 2 * r)), np.zeros((H + 2 * r, W + 2 * r))
    for y in range(H):
        for x in range(W):
            v, u = divmod(int(matches[y, x]), w)
            canvas[:, y : y + k, x : x + k] += padded_style[:, v : v + k, u : u + k]
            count[y : y + k, x : x + k] += 1
    return (canvas / count)[:, r : r + H, r : r + W]


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("size", "style_size"), [((7, 9), (6, 5)), ((3, 12), (11, 4)), ((8, 3), (3, 3))])
@pytest.mark.parametrize("block_bytes", [1, 1 << 12, 1 << 30])
def test_matches_are_the_naive_arg_max(k, size, style_size, block_bytes, monkeypatch):
    monkeypatch.setattr(patch_swap, "_BLOCK_BYTES_CPU", block_bytes)
    random = np.random.default_rng([k, *size, *style_size])
    content, style = random.standard_normal((4, *size)), random.standard_normal((4, *style_size))
    scores = naive_scores(content, style, k)
    matches = match_patches(torch.from_numpy(content).float(), torch.from_numpy(style).float(), patch_size=k).numpy()
    chosen = np.take_along_axis(scores, matches[..., None], 2)[..., 0]
    # Where the two differ, the two patches must be a tie.
    assert (scores.max(2) - chosen <= 1e-6 * np.abs(scores).max()).all()
    assert (matches == scores.argmax(2)).mean() > 0.95


@pytest.mark.parametrize("k", [1, 3, 5])
def test_rebuild_is_the_naive_paste(k):
    random = np.random.default_rng(k)
    style, matches = random.standard_normal((3, 6, 7)), random.integers(0, 42, (5, 8))
    ours = rebuild_from_matches(torch.from_numpy(style), torch.from_numpy(matches), patch_size=k)
    np.testing.assert_allclose(ours.numpy(), naive_rebuild(style, matches, k), atol=1e-12)


def test_hann_window_fades_every_patch_towards_its_border():
    random = np.random.default_rng(8)
    style, matches, k = random.standard_normal((3, 6, 7)), random.integers(0, 42, (5, 8)), 5
    weights = np.hanning(k + 2)[1:-1]
    padded = np.pad(style, ((0, 0), (2, 2), (2, 2)))
    total, weight = np.zeros((3, 9, 12)), np.zeros((9, 12))
    for y in range(5):
        for x in range(8):
            v, u = divmod(matches[y, x], 7)
            window = np.outer(weights, weights)
            total[:, y : y + k, x : x + k] += window * padded[:, v : v + k, u : u + k]
            weight[y : y + k, x : x + k] += window
    expected = (total / np.maximum(weight, 1e-300))[:, 2:-2, 2:-2]
    ours = rebuild_from_matches(torch.from_numpy(style), torch.from_numpy(matches), patch_size=k, window="hann")
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("size", "style_size"), [((7, 10), (6, 9)), ((8, 9), (7, 6))])
@pytest.mark.parametrize("block_bytes", [1, 1 << 30])
def test_matching_every_second_location_is_the_arg_max_among_such_and_goes_on(
    k, size, style_size, block_bytes, monkeypatch
):
    monkeypatch.setattr(patch_swap, "_BLOCK_BYTES_CPU", block_bytes)
    random = np.random.default_rng([k, *size])
    content, style = random.standard_normal((4, *size)), random.standard_normal((4, *style_size))
    h, w = style_size
    among = np.full((h, w), -np.inf)
    among[::2, ::2] = 0
    best = (naive_scores(content, style, k) + among.flatten()).argmax(2)
    second = match_patches(torch.from_numpy(content), torch.from_numpy(style), patch_size=k, step=2)
    for y in range(size[0]):
        for x in range(size[1]):
            v, u = divmod(int(best[y // 2 * 2, x // 2 * 2]), w)
            assert second[y, x] == min(v + y % 2, h - 1) * w + min(u + x % 2, w - 1)


def test_a_bonus_holds_for_the_nearest_location_that_is_matched():
    torch.manual_seed(2)
    favoured = torch.randint(0, 5 * 7, (6, 8))
    bonus = MatchBonus(favoured, torch.full((6, 8), 3.0))
    matches = match_patches(torch.randn(4, 6, 8), torch.randn(4, 5, 7), bonus=bonus, step=2)
    corner = favoured[::2, ::2]
    assert torch.equal(matches[::2, ::2], corner // 7 // 2 * 2 * 7 + corner % 7 // 2 * 2)


@pytest.mark.parametrize("block_bytes", [1, 1 << 30])
def test_coherence_favours_what_goes_on_from_the_row_above(block_bytes, monkeypatch):
    monkeypatch.setattr(patch_swap, "_BLOCK_BYTES_CPU", block_bytes)
    random = np.random.default_rng(5)
    (H, W), (h, w), amount = (9, 6), (7, 8), 0.2
    content, style = random.standard_normal((2, 4, 9, 8))
    content, style = content[:, :H, :W], style[:, :h, :w]
    scores = naive_scores(content, style, 3).reshape(H, W, h, w)
    padded = np.pad(content, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    expected = np.zeros((H, W), int)
    for y in range(H):
        for x in range(W):
            of_one = scores[y, x] / np.linalg.norm(padded[:, y : y + 3, x : x + 3])
            for aside in (-1, 0, 1):
                if y > 0 and 0 <= x + aside < W:
                    v, u = divmod(expected[y - 1, x + aside], w)
                    if v + 1 < h and 0 <= u - aside < w:
                        of_one[v + 1, u - aside] += amount
            expected[y, x] = of_one.argmax()
    matches = match_patches(torch.from_numpy(content), torch.from_numpy(style), patch_size=3, coherence=amount)
    np.testing.assert_array_equal(matches.numpy(), expected)


def test_a_flat_content_is_given_a_whole_piece_of_the_style_not_one_location_again_and_again():
    torch.manual_seed(1)
    style = 1 + 0.05 * torch.randn(4, 16, 16)
    matches = match_patches(torch.ones(4, 12, 12), style, coherence=0.15)
    assert len(matches.unique()) > 10
    assert len(match_patches(torch.ones(4, 12, 12), style).unique()) == 1


@pytest.mark.parametrize(("factor", "step"), [(2, 1), (4, 1), (2, 2), (4, 2)])
def test_finer_rebuild_is_a_weighted_paste_of_squares(factor, step):
    random = np.random.default_rng([factor, step])
    h, w, H, W, C = 6, 8, 4, 7, 3
    style = random.standard_normal((C, h * factor, w * factor))
    matches = random.integers(0, h, (H, W)) // step * step * w + random.integers(0, w, (H, W)) // step * step
    side = factor * step
    window = np.sin(np.pi * (np.arange(2 * side) + 0.5) / (2 * side)) ** 2
    rows, columns = -(-H // step), -(-W // step)
    total = np.zeros((C, (rows + 1) * side, (columns + 1) * side))
    edged = np.pad(style, ((0, 0), (side, 2 * side), (side, 2 * side)), mode="edge")
    for y in range(-1, rows + 1):
        for x in range(-1, columns + 1):
            # Beyond the edge the outermost match goes on.
            within_y, within_x = min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)
            v, u = divmod(int(matches[within_y * step, within_x * step]), w)
            top, left = v * factor + (y - within_y) * side, u * factor + (x - within_x) * side
            for i in range(2 * side):
                for j in range(2 * side):
                    to_y, to_x = y * side + i, x * side + j
                    if 0 <= to_y < total.shape[1] and 0 <= to_x < total.shape[2]:
                        value = edged[:, top - side // 2 + i + side, left - side // 2 + j + side]
                        total[:, to_y, to_x] += window[i] * window[j] * value
    half = side // 2
    expected = total[:, half : half + H * factor, half : half + W * factor]
    ours = rebuild_finer(torch.from_numpy(style), torch.from_numpy(matches), factor, step)
    np.testing.assert_allclose(ours[0].numpy(), expected, atol=1e-12)


def test_rebuild_of_a_map_smaller_than_the_patch():
    style, matches = torch.randn(2, 6, 7, dtype=torch.float64), torch.tensor([[3, 41]])
    expected = naive_rebuild(style.numpy(), matches.numpy(), 5)
    np.testing.assert_allclose(rebuild_from_matches(style, matches, patch_size=5).numpy(), expected, atol=1e-12)


def test_overlap_weights_fall_towards_the_border():
    counts = overlap_weights(6, 4, 5)
    assert counts[0, 0] == 9 and counts[2, 1] == 5 * 4 and counts[3, 3] == 5 * 3
    for y in range(6):
        for x in range(4):
            covering = sum(abs(y - v) <= 2 and abs(x - u) <= 2 for v in range(6) for u in range(4))
            assert counts[y, x] == covering


def test_identical_maps_match_themselves():
    features = torch.randn(8, 9, 11)
    # Away from the border, where content is reflected and style zero padded.
    own = torch.arange(99).view(9, 11)[2:-2, 2:-2]
    assert torch.equal(match_patches(features, features, patch_size=5)[2:-2, 2:-2], own)


def test_scale_of_the_content_changes_nothing():
    content, style = torch.randn(4, 6, 6), torch.randn(4, 5, 5)
    assert torch.equal(match_patches(content * 37, style), match_patches(content, style))


def test_patch_norms_are_norms():
    features = torch.randn(3, 5, 6, dtype=torch.float64)
    padded = torch.nn.functional.pad(features, (2, 2, 2, 2))
    expected = [[padded[:, y : y + 5, x : x + 5].norm().item() for x in range(6)] for y in range(5)]
    np.testing.assert_allclose(patch_norms(features, 5).numpy(), expected, rtol=1e-12)


def test_a_bonus_larger_than_any_cosine_decides():
    content, style = torch.randn(4, 6, 7), torch.randn(4, 5, 5)
    favoured = torch.randint(0, 25, (6, 7))
    bonus = MatchBonus(favoured, torch.full((6, 7), 3.0))
    assert torch.equal(match_patches(content, style, bonus=bonus), favoured)


def test_a_bonus_of_zero_changes_nothing():
    content, style = torch.randn(4, 6, 7), torch.randn(4, 5, 5)
    bonus = MatchBonus(torch.randint(0, 25, (6, 7)), torch.zeros(6, 7))
    assert torch.equal(match_patches(content, style, bonus=bonus), match_patches(content, style))


@pytest.mark.parametrize("k", [0, 2, -1])
def test_even_or_empty_patches_are_refused(k):
    with pytest.raises(ValueError, match="odd"):
        match_patches(torch.randn(1, 4, 4), torch.randn(1, 4, 4), patch_size=k)
