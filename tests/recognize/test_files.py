"""From files to spans and videos with labels: what counts as a clip, shots, overlays, files whose header is wrong."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from muybridge.data.clips.sampling import SamplingConfig, ViewConfig
from muybridge.data.label_maps import LabelMap
from muybridge.errors import InputError, MissingInput, OptionError
from muybridge.media.sources import Source, clip_sources
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter
from muybridge.recognize import files as recognize_files
from muybridge.recognize.files import RecognizeJob, recognize_file, write_overlay
from muybridge.recognize.windows import Span, WindowConfig
from tests.media.numbered_clips import write_clip


class Brightness:
    """Stands for a recognizer: "light" is the mean of what it was shown."""

    sampling = SamplingConfig(frames=4, rate=8.0, size=(16, 16))
    labels = LabelMap(("light", "dark"), (0, 1))
    multi_label = False
    motion = None
    views = ViewConfig()

    def each_frame(self, clips: torch.Tensor) -> torch.Tensor:
        return clips

    def probabilities_of(self, clips: torch.Tensor) -> torch.Tensor:
        light = clips.float().mean(dim=(1, 2, 3, 4)) / 255
        return torch.stack([light, 1 - light], dim=1)


def write_film(path: Path, levels: list[int], *, rate: int = 25, size: tuple[int, int] = (64, 48), **options) -> Path:
    """A second of noise around each level of grey; no two scenes alike."""
    random = np.random.default_rng(0)
    with VideoWriter(path, width=size[0], height=size[1], rate=Fraction(rate), **options) as writer:
        for level in levels:
            scene = random.integers(max(level - 40, 0), min(level + 40, 255), (size[1] // 8, size[0] // 8, 3))
            for _ in range(rate):
                writer.write(np.kron(scene, np.ones((8, 8, 1))).astype(np.uint8))
    return path


def source(path: Path) -> Source:
    return Source(str(path), "video", Path(path.name))


def job(**options) -> RecognizeJob:
    return RecognizeJob(Brightness(), **{"windows": WindowConfig(0.5, 0.25), **options})


@pytest.mark.parametrize(("rate", "size"), [(25, (64, 48)), (5, (64, 48)), (240, (64, 48)), (25, (48, 96))])
def test_spans_change_where_the_film_does_at_any_rate_and_shape(tmp_path, rate, size):
    film = write_film(tmp_path / "film.mp4", [220, 220, 30], rate=rate, size=size)
    answer = recognize_file(job(), source(film), quiet=True)
    assert [span.label for span in answer.spans] == ["light", "dark"]
    assert answer.spans[0].start == 0.0
    assert answer.spans[0].end == answer.spans[1].start == pytest.approx(2.0, abs=0.25)
    assert answer.spans[1].end == pytest.approx(3.0)
    assert min(span.score for span in answer.spans) > 0.7
    assert answer.num_windows == len(answer.windows) == 11


def test_windows_need_not_be_kept(tmp_path):
    film = write_film(tmp_path / "film.mp4", [220, 30])
    whole = recognize_file(job(), source(film), quiet=True)
    lean = recognize_file(job(), source(film), keep_windows=False, quiet=True)
    assert lean.spans == whole.spans
    assert (lean.num_windows, len(lean.windows)) == (whole.num_windows, 1)


def test_answers_are_told_to_a_few_decimals(tmp_path):
    film = write_film(tmp_path / "film.mp4", [220, 30], rate=7)
    answer = recognize_file(job(windows=WindowConfig(0.3, 1 / 7)), source(film), quiet=True)
    for span, told in zip(answer.spans, [span.to_json() for span in answer.spans], strict=True):
        assert told["label"] == span.label
        assert (told["start"], told["end"]) == pytest.approx((span.start, span.end), abs=5e-4)
        assert told["score"] == pytest.approx(span.score, abs=5e-5)
        assert [len(repr(told[name]).partition(".")[2]) <= 3 for name in ("start", "end")] == [True, True]
        assert len(repr(told["score"]).partition(".")[2]) <= 4
    window, told = answer.windows[1], answer.windows[1].to_json(top=1)
    ((name, score),) = window.prediction.top(1)
    assert told == {
        "start": round(window.start, 3),
        "end": round(window.end, 3),
        "top": [{"label": name, "score": round(score, 4)}],
    }
    assert score != round(score, 4) and window.start != round(window.start, 3)


def test_a_clip_of_one_frame_has_an_answer(tmp_path):
    clip = write_clip(tmp_path / "one.mp4", 1)
    answer = recognize_file(job(), source(clip), quiet=True)
    assert answer.num_windows == 1
    assert answer.spans[0].start == 0.0


def test_shots_end_windows_at_their_cuts(tmp_path):
    pytest.importorskip("scenedetect")
    film = write_film(tmp_path / "film.mp4", [220, 30, 200])
    answer = recognize_file(job(windows=WindowConfig(0.8, 0.4), shots=True), source(film), quiet=True)
    assert [(s.start, s.end, s.label) for s in answer.spans] == [
        (0.0, 1.0, "light"),
        (1.0, 2.0, "dark"),
        (2.0, 3.0, "light"),
    ]
    assert all(int(w.start) == int(w.end - 1e-6) for w in answer.windows)  # none over a cut


def test_a_film_that_goes_on_after_its_stated_end_is_looked_at_to_its_real_end(tmp_path, monkeypatch):
    film = write_film(tmp_path / "film.mp4", [220, 220, 30])
    reader = VideoReader(film)
    stated = type(reader.info)(**{**vars(reader.info), "duration_seconds": Fraction(3, 2)})
    monkeypatch.setattr(VideoReader, "info", property(lambda _: stated))
    monkeypatch.setattr(recognize_files, "open_source", lambda *_, **__: reader)
    spans = recognize_file(job(), source(film), quiet=True).spans
    assert spans[-1].label == "dark"
    assert spans[-1].end == pytest.approx(3.0)


def test_the_overlay_keeps_times_size_and_picture_and_names_the_label(tmp_path):
    film = write_film(tmp_path / "film.mp4", [220, 30], size=(320, 240))
    answer = recognize_file(job(), source(film), quiet=True)
    write_overlay(answer, source(film), tmp_path / "over.mp4", quiet=True)
    with VideoReader(film) as before, VideoReader(tmp_path / "over.mp4") as after:
        pairs = list(zip(before, after, strict=True))
    assert [a.pts_seconds for a, _ in pairs] == [b.pts_seconds for _, b in pairs]
    difference = np.stack([np.abs(a.image.astype(int) - b.image) for a, b in pairs])
    assert difference[:, 140:].mean() < 3  # the encoder's loss alone
    assert difference[:, :30, :60].mean() > 20
    # The plate's second bar belongs to "dark" in the first scene and to "light" in the second.
    early, late = pairs[5][1].image[:60, :140], pairs[45][1].image[:60, :140]
    assert np.abs(early.astype(int) - late).mean() > 5


# ---- what the user named ----


def test_a_folder_gives_its_videos_and_not_its_pictures(tmp_path):
    write_clip(tmp_path / "b 10.mp4", 2)
    write_clip(tmp_path / "b 2.mp4", 2)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "thumbnail.jpg")
    assert [Path(s.location).name for s in clip_sources([str(tmp_path)])] == ["b 2.mp4", "b 10.mp4"]


def test_folders_of_pictures_are_clips(tmp_path):
    for name, level in (("light", 230), ("dark", 20)):
        (tmp_path / name).mkdir()
        for number in range(12):
            Image.fromarray(np.full((40, 30, 3), level, np.uint8)).save(tmp_path / name / f"{number}.png")
    sources = clip_sources([str(tmp_path)])
    assert [str(s.relative.relative_to(tmp_path.name)) for s in sources] == ["dark", "light"]
    for clip in sources:
        answer = recognize_file(job(), clip, quiet=True)
        assert [span.label for span in answer.spans] == [clip.path.name]
        assert answer.spans[0] == Span(0.0, 12 / 25, clip.path.name, answer.spans[0].score)
    write_overlay(answer, clip, tmp_path / "over.mp4", quiet=True)
    with VideoReader(tmp_path / "over.mp4") as reader:
        assert len(list(reader)) == 12


def test_devices_and_addresses_are_live(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = clip_sources(["0", "/dev/video3", "rtsp://camera.example/stream"])
    assert [(s.location, s.kind) for s in named] == [
        ("/dev/video0", "stream"),
        ("/dev/video3", "stream"),
        ("rtsp://camera.example/stream", "stream"),
    ]
    write_clip(tmp_path / "1.mp4", 1).rename("1")
    assert clip_sources(["1"])[0].kind == "video"  # a file of that name comes first


def test_a_still_picture_is_refused(tmp_path):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "still.jpg")
    (picture,) = clip_sources([str(tmp_path / "still.jpg")])
    with pytest.raises(InputError, match=r"still\.jpg is a picture"):
        recognize_file(job(), picture, quiet=True)
    with pytest.raises(MissingInput, match=r"nowhere\.mp4"):
        clip_sources([str(tmp_path / "nowhere.mp4")])


@pytest.mark.parametrize("wrong", [{"top": 0}, {"batch_size": 0}, {"threshold": 1.5}, {"threshold": float("nan")}])
def test_numbers_of_a_job_must_make_sense(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        job(**wrong)
