"""Boxes of any format: whom they are about, VIA without its actions, JSON of wrong shapes."""

import json
from fractions import Fraction

import pytest

from muybridge.data.annotations.ava import read_ava
from muybridge.data.annotations.coco import read_coco, write_coco
from muybridge.data.annotations.cvat import read_cvat, write_cvat
from muybridge.data.annotations.files import read_annotated_videos, read_boxes
from muybridge.data.annotations.frame_clock import FilmClock, FilmsByName
from muybridge.data.annotations.jhmdb import read_jhmdb
from muybridge.data.annotations.mot import read_mot, write_mot
from muybridge.data.annotations.multisports import read_multisports
from muybridge.data.annotations.table import NO_LABEL, AnnotationRows
from muybridge.data.annotations.tubes import read_tubes
from muybridge.data.annotations.ucf101_24 import read_ucf101_24
from muybridge.data.annotations.via import read_via, write_via
from muybridge.data.label_maps import LabelMap
from muybridge.data.video_files import find_videos
from muybridge.errors import AnnotationError, MissingInput
from tests.media.numbered_clips import write_clip

LABELS = LabelMap(("walk", "sit, down"), (1, 2))


def two_people():
    rows = AnnotationRows("pixel", {"film": (72, 48)})
    for person in (0, 1):
        rows.add("film", 0.5, (10 + person, 5, 30, 40), label=person + 1, person=person)
    return rows.annotations()


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_boxes_of_a_via_file_need_no_labels(tmp_path, suffix):
    path = tmp_path / f"via.{suffix}"
    write_via(path, two_people(), LABELS)
    boxes = read_boxes(path, [])
    assert boxes.boxes_xyxy.tolist() == [[10, 5, 30, 40], [11, 5, 30, 40]]
    assert boxes.person.tolist() == [0, 1]
    assert boxes.label.tolist() == [NO_LABEL] * 2


def test_boxes_of_one_video_are_another_ones_only_where_it_is_the_only_one(tmp_path):
    videos = [write_clip(tmp_path / name, 3) for name in ("yard.mp4", "det.mp4")]
    write_mot(tmp_path / "det.txt", two_people(), rate_fps=25)
    write_mot(tmp_path / "none.txt", two_people().select([]), rate_fps=25)
    assert read_boxes(tmp_path / "det.txt", videos, rename_lone=True).videos == ("det",)
    lone = read_boxes(tmp_path / "det.txt", videos[:1], rename_lone=True)
    assert lone.videos == ("yard",) and len(lone) == 2
    assert read_boxes(tmp_path / "none.txt", videos[:1], rename_lone=True).videos == ("yard",)


def coco(tmp_path):
    write_coco(tmp_path / "good.json", two_people(), LABELS)
    return json.loads((tmp_path / "good.json").read_text())


def via(tmp_path):
    write_via(tmp_path / "good.json", two_people(), LABELS)
    return json.loads((tmp_path / "good.json").read_text())


def tubes(tmp_path):
    del tmp_path
    tube = [[1, 10, 5, 25, 60], [2, 11, 5, 26, 60]]
    return {"labels": ["walk"], "gttubes": {"film": {"0": [tube]}}, "resolution": {"film": [48, 72]}}


@pytest.mark.parametrize(
    ("good", "place"),
    [
        (coco, ["images"]),
        (coco, ["images", 0]),
        (coco, ["images", 0, "id"]),
        (coco, ["annotations", 0]),
        (coco, ["annotations", 0, "image_id"]),
        (coco, ["annotations", 0, "category_id"]),
        (coco, ["annotations", 0, "score"]),
        (coco, ["annotations", 0, "track_id"]),
        (coco, ["categories"]),
        (coco, ["videos"]),
        (via, ["attribute", "1"]),
        (via, ["view", "1"]),
        (via, ["file", "1"]),
        (via, ["metadata", "1_1"]),
        (via, ["metadata", "1_1", "vid"]),
        (tubes, ["labels"]),
        (tubes, ["gttubes", "film"]),
        (tubes, ["gttubes", "film", "0"]),
        (tubes, ["resolution"]),
        (tubes, ["resolution", "film"]),
        (tubes, ["train_videos"]),
    ],
)
@pytest.mark.parametrize("wrong", [[[]], {"a": {}}, "abc", 10**30, True], ids=repr)
def test_json_of_another_shape_is_refused_or_read(tmp_path, good, place, wrong):
    content = good(tmp_path)
    video = write_clip(tmp_path / "film.mp4", 3)
    *way, last = place
    inner = content
    for step in way:
        inner = inner[step]
    inner[last] = wrong
    (tmp_path / "wrong.json").write_text(json.dumps(content))
    try:
        boxes = read_boxes(tmp_path / "wrong.json", [video])
    except AnnotationError as error:
        assert "wrong.json" in str(error) or "64 bits" in str(error)
    else:  # a name may be any text, a flag any number
        assert len(boxes) <= 2


