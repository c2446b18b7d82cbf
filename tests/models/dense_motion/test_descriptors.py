"""Descriptors of motion: against SciPy and loops, and against what a pan, a mirror or a turn must do to them."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from muybridge.models.dense_motion.descriptors import (
    HISTOGRAMS,
    LENGTH,
    SIZES,
    MotionConfig,
    affine_maps,
    blocks_that_move,
    cell_histograms,
    mirrored,
)

# Sides of 12 n + 7 pixels lose nothing to these cells, and the same places are looked at in the mirror.
CELL = 4
CONFIG = MotionConfig(cell=CELL)
ONCE = torch.ones(1)


def shares(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """How much of each vector each of eight directions has, one pixel after the other."""
    found = np.zeros((8, *x.shape))
    for place in np.ndindex(x.shape):
        angle, length = math.atan2(y[place], x[place]), math.hypot(x[place], y[place])
        for k in range(8):
            near = math.cos(angle - k * math.pi / 4)
            found[k][place] = length * max(0.0, near - math.sqrt(0.5)) / (1 - math.sqrt(0.5))
    return list(found)


def gradients(picture: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return ndimage.sobel(picture, axis=1, mode="nearest") / 8, ndimage.sobel(picture, axis=0, mode="nearest") / 8


def flow_of_maps(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(P, 2, height, width): where affine maps (P, 3, 2) take each pixel."""
    down, across = torch.linspace(-0.5, 0.5, height), torch.linspace(-0.5, 0.5, width)
    y, x = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([m[0] + m[1] * x[..., None] + m[2] * y[..., None] for m in maps]).permute(0, 3, 1, 2)


def affine_part(flow: torch.Tensor) -> torch.Tensor:
    return flow_of_maps(affine_maps(flow), *flow.shape[-2:])


