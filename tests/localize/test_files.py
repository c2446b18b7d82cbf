"""From a video to an annotated video, annotation files and a report page."""

import base64
import io
import json
import re
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from muybridge.data.annotations.ava import read_ava
from muybridge.data.annotations.coco import read_coco
from muybridge.data.annotations.cvat import read_cvat
from muybridge.data.annotations.mot import read_mot
from muybridge.data.label_maps import LabelMap
from muybridge.errors import InputError, OptionError
from muybridge.localize.files import LocalizeJob, boxes_of, localize_file
from muybridge.localize.options import LocalizeConfig
from muybridge.localize.video_localizer import PeopleLocalizer
from muybridge.media.sources import expand_sources
from muybridge.media.video_reader import Frame, VideoReader
from tests.localize.localized_videos import (
    LABELS,
    annotations_of,
    noise_frames,
    small_localizer,
    two_people,
    write_frames,
)
from tests.media.numbered_clips import write_clip

FORMATS = ("ava", "coco", "cvat", "json", "mot")
TIMES = [0.0, 1.0, 2.0]


@pytest.fixture(scope="module")
def localizer():
    return small_localizer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_frames(folder / "yard.mp4", noise_frames(25))
    return folder


def localize(localizer, video, target, boxes, **options):
    job = LocalizeJob(localizer, LocalizeConfig(threshold=0.0), boxes, FORMATS, **options)
    (source,) = expand_sources([str(video)])
    return job, localize_file(job, source, target, quiet=True)


def test_every_file_opens_again_and_they_agree(localizer, folder, tmp_path) -> None:
    job, notes = localize(localizer, folder / "yard.mp4", tmp_path / "out.mp4", two_people("yard", TIMES))
    assert notes == []
    assert [path.name for path in job.written] == [
        "out.csv",
        "out.coco.json",
        "out.xml",
        "out.json",
        "out.txt",
        "out.html",
    ]
    ava = read_ava(tmp_path / "out.csv", eighth="score")
    assert sorted(set(ava.time_seconds.tolist())) == TIMES
    assert len(ava) == 3 * 2 * 3
    coco, classes = read_coco(tmp_path / "out.coco.json")
    assert classes.names == LABELS.names
    np.testing.assert_allclose(
        np.sort(coco.boxes_xyxy, axis=0), np.sort(ava.in_pixels({"yard": (96, 64)}).boxes_xyxy, axis=0), atol=1e-2
    )
    cvat = read_cvat(tmp_path / "out.xml", rate_fps=10, labels=LABELS)
    mot = read_mot(tmp_path / "out.txt", rate_fps=10)
    for tracks in (cvat, mot):
        moments = {
            (p, round(t, 6)) for p, t in zip(tracks.person.tolist(), tracks.time_seconds.tolist(), strict=True)
        }
        assert moments == {(person, round(frame / 10, 6)) for person in (0, 1) for frame in range(25)}
    content = json.loads((tmp_path / "out.json").read_text())
    for key, time in zip(content["key_frames"], TIMES, strict=True):
        scores = {round(score, 4) for person in key["people"] for score in person["actions"].values()}
        assert scores == {round(s, 4) for s in ava.score[ava.time_seconds == time].tolist()}
    page = (tmp_path / "out.html").read_text()
    assert "person 0 is there, 0.0 s to 2.5 s" in page and 'src="./out.mp4"' in page
    assert page.count("data:image/") == 2


def test_the_annotated_video_is_the_video_with_drawings(localizer, folder, tmp_path) -> None:
    localize(localizer, folder / "yard.mp4", tmp_path / "out.mp4", two_people("yard", TIMES))
    with VideoReader(folder / "yard.mp4") as before, VideoReader(tmp_path / "out.mp4") as after:
        originals, drawn = list(before), list(after)
    assert [f.pts_seconds for f in drawn] == [f.pts_seconds for f in originals]
    for one, other in zip(originals, drawn, strict=True):
        difference = np.abs(one.image.astype(int) - other.image).max(-1)
        assert (difference > 60).sum() > 100, "every frame shows boxes"


def test_sound_and_times_are_kept(localizer, tmp_path) -> None:
    pts = [0, 40, 90, 120, 200, 290, 300, 420, 500, 640]
    write_clip(tmp_path / "in.mp4", 10, pts=pts, time_base=Fraction(1, 1000), tones=("aac",))
    boxes = annotations_of([("in", t, (0.1, 0.1, 0.5, 0.9), 3, 0) for t in (0.0, 0.5)])
    localize(localizer, tmp_path / "in.mp4", tmp_path / "out.mp4", boxes)
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.info.has_audio
        assert [frame.pts_seconds for frame in reader] == [Fraction(time, 1000) for time in pts]


def test_nobody_in_any_format(localizer, folder, tmp_path) -> None:
    boxes = annotations_of([("other", 0.0, (0, 0, 1, 1), 3, 0), ("yard", 9.0, (0.1, 0.1, 0.5, 0.9), 3, 0)])
    localize(localizer, folder / "yard.mp4", tmp_path / "out.mp4", boxes)
    assert len(read_ava(tmp_path / "out.csv", eighth="person").empty_time_seconds) == 3
    assert len(read_cvat(tmp_path / "out.xml", rate_fps=10)) == 0
    assert len(read_mot(tmp_path / "out.txt", rate_fps=10)) == 0
    assert len(read_coco(tmp_path / "out.coco.json")[0]) == 0
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert len(list(reader)) == 25


