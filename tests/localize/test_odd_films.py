"""Films that a detector, a tracker or a localizer may stumble over: everything that is written is whole."""

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from muybridge.data.annotations.ava import read_ava
from muybridge.data.annotations.mot import read_mot
from muybridge.localize.files import LocalizeJob, localize_file
from muybridge.localize.localizer import Localizer
from muybridge.localize.options import LocalizeConfig
from muybridge.media.images import resize_image
from muybridge.media.sources import expand_sources
from muybridge.media.video_reader import Frame, VideoReader
from tests.localize.localized_videos import annotations_of, noise_frames, small_localizer, write_frames


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    """Its actions mean nothing; its detector is the built-in one."""
    return small_localizer()


def written(localizer, film, folder, boxes=None):
    """Localize a film; what its files hold, checked against each other."""
    folder.mkdir(exist_ok=True)
    job = LocalizeJob(localizer, LocalizeConfig(threshold=0.0), boxes, ("json", "ava", "mot"))
    (source,) = expand_sources([str(film)])
    localize_file(job, source, folder / "out.mp4", quiet=True)
    with VideoReader(film) as before, VideoReader(folder / "out.mp4") as after:
        assert [f.pts_seconds for f in after] == [f.pts_seconds for f in before]
    content = json.loads((folder / "out.json").read_text())
    width, height = content["width"], content["height"]
    people = [person for key in content["key_frames"] for person in key["people"]]
    for person in people:
        left, top, right, bottom = person["box_xyxy"]
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
    ava = read_ava(folder / "out.csv", eighth="score" if people else "person")
    assert len(ava) == sum(len(person["actions"]) for person in people)
    page = (folder / "out.html").read_text()
    assert page.endswith("</html>\n")
    assert ("<video" in page) == bool(people)
    return content, read_mot(folder / "out.txt", rate_fps=content["rate"])


def still(image: np.ndarray, count: int, rate: int = 10) -> list[Frame]:
    return [Frame(image, Fraction(i, rate), i) for i in range(count)]


def test_a_film_of_nobody(localizer, tmp_path) -> None:
    plain = np.full((240, 320, 3), (90, 120, 80), np.uint8)
    content, tracks = written(localizer, write_frames(tmp_path / "lawn.mp4", still(plain, 25)), tmp_path / "out")
    assert [key["people"] for key in content["key_frames"]] == [[], [], []]
    assert content["spans"] == [] and len(tracks) == 0


def test_three_hundred_people(localizer, tmp_path) -> None:
    film = write_frames(tmp_path / "square.mp4", noise_frames(15))
    places = [(x / 20, y / 15) for x in range(20) for y in range(15)]
    rows = [("square", t, (x, y, x + 0.04, y + 0.06), 3, i) for t in (0.0, 1.0) for i, (x, y) in enumerate(places)]
    content, tracks = written(localizer, film, tmp_path / "out", annotations_of(rows))
    assert [len(key["people"]) for key in content["key_frames"]] == [300, 300]
    assert len(set(tracks.person.tolist())) == 300
    page = (tmp_path / "out" / "out.html").read_text()
    assert "260 people who did the least" in page


def test_five_frames(localizer, tmp_path) -> None:
    film = write_frames(tmp_path / "short.mp4", noise_frames(5))
    content, tracks = written(
        localizer, film, tmp_path / "out", annotations_of([("short", 0.0, (0, 0, 0.5, 1), 3, 7)])
    )
    assert [key["seconds"] for key in content["key_frames"]] == [0.0]
    assert set(tracks.person.tolist()) == {7}


def test_a_frame_a_second(localizer, tmp_path) -> None:
    film = write_frames(tmp_path / "slow.mp4", noise_frames(6, rate=1), rate=1)
    rows = [("slow", float(t), (0.1 * t, 0.1, 0.1 * t + 0.4, 0.9), 3, 0) for t in range(6)]
    content, tracks = written(localizer, film, tmp_path / "out", annotations_of(rows))
    assert [key["seconds"] for key in content["key_frames"]] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    # Each frame has the box that was given for it, none between two.
    left = np.sort(tracks.boxes_xyxy[:, 0])
    np.testing.assert_allclose(left, np.arange(6) * 0.1 * 96, atol=0.05)


@pytest.mark.real_data
@pytest.mark.slow
def test_a_film_that_is_upside_down(localizer, tmp_path, real_data) -> None:
    with VideoReader(real_data / "people/schoolgirls.mp4") as reader:
        frames = [Frame(f.image[::-1, ::-1].copy(), Fraction(i, 24), i) for i, f in enumerate(reader) if i < 30]
    content, _ = written(localizer, write_frames(tmp_path / "head.mp4", frames, rate=24), tmp_path / "out")
    assert len(content["key_frames"]) == 2


@pytest.mark.real_data
@pytest.mark.slow
def test_a_film_that_is_one_face(localizer, tmp_path, real_data) -> None:
    with VideoReader(real_data / "clips/jhmdb/train/clap/boomsnapclap!_clap_u_nm_np1_fr_med_0.mp4") as reader:
        image = next(iter(reader)).image
    face = resize_image(image[10:115, 70:210], 320, 240)
    content, _ = written(localizer, write_frames(tmp_path / "face.mp4", still(face, 12)), tmp_path / "out")
    assert all(len(key["people"]) <= 3 for key in content["key_frames"])


@pytest.mark.real_data
@pytest.mark.slow
def test_a_cut_every_second(localizer, tmp_path, real_data) -> None:
    scenes: list[np.ndarray] = []
    for name in ("people/schoolgirls.mp4", "people/test1.mp4"):
        with VideoReader(real_data / name) as reader:
            scenes.append(resize_image(next(iter(reader)).image, 432, 240))
    frames = [Frame(scenes[(i // 10) % 2], Fraction(i, 10), i) for i in range(40)]
    content, _ = written(localizer, write_frames(tmp_path / "cuts.mp4", frames), tmp_path / "out")
    seen = [{person["id"] for person in key["people"]} for key in content["key_frames"]]
    assert len(seen) == 4 and all(seen)
    # Who is in one scene is nobody of the next.
    assert all(not (now & after) for now, after in pairwise(seen))
