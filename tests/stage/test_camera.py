"""Camera moves: exact reversals, and directions measured on marks in the picture."""

import numpy as np
import pytest

from muybridge.errors import InputError, OptionError
from muybridge.stage.camera import (
    CAMERA_MOVES,
    OPPOSITE_MOVES,
    STILLS_CEILING,
    CameraClipConfig,
    camera_clip,
    random_camera_clip,
)

PLAIN = CameraClipConfig(frames=6, height=64, width=64, shake=(0, 0), movers=0, noise=0, light=0)


def noise_photo(seed: int = 0, height: int = 90, width: int = 130) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def marked_photo() -> np.ndarray:
    """Red rises to the right and green downwards, so that a colour tells a place."""
    yy, xx = np.mgrid[0:200, 0:300]
    return np.stack([xx * 255 / 299, yy * 255 / 199, np.full_like(xx, 90)], -1).astype(np.uint8)


def seen(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each frame: the photograph's place at its middle, its scale, and its angle in degrees (clockwise crop)."""
    x, y = clip[..., 0].astype(float) * 299 / 255, clip[..., 1].astype(float) * 199 / 255
    middle = np.stack([x.mean(axis=(1, 2)), y.mean(axis=(1, 2))], -1)
    # From the left to the right edge of a frame, the photograph's x and y change along the crop's first axis.
    right = np.stack([(v[:, :, -8:].mean(axis=(1, 2)) - v[:, :, :8].mean(axis=(1, 2))) for v in (x, y)], -1)
    return middle, np.linalg.norm(right, axis=1), np.rad2deg(np.arctan2(right[:, 1], right[:, 0]))


@pytest.mark.parametrize("seed", range(4))
def test_the_camera_does_what_the_label_says(seed: int) -> None:
    views = {move: seen(camera_clip(marked_photo(), move=move, seed=seed, config=PLAIN)) for move in CAMERA_MOVES}
    steps = {move: (np.diff(middle, axis=0), np.diff(scale), np.diff(angle))
             for move, (middle, scale, angle) in views.items()}  # fmt: skip
    assert (steps["pan left"][0][:, 0] < 0).all() and (steps["pan right"][0][:, 0] > 0).all()
    assert (steps["tilt up"][0][:, 1] < 0).all() and (steps["tilt down"][0][:, 1] > 0).all()
    assert (steps["zoom in"][1] < 0).all() and (steps["zoom out"][1] > 0).all()
    # A camera that rolls to its left turns its frame anticlockwise.
    assert (steps["roll left"][2] < 0).all() and (steps["roll right"][2] > 0).all()
    still = steps["static"]
    assert np.abs(still[0]).max() < 1 and np.abs(still[1]).max() < 1 and np.abs(still[2]).max() < 0.5
    ratio = views["zoom in"][1][0] / views["zoom in"][1][-1]
    assert PLAIN.zoom[0] - 0.03 < ratio < PLAIN.zoom[1] + 0.05


@pytest.mark.parametrize("move", CAMERA_MOVES)
def test_opposite_moves_are_exact_reversals(move: str) -> None:
    config = CameraClipConfig(frames=5, height=40, width=56)
    for seed in range(5):
        forth = camera_clip(noise_photo(), move=move, seed=seed, config=config, foregrounds=[noise_photo(1)])
        back = camera_clip(
            noise_photo(), move=OPPOSITE_MOVES[move], seed=seed, config=config, foregrounds=[noise_photo(1)]
        )
        assert forth.shape == (5, 40, 56, 3) and forth.dtype == np.uint8
        np.testing.assert_array_equal(back, forth if move == "static" else forth[::-1])


def test_same_seed_same_clip_and_another_is_another() -> None:
    config = CameraClipConfig(frames=3, height=32, width=32)
    one, label = random_camera_clip(noise_photo(), seed=7, config=config)
    two, again = random_camera_clip(noise_photo(), seed=7, config=config)
    np.testing.assert_array_equal(one, two)
    assert label == again
    labels = [random_camera_clip(noise_photo(), seed=seed, config=config)[1] for seed in range(180)]
    assert set(labels) == set(range(9)) and max(np.bincount(labels)) < 40


def test_the_crop_never_leaves_the_photograph() -> None:
    white = np.full((61, 97, 3), 255, np.uint8)
    config = CameraClipConfig(frames=4, height=30, width=44, movers=0, noise=0, light=0, shake=(0.02, 0.05))
    for seed in range(60):
        for move in CAMERA_MOVES[1::2]:
            assert camera_clip(white, move=move, seed=seed, config=config).min() == 255


def test_fine_detail_is_averaged_not_dropped() -> None:
    """A checkerboard of single pixels, seen much smaller, must be grey."""
    board = (np.indices((900, 1200)).sum(axis=0) % 2 * 255).astype(np.uint8)
    clip = camera_clip(np.stack([board] * 3, -1), move="static", seed=0, config=PLAIN)
    assert clip.min() > 110 and clip.max() < 145


def test_stills_ceiling_is_that_of_the_best_predictor_without_order() -> None:
    """Every clip of a seed, its frames as a set: the two of a pair share theirs, the static one is alone."""
    config = CameraClipConfig(frames=4, height=24, width=24)
    sets: dict[bytes, set[str]] = {}
    for move in CAMERA_MOVES:
        clip = camera_clip(noise_photo(), move=move, seed=1, config=config)
        sets.setdefault(b"".join(sorted(frame.tobytes() for frame in clip)), set()).add(move)
    assert len(sets) / len(CAMERA_MOVES) == STILLS_CEILING


def test_movers_and_noise_change_the_picture() -> None:
    photo = np.full((80, 80, 3), 128, np.uint8)
    with_movers = CameraClipConfig(frames=4, height=48, width=48, movers=3, noise=0, light=0)
    clips = [camera_clip(photo, move="static", seed=s, config=with_movers, foregrounds=[noise_photo()])
             for s in range(8)]  # fmt: skip
    assert sum((clip != 128).any() for clip in clips) >= 3
    noisy = CameraClipConfig(frames=2, height=48, width=48, movers=0, noise=20, light=0)
    clip = camera_clip(photo, move="static", seed=3, config=noisy)
    assert (clip[0] != clip[1]).any()


@pytest.mark.parametrize(
    "photo", [np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3), np.float32), np.zeros((8, 40, 3), np.uint8)]
)
def test_unusable_photograph(photo: np.ndarray) -> None:
    with pytest.raises(InputError, match="photograph"):
        camera_clip(photo, move="static", seed=0, config=PLAIN)


def test_bad_options() -> None:
    with pytest.raises(OptionError, match="dolly"):
        camera_clip(noise_photo(), move="dolly", seed=0, config=PLAIN)
    for options in ({"frames": 1}, {"height": 4}, {"zoom": (0.9, 1.2)}):
        with pytest.raises(OptionError, match=next(iter(options))):
            CameraClipConfig(**options)
