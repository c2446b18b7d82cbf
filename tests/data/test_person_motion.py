"""How people move: the same whatever their size, place and camera; what is asked of bad films; hashes."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from muybridge.data import person_motion
from muybridge.data.person_motion import PersonMotion, motion_at, person_motion_hash
from muybridge.media.video_reader import Frame
from tests.data.clips.drawn_motion import small_codebook, write_film

CODEBOOK = small_codebook(config=person_motion.MotionConfig())
GROUND = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (900, 1600)).astype(np.float32), (0, 0), 3)
GROUND = np.clip((GROUND - GROUND.mean()) * 6 + 128, 0, 255).astype(np.uint8)


def waving(
    *, way: str = "up", scale: float = 1.0, pan: float = 0.0, size: tuple[int, int] = (320, 240), frames: int = 30
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Pictures (T, H, W, 3) 25 a second of a body whose arm goes up or down, and its box in the middle one."""
    width, height = size
    texture = GROUND[100:400, 900:1200]
    film: list[NDArray[np.uint8]] = []
    body = np.array([140, 60, 180, 220]) * scale
    for number in range(frames):
        left = 200 + round(pan * number)
        picture = GROUND[200 : 200 + height, left : left + width].copy()
        off = -pan * (number - frames // 2)
        x1, y1, x2, y2 = (int(v) for v in np.round(body + np.array([off, 0, off, 0])))
        part = cv2.resize(texture, None, fx=scale, fy=scale)
        picture[y1:y2, max(x1, 0) : x2] = part[: y2 - y1, : x2 - max(x1, 0)]
        along = min(max(number - frames // 2, -25), 25) * 3 * scale * (-1 if way == "up" else 1)
        top = round(130 * scale + along)
        thick, wide = round(24 * scale), round(40 * scale)
        first, last = max(top, 0), min(top + thick, height)
        if first < last:
            picture[first:last, x2 : x2 + wide] = part[-thick:, -wide:][: last - first]
        film.append(np.repeat(picture[..., None], 3, axis=2))
    box = np.array([[body[0] / width, body[1] / height, (body[2] + 40 * scale) / width, body[3] / height]])
    return np.stack(film), box


def frames_of(film: NDArray[np.uint8], rate: int = 25) -> Iterator[Frame]:
    for number, picture in enumerate(film):
        yield Frame(picture, Fraction(number, rate), number)


def seen(film: NDArray[np.uint8], rate: int = 25) -> PersonMotion:
    motion = PersonMotion(CODEBOOK)
    for frame in frames_of(film, rate):
        motion.see(frame)
    return motion


def likeness(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def test_whoever_is_half_as_large_moves_alike() -> None:
    (up, box), (far, far_box), (down, _) = waving(), waving(scale=0.5, size=(320, 240)), waving(way="down")
    near, small = seen(up).of(box, 0.6)[0, 0], seen(far).of(far_box, 0.6)[0, 0]
    other = seen(down).of(box, 0.6)[0, 0]
    assert likeness(near, small) > likeness(near, other) + 0.05


def test_of_a_camera_that_pans_nothing_is_left() -> None:
    (still, box), (panned, _), (down, _) = waving(), waving(pan=3), waving(way="down")
    at_rest, moving, other = (seen(film).of(box, 0.6)[0, 0] for film in (still, panned, down))
    assert likeness(at_rest, moving) > likeness(at_rest, other) + 0.05


def test_a_mirror_is_a_mirror() -> None:
    film, box = waving()
    turned = np.ascontiguousarray(film[:, :, ::-1])
    turned_box = box[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [1, 0, 1, 0]
    own, told = seen(turned).of(turned_box, 0.6)[0, 0], seen(film).of(box, 0.6, in_mirror=True)[1, 0]
    assert likeness(own, told) > 0.9


def test_vectors_have_length_one_and_strangers_do_not_matter() -> None:
    film, box = waving()
    alone = seen(film).of(box, 0.6)[0]
    crowd = np.concatenate([np.array([[0.0, 0.0, 0.3, 0.3]]), box])
    together = seen(film).of(crowd, 0.6)[0]
    assert alone.norm(dim=1).tolist() == pytest.approx([1.0], abs=1e-4)
    torch.testing.assert_close(together[1], alone[0])


def test_of_who_is_far_away_nothing_is_told() -> None:
    film, box = waving(scale=0.5, size=(320, 240))
    wide = np.pad(film, ((0, 0), (120, 120), (160, 160), (0, 0)), mode="edge")
    assert seen(film).of(box, 0.6).any()
    assert not seen(wide).of(box / 2 + 0.25, 0.6).any()


def test_of_many_the_largest_are_told_of_and_of_the_tiny_nobody() -> None:
    film, box = waving()
    tiny = np.array([[0.5, 0.5, 0.53, 0.55]])
    many = np.concatenate([np.repeat(box, 10, axis=0), tiny])
    found = seen(film).of(many, 0.6)[0]
    assert found.any(dim=1).sum() == 8
    assert not seen(film).of(tiny, 0.6).any()


@pytest.mark.parametrize("rate", [1, 4])
def test_frames_far_apart_tell_nothing(rate) -> None:
    film, box = waving()
    assert not seen(film, rate).of(box, 0.6).any()


@pytest.mark.parametrize("count", [1, 3, 5])
def test_films_of_few_frames(count) -> None:
    film, box = waving(frames=count)
    found = seen(film).of(box, 0.0)
    assert found.shape == (1, 1, CODEBOOK.length)
    assert torch.isfinite(found).all()


def test_boxes_at_and_beyond_the_edges() -> None:
    film, _ = waving()
    boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.9, 0.5, 1.4, 1.6], [-0.5, -0.5, 0.2, 0.4], [0.0, 0.45, 1.0, 0.46]])
    found = seen(film).of(boxes, 0.6)
    assert torch.isfinite(found).all()


def test_nobody() -> None:
    film, _ = waving()
    assert seen(film).of(np.zeros((0, 4)), 0.6).shape == (1, 0, CODEBOOK.length)


def test_what_is_forgotten_is_not_needed() -> None:
    film, box = waving(frames=60)
    motion = seen(film)
    before = motion.of(box, 1.2)
    motion.forget(1.2)
    torch.testing.assert_close(motion.of(box, 1.2), before)
    motion.forget(10.0)
    assert not motion.of(box, 1.2).any()


def test_a_film_is_read_as_it_is_watched(tmp_path: Path) -> None:
    film, box = waving(frames=75)
    path = write_film(tmp_path / "film.mp4", film)
    from muybridge.media.video_reader import VideoReader

    watched = PersonMotion(CODEBOOK)
    with VideoReader(path) as reader:
        for frame in reader:
            watched.see(frame)
    for seconds in (0.0, 1.5, 2.86):  # of each two frames the same one is taken from there on
        found = motion_at(path, seconds, box, CODEBOOK, in_mirror=True)
        torch.testing.assert_close(found, watched.of(box, seconds, in_mirror=True), atol=1e-5, rtol=0)


def test_the_hash_is_of_codebook_and_windows(monkeypatch) -> None:
    own = person_motion_hash(CODEBOOK)
    assert own == person_motion_hash(small_codebook(config=person_motion.MotionConfig()))
    assert own != person_motion_hash(small_codebook(config=person_motion.MotionConfig(), seed=1))
    monkeypatch.setattr(person_motion, "_VERSION", 2)
    assert own != person_motion_hash(CODEBOOK)