def test_a_video_that_changes_size_midway(localizer, tmp_path) -> None:
    # Two H.264 streams of different size, one after the other, as a raw stream and some recorders have them.
    raw = b""
    for size in ((96, 64), (64, 96)):
        part = tmp_path / f"{size[0]}.h264"
        with av.open(str(part), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for frame in noise_frames(12, size=size if size[0] > size[1] else (96, 64)):
                image = np.ascontiguousarray(np.resize(frame.image, (size[1], size[0], 3)))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        raw += part.read_bytes()
    video = tmp_path / "both.h264"
    video.write_bytes(raw)
    boxes = annotations_of([("both", t / 5, (0.1, 0.1, 0.5, 0.9), 3, 0) for t in range(5)])
    localize(localizer, video, tmp_path / "out.mp4", boxes)
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert {frame.image.shape for frame in reader} == {(64, 96, 3)}


def test_what_cannot_be_localized_leaves_nothing(localizer, folder, tmp_path) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "photo.png")
    with pytest.raises(InputError, match="is a picture"):
        localize(localizer, tmp_path / "photo.png", tmp_path / "out.mp4", None)
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(InputError):
        localize(localizer, tmp_path / "broken.mp4", tmp_path / "out.mp4", two_people("broken", TIMES))
    boxes = annotations_of([(name, 0.0, (0, 0, 1, 1), 3, 0) for name in ("one", "two")])
    with pytest.raises(InputError, match="has none for 'yard'"):
        localize(localizer, folder / "yard.mp4", tmp_path / "out.mp4", boxes)
    assert not [path for path in tmp_path.iterdir() if path.stem.strip(".").startswith("out")]


def test_boxes_are_found_by_the_name_of_the_video() -> None:
    boxes = annotations_of([("a/yard.mp4", 0.0, (0, 0, 1, 1), 3, 0), ("yards", 0.0, (0, 0, 0.5, 1), 3, 1)])
    assert boxes_of(boxes, "yard", 10, 10).person.tolist() == [0]
    lone = annotations_of([("det", 0.0, (0, 0, 1, 1), 3, 0)])
    with pytest.raises(InputError, match=r"has none for 'yard'\. It names det$"):
        boxes_of(lone, "yard", 10, 10)


def test_a_page_without_actions_says_who_is_there(folder, tmp_path) -> None:
    # Boxes along each edge, thinner than a pixel: their pictures are a pixel wide.
    slivers = [(0, 0, 1, 0.001), (0, 0.999, 1, 1), (0, 0, 0.001, 1), (0.999, 0, 1, 1)]
    boxes = annotations_of([("yard", t, box, 3, i) for i, box in enumerate(slivers) for t in TIMES])
    localize(PeopleLocalizer(device="cpu"), folder / "yard.mp4", tmp_path / "out.mp4", boxes)
    page = (tmp_path / "out.html").read_text()
    assert "<h1>Who is in yard</h1>" in page
    assert page.count("data:image/") == 4
    assert "does" not in page and "probability" not in page


def test_a_model_with_a_bank_needs_its_writer(folder, tmp_path) -> None:
    from muybridge.data.localization import BankSpan

    writer = small_localizer(seed=5)
    options = {"seed": 6, "bank_span": BankSpan(), "bank_model": writer.fingerprint}
    boxes = two_people("yard", TIMES)
    with pytest.raises(OptionError, match="--bank-model"):
        localize(small_localizer(**options), folder / "yard.mp4", tmp_path / "out.mp4", boxes)
    job, _ = localize(
        small_localizer(**options, bank_writer=writer), folder / "yard.mp4", tmp_path / "out.mp4", boxes
    )
    from_writer = (tmp_path / "out.csv").read_text()
    (tmp_path / "banks").mkdir()
    writer.write_bank(folder / "yard.mp4", tmp_path / "banks" / "yard.safetensors", boxes=boxes, config=job.config)
    banked = small_localizer(**options)
    localize(banked, folder / "yard.mp4", tmp_path / "other.mp4", boxes, banks=tmp_path / "banks")
    assert (tmp_path / "other.csv").read_text() == from_writer


def test_class_names_of_any_kind_reach_the_page(folder, tmp_path) -> None:
    localizer = small_localizer()
    names = ("<b>sitzen & stehen</b>", "走\n\x1b[2J\udce9", "x" * 300)
    localizer.labels = LabelMap(names, LABELS.ids, LABELS.exclusive)
    localize(localizer, folder / "yard.mp4", tmp_path / "out.mp4", two_people("yard", TIMES))
    assert "<b>sitzen" not in (tmp_path / "out.html").read_text()
    assert "\x1b" not in (tmp_path / "out.html").read_text()
    assert json.loads((tmp_path / "out.json").read_text())["labels"][1] == names[1]


def test_pictures_of_people_show_what_a_box_cuts_off(tmp_path) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[17:19, 30:50] = (255, 0, 0)  # just above the box: a head
    write_frames(tmp_path / "yard.mp4", [Frame(image, Fraction(number, 10), number) for number in range(10)])
    boxes = annotations_of([("yard", seconds, (30 / 96, 20 / 64, 50 / 96, 60 / 64), 1, 0) for seconds in (0.0, 0.9)])
    localize(PeopleLocalizer(device="cpu"), tmp_path / "yard.mp4", tmp_path / "out.mp4", boxes)
    (uri,) = re.findall(r'alt="person 0" src="data:image/jpeg;base64,([^"]+)"', (tmp_path / "out.html").read_text())
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB"))
    assert picture[:5, :, 0].max() > 150
