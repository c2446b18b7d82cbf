"""Exported files, read by other means than our own readers: csv, ElementTree, PyAV."""

import csv
import re
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest

from muybridge.errors import OptionError
from muybridge.stage import Scene, SceneSpec
from muybridge.stage.export import export_class_folders, export_scenes, scene_name

SPECS = [
    SceneSpec(seed=seed, actors=2, width=96, height=54, rate=Fraction(8), duration_seconds=2.5) for seed in (1, 2)
]
EMPTY = SceneSpec(seed=3, actors=0, width=96, height=54, rate=Fraction(8), duration_seconds=1.0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stage")
    export_scenes([*SPECS, EMPTY], folder, min_visible=0.0)
    return folder


def test_videos_hold_the_frames(exported: Path) -> None:
    for spec in SPECS:
        with av.open(str(exported / "videos" / f"{scene_name(spec)}.mp4")) as container:
            assert container.streams.video[0].average_rate == 8
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        truth = Scene(spec).clip().frames
        assert len(decoded) == len(truth) == 20
        assert np.abs(np.stack(decoded).astype(int) - truth).mean() < 6


def test_ava_rows_are_the_scenes_truth(exported: Path) -> None:
    names = re.findall(r'name: "([^"]+)"', (exported / "labels.pbtxt").read_text())
    with (exported / "ava.csv").open() as file:
        rows = list(csv.reader(file))
    expected = set()
    for spec in SPECS:
        scene = Scene(spec)
        assert tuple(names) == scene.labels.names
        for second in (0, 1, 2):
            frame = scene[second * 8]
            for box, person, actions in zip(frame.boxes_xyxy, frame.track_ids, frame.actions, strict=True):
                for column in np.flatnonzero(actions):
                    corners = tuple(np.round(box / (96, 54, 96, 54), 5).tolist())
                    expected.add((scene_name(spec), second, *corners, int(column) + 1, int(person)))
    full = [row for row in rows if len(row) == 8]
    found = {(r[0], int(r[1]), *(round(float(v), 5) for v in r[2:6]), int(r[6]), int(r[7])) for r in full}
    assert found == expected and len(found) == len(full) > 8
    assert [scene_name(EMPTY), "0000"] in rows


def test_cvat_tracks_are_the_scenes_truth(exported: Path) -> None:
    for spec in SPECS:
        root = ElementTree.parse(exported / "cvat" / f"{scene_name(spec)}.xml").getroot()
        found = {}
        for track in root.iter("track"):
            for box in track.iter("box"):
                if box.get("outside") == "0":
                    corners = [float(box.attrib[edge]) for edge in ("xtl", "ytl", "xbr", "ybr")]
                    found[int(track.attrib["id"]), int(box.attrib["frame"])] = corners
                    assert box.findtext("attribute")
        scene = Scene(spec)
        truth = {(int(person), frame.index): box.tolist() for frame in scene
                 for person, box in zip(frame.track_ids, frame.boxes_xyxy, strict=True)}  # fmt: skip
        assert found == truth


def test_hidden_figures_can_be_left_out(tmp_path: Path) -> None:
    spec = SceneSpec(seed=5, actors=12, width=96, height=54, rate=Fraction(1), duration_seconds=3, figure_share=0.8)
    everyone = export_scenes([spec], tmp_path / "all", min_visible=0.0)
    seen = export_scenes([spec], tmp_path / "seen", min_visible=0.6)
    hidden = sum(int((frame.visible < 0.6).sum()) for frame in Scene(spec))
    people = [len(set(zip(a.time_seconds.tolist(), a.person.tolist(), strict=True))) for a in (everyone, seen)]
    assert hidden > 0 and people[0] - people[1] == hidden


def test_class_folders(tmp_path: Path) -> None:
    specs = [SceneSpec(seed=seed, scenario="reversal", sibling=sibling, actors=1, width=64, height=36,
                       rate=Fraction(4), duration_seconds=2) for seed in range(3) for sibling in (0, 1)]  # fmt: skip
    counts = export_class_folders(specs, tmp_path)
    assert sum(counts.values()) == 6
    for spec in specs:
        assert (tmp_path / str(Scene(spec).label) / f"{scene_name(spec)}.mp4").stat().st_size > 0
    assert {path.name for path in tmp_path.iterdir()} == set(counts)


def test_the_same_scenes_give_the_same_bytes(tmp_path: Path) -> None:
    """160x120 is a size at which x264's macroblock tree follows what was in memory before."""
    specs = [SceneSpec(seed=seed, scenario="action", actors=1, width=160, height=120, rate=Fraction(12),
                       duration_seconds=2.5, grain=8.0, shake=0.01) for seed in (50_043, 50_045)]  # fmt: skip
    written: list[set[bytes]] = []
    for attempt in range(4):
        # What the next run finds in memory that it does not clear.
        left_behind = [np.full(200_000 + 1000 * number, 77 * attempt, np.uint8) for number in range(40)]
        del left_behind
        export_class_folders(specs, tmp_path / str(attempt))
        written.append({path.read_bytes() for path in (tmp_path / str(attempt)).rglob("*.mp4")})
    assert len(written[0]) == 2 and all(videos == written[0] for videos in written)


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    relation = SceneSpec(scenario="relation", width=96, height=54)
    with pytest.raises(OptionError, match="apart"):
        export_scenes([SPECS[0], relation], tmp_path)
    with pytest.raises(OptionError, match="seeds"):
        export_scenes([SPECS[0], SPECS[0]], tmp_path)
    for step in (0, -1, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="ava_every_seconds"):
            export_scenes(SPECS, tmp_path, ava_every_seconds=step)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(OptionError, match="min_visible"):
            export_scenes(SPECS, tmp_path, min_visible=share)
    with pytest.raises(OptionError, match="no class"):
        export_class_folders([relation, SPECS[0]], tmp_path)
    for export in (export_scenes, export_class_folders):
        with pytest.raises(OptionError, match="empty"):
            export([], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_step_below_a_frame_gives_every_frame(tmp_path: Path) -> None:
    rows = export_scenes(SPECS[:1], tmp_path, ava_every_seconds=1e-9, min_visible=0)
    times = np.unique(np.concatenate([rows.time_seconds, rows.empty_time_seconds]))
    assert len(times) == SPECS[0].num_frames