# --- frame numbers of films whose rate varies ---

# Ten frames a second for two seconds, then thirty; in a time base of 1/30 s.
PHONE = [*range(0, 60, 3), *range(60, 120)]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write_clip(folder / "phone.mp4", len(PHONE), rate=Fraction(30), pts=PHONE, time_base=Fraction(1, 30))
    write_clip(folder / "slow.mp4", 40, rate=Fraction(10))
    return folder


def cvat_text(source, *frames):
    boxes = "".join(
        f'<box frame="{frame}" outside="{outside}" xtl="1" ytl="2" xbr="30" ybr="40"/>' for frame, outside in frames
    )
    size = "<original_size><width>72</width><height>48</height></original_size>"
    meta = f"<meta><task><name>t</name>{size}</task><source>{source}</source></meta>"
    return f'<annotations>{meta}<track id="0" label="walk">{boxes}</track></annotations>'


def coco_text(*images):
    videos = [{"id": 1, "name": "phone"}, {"id": 2, "name": "slow"}]
    return json.dumps(
        {
            "videos": videos,
            "images": [{"id": n, "video_id": video, "frame_id": frame} for n, (video, frame) in enumerate(images)],
            "categories": [{"id": 1, "name": "walk"}],
            "annotations": [
                {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 2, 3, 4]} for n, _ in enumerate(images)
            ],
        }
    )


def tubes_text(**frames):
    tubes = {video: {"0": [[[frame, 1, 2, 3, 4]]]} for video, frame in frames.items()}
    return json.dumps({"labels": ["walk"], "gttubes": tubes, "resolution": {video: [48, 72] for video in frames}})


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.xml", cvat_text("phone.mp4", (19, 0), (21, 1)), [("phone.mp4", 1.9), ("phone.mp4", 2.0)]),
        ("a.xml", cvat_text("slow", (30, 0), (31, 1)), [("slow", 3.0)]),
        ("a.json", coco_text((1, 30), (2, 30)), [("phone", 2 + 10 / 30), ("slow", 3.0)]),
        ("a.json", tubes_text(phone=31, slow=31), [("phone", 2 + 10 / 30), ("slow", 3.0)]),
        ("phone.txt", "21,1,1,2,3,4,0.5\n11,1,1,2,3,4,0.5\n", [("phone", 2.0), ("phone", 1.0)]),
    ],
)
def test_frame_numbers_are_the_times_of_their_film(tmp_path, films, name, text, expected):
    (tmp_path / name).write_text(text)
    given = read_boxes(tmp_path / name, sorted(films.iterdir()))
    found = [(given.videos[v], t) for v, t in zip(given.video, given.time_seconds.tolist(), strict=True)]
    assert [video for video, _ in found] == [video for video, _ in expected]
    assert [time for _, time in found] == pytest.approx([time for _, time in expected], abs=1e-4)
    if name.endswith(("xml", "json")):
        annotated, _ = read_annotated_videos(tmp_path / name, LABELS, films)
        assert annotated.time_seconds.tolist() == given.time_seconds.tolist()


def test_a_track_is_filled_up_to_the_end_of_its_film(tmp_path, films):
    (tmp_path / "a.xml").write_text(cvat_text("slow.mp4", (38, 0), (2_000_000_000, 1)))
    boxes = read_boxes(tmp_path / "a.xml", [films / "slow.mp4"])
    assert boxes.time_seconds.tolist() == pytest.approx([3.8, 3.9], abs=1e-4)
    (tmp_path / "a.xml").write_text(cvat_text("slow.mp4", (38, 0), (2_000_000_000, 0)))
    with pytest.raises(
        AnnotationError, match=r"frame 2000000000 of 'slow\.mp4' is annotated, but .* 40 frames, 0 to 39"
    ):
        read_boxes(tmp_path / "a.xml", [films / "slow.mp4"])