def naive_cells(grey: NDArray, flow: NDArray, config: MotionConfig, faster: float) -> NDArray[np.float64]:
    """Of one pair, from flow out of which the camera's part was taken."""
    grey, flow = grey.astype(np.float64), flow.astype(np.float64)
    distance = np.hypot(flow[0], flow[1]) / faster
    is_moving = distance >= config.still
    # Five taps of a Gaussian of deviation 1.
    u, v = (ndimage.gaussian_filter(part, 1.0, mode="nearest", truncate=2.0) for part in flow)
    channels = [
        *shares(*gradients(grey)),
        *shares(u * is_moving, v * is_moving),
        1.0 - is_moving,
        *shares(*gradients(u)),
        *shares(*gradients(v)),
        distance,
    ]
    rows, columns = (-(-side // 2) * 2 // config.cell for side in grey.shape)
    cells = np.zeros((len(channels), rows, columns))
    for channel, row, column in np.ndindex(cells.shape):
        down, across = row * config.cell, column * config.cell
        of_cell = channels[channel][down : down + config.cell : 2, across : across + config.cell : 2]
        cells[channel, row, column] = of_cell.mean()  # of every other pixel
    return cells


def noise(seed: int, height: int, width: int, pairs: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey pictures and smooth flow of up to some pixels."""
    random = np.random.default_rng(seed)
    grey = random.integers(0, 256, (pairs, height, width)).astype(np.float32)
    flow = ndimage.gaussian_filter(random.normal(size=(pairs, 2, height, width)), (0, 0, 3, 3)) * 15
    return torch.from_numpy(grey), torch.from_numpy(flow.astype(np.float32))


@pytest.mark.parametrize(("height", "width"), [(31, 43), (20, 20), (24, 37)])
def test_cells_are_what_loops_find(height: int, width: int) -> None:
    grey, flow = noise(1, height, width, pairs=2)
    faster = torch.tensor([1.0, 2.0])
    config = MotionConfig(cell=10)
    rest = (flow - affine_part(flow)).numpy()
    cells = cell_histograms(grey, flow, config, faster=faster)
    assert cells.shape == (2, sum(HISTOGRAMS.values()) + 1, height // 10, width // 10)
    assert cells.dtype == torch.float32
    for pair in range(2):
        wanted = naive_cells(grey[pair].numpy(), rest[pair], config, float(faster[pair]))
        np.testing.assert_allclose(cells[pair], wanted, rtol=1e-3, atol=1e-3)
    assert 0.02 < cells[:, 16].mean() < 0.9  # some of it stands still, some does not


@pytest.mark.parametrize(
    ("across", "down", "k"), [(1, 0, 0), (3, 3, 1), (0, 7, 2), (-5, 5, 3), (-9, 0, 4), (11, -11, 7)]
)
def test_what_points_exactly_one_way_points_no_other_way(across: int, down: int, k: int) -> None:
    """Its neighbours end there, and the root of what rounding would leave them is not small."""
    y, x = np.mgrid[:40, :40]
    grey = torch.from_numpy((across * x + down * y).astype(np.float32))[None]
    hog = cell_histograms(grey, torch.zeros(1, 2, 40, 40), MotionConfig(), faster=ONCE)[0, :8, 1:-1, 1:-1]
    torch.testing.assert_close(hog[k], torch.full((2, 2), math.hypot(across, down)))
    assert not torch.cat([hog[:k], hog[k + 1 :]]).any()


def test_pictures_of_bytes_are_as_those_of_numbers() -> None:
    grey, flow = noise(8, 43, 57, pairs=11)
    faster = torch.linspace(0.8, 2, 11)
    cells = cell_histograms(grey.byte(), flow, CONFIG, faster=faster)
    torch.testing.assert_close(cells, cell_histograms(grey, flow, CONFIG, faster=faster), rtol=1e-5, atol=1e-5)
    for place in range(11):  # of each pair alone, to the last bit
        one = slice(place, place + 1)
        alone = cell_histograms(grey[one].byte(), flow[one], CONFIG, faster=faster[one])
        assert torch.equal(alone[0], cells[place])


def test_a_camera_that_is_known_from_elsewhere_is_taken_out() -> None:
    grey, flow = noise(9, 30, 44, pairs=2)
    maps = torch.tensor([[[3.0, -1.0], [0.5, 0.25], [-2.0, 1.0]], [[0.0, 2.0], [-4.0, 0.0], [0.0, 4.0]]])
    of_camera = flow_of_maps(maps, 30, 44)
    still = torch.zeros(2, 3, 2)
    wanted = cell_histograms(grey, flow, CONFIG, faster=torch.ones(2), camera_P32=still)
    found = cell_histograms(grey, flow + of_camera, CONFIG, faster=torch.ones(2), camera_P32=maps)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    assert (cell_histograms(grey, flow, CONFIG, faster=torch.ones(2)) - wanted).abs().max() > 0.01


def camera(kind: str, height: int, width: int) -> torch.Tensor:
    """The flow (1, 2, H, W) of a camera that pans, zooms or rolls, about a point off the centre."""
    y, x = torch.meshgrid(torch.arange(height) - 20.0, torch.arange(width) - 31.0, indexing="ij")
    flows = {
        "pan": (torch.full_like(x, 5.0), torch.full_like(y, -2.5)),
        "zoom": (0.06 * x, 0.06 * y),
        "roll": (math.cos(0.08) * x - math.sin(0.08) * y - x, math.sin(0.08) * x + math.cos(0.08) * y - y),
    }
    return torch.stack(flows[kind])[None]


@pytest.mark.parametrize("kind", ["pan", "zoom", "roll"])
def test_what_a_camera_does_is_taken_out(kind: str) -> None:
    flow = camera(kind, 120, 161)
    assert flow.abs().max() > 4
    torch.testing.assert_close(affine_part(flow), flow, rtol=0, atol=1e-3)
    cells = cell_histograms(torch.zeros(1, 120, 161), flow, MotionConfig(), faster=ONCE)
    torch.testing.assert_close(cells[:, 16], torch.ones_like(cells[:, 16]))  # all stands still
    assert cells[:, -1].max() < 1e-2


# Rows and columns: a third in the middle, and a fifth at the side.
@pytest.mark.parametrize("where", [(slice(25, 95), slice(35, 126)), (slice(20, 120), slice(20, 60))])
@pytest.mark.parametrize("speed", [1.0, 7.0])
@pytest.mark.parametrize("kind", ["pan", "zoom", "roll"])
def test_and_still_with_a_third_of_the_picture_moving_otherwise(
    kind: str, speed: float, where: tuple[slice, slice]
) -> None:
    flow, inside = camera(kind, 120, 160), torch.zeros(120, 160, dtype=torch.bool)
    inside[where] = True
    own = torch.tensor([0.8, 0.6])[:, None] * speed
    flow[0][:, inside] += own
    rest = (flow - affine_part(flow))[0]
    assert rest[:, ~inside].norm(dim=0).max() < 0.05
    torch.testing.assert_close(rest[:, inside], own.expand(2, int(inside.sum())), rtol=0, atol=0.05)


def test_of_several_pairs_each_has_its_own_camera() -> None:
    flows = torch.cat([camera(kind, 60, 80) for kind in ("pan", "zoom", "roll")])
    torch.testing.assert_close(affine_part(flows), flows, rtol=0, atol=1e-3)


def walker(angle: float, speed: float, faster: float = 1.0) -> torch.Tensor:
    """Cells (C + 1, h, w) of a square in the middle of a still picture that goes one way."""
    flow = torch.zeros(1, 2, 100, 100)
    way = torch.tensor([math.cos(angle), math.sin(angle)]) * speed
    flow[:, :, 40:60, 40:60] = way.view(1, 2, 1, 1)
    return cell_histograms(torch.zeros(1, 100, 100), flow, MotionConfig(), faster=torch.tensor([faster]))[0]


@pytest.mark.parametrize("k", range(8))
def test_each_direction_has_its_bin(k: int) -> None:
    inner = walker(k * math.pi / 4, 4.0)[8:17, 4:6, 4:6].mean(dim=(1, 2))
    assert inner[k] > 3.0  # smoothed at its rim
    others = torch.cat([inner[:k], inner[k + 1 :]])
    assert others.max() < 1e-2
    between = walker((k + 0.5) * math.pi / 4, 4.0)[8:16, 4:6, 4:6].mean(dim=(1, 2))
    torch.testing.assert_close(between[k], between[(k + 1) % 8], rtol=0.01, atol=0)
    assert between[k] > 1


def test_frames_further_apart_have_moved_further_for_the_same_speed() -> None:
    near, far = walker(0.0, 3.0), walker(0.0, 6.0, faster=2.0)
    torch.testing.assert_close(far[-1], near[-1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(far[16], near[16])
    # 0.5 pixels are a movement at the rate, and none in twice the time.
    assert walker(0.0, 0.5)[16, 4:6, 4:6].max() == 0
    assert walker(0.0, 0.5, faster=2.0)[16, 4:6, 4:6].min() == 1


def permuted(cells: torch.Tensor, of: dict[str, tuple[str, list[int]]]) -> torch.Tensor:
    """Channels (1, C + 1, ...) as a mirror or a turn names them anew: from which histogram, and where each goes."""
    start, parts = 0, {}
    for name, size in HISTOGRAMS.items():
        parts[name] = cells[:, start : start + size]
        start += size
    found = []
    for name in HISTOGRAMS:
        origin, order = of[name]
        moved = torch.empty_like(parts[origin][:, :8])
        moved[:, order] = parts[origin][:, :8]
        found += [moved, parts[origin][:, 8:]]
    return torch.cat([*found, cells[:, start:]], dim=1)


def test_in_the_mirror_left_is_right() -> None:
    grey, flow = noise(2, 43, 91)
    cells = cell_histograms(grey, flow, CONFIG, faster=ONCE)
    turned = cell_histograms(
        grey.flip(-1), flow.flip(-1) * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1), CONFIG, faster=ONCE
    )
    sideways, upside = [(4 - k) % 8 for k in range(8)], [-k % 8 for k in range(8)]
    wanted = permuted(
        cells,
        {
            "hog": ("hog", sideways),
            "hof": ("hof", sideways),
            "mbh_x": ("mbh_x", upside),
            "mbh_y": ("mbh_y", sideways),
        },
    )
    torch.testing.assert_close(turned.flip(-1), wanted, rtol=1e-3, atol=1e-3)
    assert (turned.flip(-1) - cells).abs().max() > 0.1
    # Descriptors of all blocks, of which those on the left are on the right there.
    every = MotionConfig(cell=CELL, moves=-1.0, most_blocks=10_000)
    there = blocks_that_move(turned.expand(15, -1, -1, -1), every)
    here = blocks_that_move(cells.expand(15, -1, -1, -1), every)
    down, across = cells.shape[2] - 1, cells.shape[3] - 1
    there = there.view(1, down, across, LENGTH).flip(2).flatten(0, 2)
    torch.testing.assert_close(mirrored(here), there, rtol=1e-2, atol=2e-2)
    torch.testing.assert_close(mirrored(mirrored(here)), here, rtol=0, atol=0)
    assert (here - there).abs().max() > 0.1


def test_turned_by_a_quarter_all_directions_turn() -> None:
    grey, flow = noise(3, 43, 91)
    cells = cell_histograms(grey, flow, CONFIG, faster=ONCE)
    # Clockwise: what went right goes down, what went down goes left.
    around = torch.stack([-flow[:, 1], flow[:, 0]], dim=1).rot90(-1, (-2, -1))
    turned = cell_histograms(grey.rot90(-1, (-2, -1)), around, CONFIG, faster=ONCE).rot90(1, (-2, -1))
    quarter, three = [(k + 2) % 8 for k in range(8)], [(k + 6) % 8 for k in range(8)]
    wanted = permuted(
        cells,
        {"hog": ("hog", quarter), "hof": ("hof", quarter), "mbh_x": ("mbh_y", three), "mbh_y": ("mbh_x", quarter)},
    )
    torch.testing.assert_close(turned, wanted, rtol=1e-3, atol=1e-3)


def naive_blocks(cells: NDArray, config: MotionConfig) -> list[tuple[float, NDArray[np.float64]]]:
    """How much each block moves, and its descriptor."""
    steps = [
        cells[first : first + config.step].astype(np.float64).mean(axis=0)
        for first in range(0, len(cells) - config.step + 1, config.step)
    ]
    rows, columns = cells.shape[2:]
    found = []
    for t, y, x in product(range(len(steps) - 2), range(rows - 1), range(columns - 1)):
        block = np.stack([steps[t + a][:, y : y + 2, x : x + 2] for a in range(3)], axis=1)  # (C + 1, 3, 2, 2)
        parts, start = [], 0
        for size in HISTOGRAMS.values():
            histogram = block[start : start + size].reshape(-1)
            parts.append(np.sqrt(histogram / (histogram.sum() + 1e-6)))
            start += size
        found.append((block[-1].mean(), np.concatenate(parts)))
    return found


def some_cells(seed: int, pairs: int, rows: int, columns: int) -> torch.Tensor:
    random = np.random.default_rng(seed)
    cells = random.random((pairs, sum(HISTOGRAMS.values()) + 1, rows, columns)).astype(np.float32)
    cells[:, -1] *= np.linspace(0, 1.2, columns, dtype=np.float32)  # still on the left
    return torch.from_numpy(cells)


def test_blocks_that_move_are_what_loops_find() -> None:
    cells = some_cells(4, 23, 6, 12)  # three pairs are left over
    found = blocks_that_move(cells, CONFIG)
    wanted = [block for amount, block in naive_blocks(cells.numpy(), CONFIG) if amount > CONFIG.moves]
    assert 50 < len(wanted) < len(naive_blocks(cells.numpy(), CONFIG))
    assert found.shape == (len(wanted), LENGTH)
    np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-4, atol=1e-5)


def test_of_a_clip_in_which_little_moves_the_blocks_that_move_most() -> None:
    cells = some_cells(5, 15, 9, 11)
    cells[:, -1] *= 0.1
    blocks = naive_blocks(cells.numpy(), CONFIG)
    assert max(amount for amount, _ in blocks) < CONFIG.moves
    most = sorted(sorted(range(len(blocks)), key=lambda i: -blocks[i][0])[:50])
    found = blocks_that_move(cells, CONFIG)
    np.testing.assert_allclose(found, np.stack([blocks[i][1] for i in most]), rtol=1e-4, atol=1e-5)


def test_of_very_many_blocks_some_from_the_first_to_the_last() -> None:
    cells = some_cells(6, 30, 8, 10)
    every = blocks_that_move(cells, CONFIG)
    some = blocks_that_move(cells, MotionConfig(cell=CELL, most_blocks=60))
    assert len(every) > 120
    assert len(some) == 60
    torch.testing.assert_close(some[[0, -1]], every[[0, -1]])
    places = [int((every == row).all(dim=1).nonzero()[0]) for row in some]
    gaps = np.diff(places)
    assert (gaps > 0).all() and gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("pairs", [1, 4, 14])
def test_what_is_too_short_for_a_block_is_held(pairs: int) -> None:
    cells = some_cells(7, pairs, 5, 6)
    held = torch.cat([cells, cells[-1:].expand(15 - pairs, -1, -1, -1)])
    torch.testing.assert_close(blocks_that_move(cells, CONFIG), blocks_that_move(held, CONFIG), rtol=0, atol=0)


@pytest.mark.parametrize(("height", "width"), [(10, 10), (11, 47), (63, 10), (25, 25)])
def test_tiny_pictures_in_which_nothing_moves_have_descriptors_too(height: int, width: int) -> None:
    flat = torch.full((2, height, width), 80.0)
    cells = cell_histograms(flat, torch.zeros(2, 2, height, width), MotionConfig(), faster=torch.ones(2))
    found = blocks_that_move(cells, MotionConfig())
    assert 1 <= len(found) <= 50
    assert found.isfinite().all()
    hog, hof, mbh_x, mbh_y = found.split(list(SIZES.values()), dim=1)
    assert not hog.any() and not mbh_x.any() and not mbh_y.any()
    # All that is known of the flow is that it stands still, in as many cells as there are.
    assert not hof[:, : 8 * 12].any()
    there = min(2, height // 10) * min(2, width // 10) / 4
    torch.testing.assert_close(hof.square().sum(dim=1), torch.ones(len(hof)))
    torch.testing.assert_close((hof > 0).float().mean(dim=1) * 9, torch.full((len(hof),), there))