def test_what_is_written_by_a_films_clock_is_read_back(tmp_path, films):
    """Times of a varying rate become the frames on display, in CVAT and in MOT, and the same times again."""
    clock = FilmClock(FilmsByName(lambda name: films / f"{name}.mp4"))
    rows = AnnotationRows("pixel", {"phone": (72, 48)})
    for frame in (0, 7, 19, 20, 45, 79):
        rows.add("phone", PHONE[frame] / 30, (1, 2, 30, 40), label=1, person=0)
    write_cvat(tmp_path / "out.xml", rows.annotations(), rate_fps=clock, labels=LABELS)
    write_mot(tmp_path / "phone.txt", rows.annotations(), rate_fps=clock)
    lines = (tmp_path / "phone.txt").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines] == [1, 8, 20, 21, 46, 80]
    for name in ("out.xml", "phone.txt"):
        again = read_boxes(tmp_path / name, [films / "phone.mp4"])
        assert again.time_seconds.tolist() == pytest.approx([PHONE[n] / 30 for n in (0, 7, 19, 20, 45, 79)], abs=1e-4)


def test_pixels_in_avas_format_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("film,1,64,48,320,432,1,0.5\n")
    with pytest.raises(AnnotationError, match="the boxes reach 432, as pixels do"):
        read_boxes(path, [])
    path.write_text("film,1,-0.1,0.2,1.3,0.9,1,0.5\n")
    assert len(read_boxes(path, [])) == 1


@pytest.mark.parametrize("box", ["0.5,0.1,0.2,0.9", "0.1,0.9,0.5,0.2"])
def test_reversed_boxes_are_refused_with_or_without_scores(tmp_path, box):
    path = tmp_path / "boxes.csv"
    for end in (",1,0.9", ",1,7", ",1"):
        path.write_text(f"yard,2,0.1,0.1,0.2,0.9{end}\nyard,3,{box}{end}\n")
        with pytest.raises(AnnotationError, match=r"boxes\.csv.* is reversed. Order it left, top, right, bottom"):
            read_boxes(path, [])
        left, top, right, bottom = box.split(",")
        ordered = ",".join([min(left, right), min(top, bottom), max(left, right), max(top, bottom)])
        path.write_text(f"yard,2,0.1,0.1,0.2,0.9{end}\nyard,3,{ordered}{end}\n")
        assert len(read_boxes(path, [])) == 2


def test_boxes_after_the_end_of_every_film_are_refused(tmp_path, films):
    """As AVA's, which count from the start of a whole film, over a clip of it."""
    path = tmp_path / "a.csv"
    path.write_text("slow,902,0.1,0.1,0.5,0.5,1,0.5\nslow,1798,0.1,0.1,0.5,0.5,1,0.5\n")
    with pytest.raises(AnnotationError, match=r"the boxes of 'slow' are at 902 to 1798 s, but .*slow\.mp4 lasts 4 s"):
        read_boxes(path, [films / "slow.mp4"])
    path.write_text(path.read_text() + "phone,1,0.1,0.1,0.5,0.5,1,0.5\n")
    assert len(read_boxes(path, sorted(films.iterdir()))) == 3


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 5000 + ".xml", "a\0b.json"], ids=["long", "long xml", "zero"])
def test_paths_that_no_system_takes(tmp_path, name):
    readers = [
        lambda path: read_boxes(path, []),
        lambda path: read_annotated_videos(path, LABELS, tmp_path),
        lambda path: find_videos(["a"], path),
        lambda path: read_cvat(path, rate_fps=1),
        lambda path: read_mot(path, rate_fps=1),
        lambda path: read_tubes(path, rate_fps=1),
        lambda path: read_via(path, LABELS),
        read_coco,
        read_jhmdb,
        read_ucf101_24,
        read_multisports,
        lambda path: read_ava(path, eighth="score"),
    ]
    for reader in readers:
        with pytest.raises(MissingInput):
            reader(tmp_path / name)


@pytest.mark.parametrize("number", ["1e308", "-1e300", "9" * 30])
def test_coordinates_beyond_reason_are_refused(tmp_path, number):
    (tmp_path / "a.csv").write_text(f"film,1,0.1,0.1,{number},0.5,1,0.5\n")
    with pytest.raises(AnnotationError, match=r"a\.csv, line 1: right is"):
        read_ava(tmp_path / "a.csv", eighth="score")
    tube = json.loads(tubes_text(film=1))
    tube["gttubes"]["film"]["0"][0][0][4] = abs(float(number))
    (tmp_path / "a.json").write_text(json.dumps(tube))
    write_clip(tmp_path / "film.mp4", 3)
    with pytest.raises(AnnotationError, match=r"a\.json: boxes_xyxy holds NaN, infinity or a number beyond reason"):
        read_boxes(tmp_path / "a.json", [tmp_path / "film.mp4"])
