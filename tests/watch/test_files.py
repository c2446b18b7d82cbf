"""From a source to a file and a window: what comes out, what ends it, and that nothing half-written is left."""

import _thread
import re
import threading
import urllib.request
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from muybridge.data.clips.sampling import ViewConfig
from muybridge.errors import BrokenMedia, InputError, ModelError, OptionError, OutputError
from muybridge.localize.options import LocalizeConfig
from muybridge.media.images import write_image
from muybridge.media.newest_frame import WallClock
from muybridge.media.sources import Source
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter
from muybridge.people.detector import Detections
from muybridge.recognize.windows import WindowConfig
from muybridge.stylize.stylizer import StylizeConfig
from muybridge.watch import files as watch_files
from muybridge.watch.files import WatchJob, open_scaled, watch_source
from muybridge.watch.watch import WatchReport
from tests.localize.localized_videos import small_localizer
from tests.media.test_frame_server import next_picture
from tests.media.test_newest_frame import TestClock
from tests.recognize.test_files import Brightness

RATE = 10


class Light(Brightness):
    views = ViewConfig()
    is_causal = False


class Finder:
    """Finds one person, the left half of each frame; calls `then` with the number of frames seen."""

    classes = ("person",)

    def __init__(self, then=lambda count: None) -> None:
        self._then = then
        self.count = 0

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        self.count += 1
        self._then(self.count)
        height, width = frames.shape[1:3]
        box = np.array([[0, 0, width / 2, height]], np.float32)
        return [Detections(box, np.array([0.9], np.float32), np.zeros(1, np.int64)) for _ in frames]


def write_film(path: Path, count: int = 20, *, size: tuple[int, int] = (96, 64)) -> Source:
    """Frame i is of grey 6 i, so that a frame tells its number."""
    with VideoWriter(path, width=size[0], height=size[1], rate=Fraction(RATE), crf=4) as writer:
        for index in range(count):
            writer.write(np.full((size[1], size[0], 3), 6 * index % 256, np.uint8))
    return Source(str(path), "video", Path(path.name))


def numbers_in(path: Path) -> list[int]:
    """Of a film that `write_film` wrote, drawn on at the left and top alone."""
    with VideoReader(path) as reader:
        return [round(float(frame.image[-8:, -8:].mean()) / 6) for frame in reader]


def times_in(path: Path) -> list[float]:
    with VideoReader(path) as reader:
        return [float(frame.pts_seconds) for frame in reader]


def watch(job: WatchJob, source: Source, out: Path | None, *, show: bool = False, clock=None) -> list[str]:
    notes = watch_source(job, source, out=out, show=show, quiet=True, clock=clock or TestClock())
    assert not [t.name for t in threading.enumerate() if t.name.startswith("muybridge-")]
    return notes


def everyone(**options) -> WatchJob:
    """All that can look, at films of 2 s."""
    windows, localize = WindowConfig(0.5, 0.25), LocalizeConfig(every=0.5, look_every=0.1, threshold=0.0)
    return WatchJob(Light(), Finder(), small_localizer(), windows=windows, localize=localize, **options)


# ---- what comes out ----


def test_every_frame_of_a_film_is_written_with_its_time(tmp_path):
    source = write_film(tmp_path / "film.mp4")
    notes = watch(everyone(every_frame=True), source, tmp_path / "out.mp4", clock=WallClock())
    assert numbers_in(tmp_path / "out.mp4") == list(range(20))
    assert times_in(tmp_path / "out.mp4") == times_in(tmp_path / "film.mp4")
    assert notes[0].startswith("20 shown, 0 dropped (0%)")
    assert "people" in notes[0] and "actions" in notes[0] and "labels" in notes[0] and "delay" not in notes[0]
    with VideoReader(tmp_path / "out.mp4") as reader:
        last = list(reader)[-1].image.astype(int)
    assert np.abs(last[:30, :40] - 114).max() > 60  # words
    assert np.abs(last[60:, 20:44] - 114).max() > 60  # the lower side of the box
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "out.mp4"]


def test_what_is_dropped_is_missing_and_what_is_there_has_its_own_time(tmp_path):
    """With a clock that only leaps, the film runs as fast as it is read; what is shown is in order and in time."""
    source = write_film(tmp_path / "film.mp4", 40)
    notes = watch(everyone(), source, tmp_path / "out.mp4")
    numbers = numbers_in(tmp_path / "out.mp4")
    assert numbers == sorted(set(numbers)) and numbers[-1] == 39
    # A file's times are read from its first picture on, which need not be the film's first.
    assert times_in(tmp_path / "out.mp4") == pytest.approx([(n - numbers[0]) / RATE for n in numbers])
    assert notes[0].startswith(f"{len(numbers)} shown, {40 - len(numbers)} dropped")
    assert "delay" in notes[0]


@pytest.mark.parametrize(("dropped", "is_told"), [(39, True), (0, False)])
def test_where_most_of_a_film_is_missing_a_note_says_how_to_have_all(tmp_path, monkeypatch, dropped, is_told):
    monkeypatch.setattr(WatchReport, "dropped", property(lambda _: dropped))
    notes = watch(everyone(), write_film(tmp_path / "film.mp4", 20), tmp_path / "out.mp4")
    assert any("--every-frame" in note for note in notes) == is_told
    assert not any("--every-frame" in note for note in watch(everyone(), write_film(tmp_path / "b.mp4", 9), None))


def test_a_painter_paints(tmp_path, stylizer, painting):
    source = write_film(tmp_path / "film.mp4", 6, size=(64, 48))
    style = stylizer.encode_style(painting, size=64)
    job = WatchJob(stylizer=stylizer, styles=[style], stylize=StylizeConfig(), every_frame=True)
    watch(job, source, tmp_path / "out.mp4")
    with VideoReader(tmp_path / "film.mp4") as film, VideoReader(tmp_path / "out.mp4") as out:
        expected = [f.image for f in stylizer.stream(film, [style], temporal=None)]
        got = [f.image for f in out]
    assert len(got) == len(expected) == 6
    for one, other in zip(got, expected, strict=True):  # but for what H.264 loses, most of it colour
        assert np.abs(one.mean(-1) - other.mean(-1)).mean() < 12
    assert got[0].mean() > 60  # where the film is black


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((96, 64), 0, (96, 64)), ((96, 64), 480, (96, 64)), ((96, 64), 32, (48, 32)), ((64, 96), 33, (32, 50))],
)
def test_frames_are_scaled_down_never_up_to_even_sizes(tmp_path, size, short_side, expected):
    source = write_film(tmp_path / "film.mp4", 2, size=size)
    reader, stated = open_scaled(source, short_side)
    with reader:
        assert stated == expected
        assert {frame.image.shape for frame in reader} == {(expected[1], expected[0], 3)}


def test_a_folder_of_odd_pictures_is_watched(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(3):
        write_image(folder / f"{index}.png", np.full((33, 47, 3), 40 * index, np.uint8))
    watch(WatchJob(every_frame=True), Source(str(folder), "video", Path("frames")), tmp_path / "out.mp4")
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert (reader.info.width, reader.info.height) == (46, 32)
        assert [round(float(frame.image.mean()) / 40) for frame in reader] == [0, 1, 2]


def test_a_stream_is_taken_as_it_comes(tmp_path):
    film = write_film(tmp_path / "film.mp4", 30)
    source = Source(f"file://{film.location}", "stream", Path("stream"))
    watch(WatchJob(detector=Finder()), source, tmp_path / "out.mp4")
    numbers = numbers_in(tmp_path / "out.mp4")
    assert numbers == sorted(set(numbers)) and numbers[-1] == 29


def test_so_many_seconds(tmp_path):
    source = write_film(tmp_path / "film.mp4")
    watch(WatchJob(seconds=0.5, every_frame=True), source, tmp_path / "out.mp4")
    assert numbers_in(tmp_path / "out.mp4") == [0, 1, 2, 3, 4]
    watch(WatchJob(seconds=0.5), source, tmp_path / "live.mp4")
    assert numbers_in(tmp_path / "live.mp4")[-1] == 4


def test_a_page_shows_what_is_written(tmp_path, capsys):
    """The browser looks while a part holds the film at its fifth look."""
    source = write_film(tmp_path / "film.mp4")
    seen = []

    def look(count: int) -> None:
        if count == 5:
            address = re.search(r"http://127\.0\.0\.1:\d+/", capsys.readouterr().err)
            assert address is not None
            with urllib.request.urlopen(address[0] + "stream", timeout=20) as answer:
                seen.append(next_picture(answer))

    job = WatchJob(detector=Finder(look), every_frame=True, localize=LocalizeConfig(look_every=0.1, skip_still=False))
    watch_source(job, source, port=0)
    assert round(float(seen[0][-8:, -8:].mean()) / 6) == 3  # the fourth frame was the last one shown
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


# ---- what ends it ----


class FakeWindow:
    """Stands for the window: remembers what it showed, and is closed after so many pictures."""

    closes_after = 5
    shown: list[np.ndarray]
    left = False

    def __init__(self, title: str) -> None:
        type(self).shown = []

    def __enter__(self) -> "FakeWindow":
        type(self).left = False
        return self

    def __exit__(self, *details: object) -> None:
        type(self).left = True

    def show(self, image: np.ndarray) -> None:
        self.shown.append(image)

    def pump(self) -> bool:
        return len(self.shown) < self.closes_after


@pytest.mark.parametrize("every_frame", [True, False])
def test_closing_the_window_ends_the_file_whole(tmp_path, monkeypatch, every_frame):
    monkeypatch.setattr(watch_files, "Window", FakeWindow)
    source = write_film(tmp_path / "film.mp4", 40)
    job = WatchJob(detector=Finder(), every_frame=every_frame)
    watch(job, source, tmp_path / "out.mp4", show=True)
    numbers = numbers_in(tmp_path / "out.mp4")
    assert 1 <= len(numbers) <= 5 and len(numbers) == len(FakeWindow.shown)
    assert FakeWindow.left
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "out.mp4"]


def test_a_window_alone_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(watch_files, "Window", FakeWindow)
    source = write_film(tmp_path / "film.mp4")
    watch(WatchJob(every_frame=True), source, None, show=True)
    assert len(FakeWindow.shown) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize("live", [True, False])
def test_ctrl_c_ends_the_file_whole(tmp_path, live, monkeypatch):
    source = write_film(tmp_path / "film.mp4", 40)
    interrupted, shown = threading.Event(), threading.Event()
    monkeypatch.setattr(watch_files, "_tell", lambda *_, **__: shown.set())

    def press(count: int) -> None:
        if count == (1 if live else 4):
            assert shown.wait(20)
            _thread.interrupt_main()
            interrupted.set()

    class Camera(TestClock):
        def wait(self, seconds: float, stopped: threading.Event) -> None:
            # The fifth frame comes only after the key was pressed.
            super().wait(seconds, stopped)
            if self.time > 100.45:
                interrupted.wait(20)

    job = WatchJob(detector=Finder(press), every_frame=not live, localize=LocalizeConfig(look_every=0.01))
    watch(job, source, tmp_path / "out.mp4", clock=Camera())
    numbers = numbers_in(tmp_path / "out.mp4")
    assert 1 <= len(numbers) < 40 and numbers == sorted(set(numbers))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "out.mp4"]


@pytest.mark.parametrize("every_frame", [True, False])
def test_a_part_that_fails_leaves_no_file(tmp_path, every_frame):
    def fail(count: int) -> None:
        raise ValueError(f"the network broke at look {count}")

    source = write_film(tmp_path / "film.mp4", 60)
    job = WatchJob(detector=Finder(fail), every_frame=every_frame, localize=LocalizeConfig(look_every=0.01))

    class Slow(TestClock):
        """Frames come only when there was time to look at the one before."""

        def wait(self, seconds: float, stopped: threading.Event) -> None:
            super().wait(seconds, stopped)
            stopped.wait(0.01)

    with pytest.raises(ModelError, match="the detector failed on 5 frames in a row"):
        watch(job, source, tmp_path / "out.mp4", clock=Slow())
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_look_that_fails_now_and_then_is_told_of(tmp_path):
    def stumble(count: int) -> None:
        if count == 3:
            raise ValueError("a frame it could not bear")

    source = write_film(tmp_path / "film.mp4")
    notes = watch(WatchJob(detector=Finder(stumble), every_frame=True), source, tmp_path / "out.mp4")
    assert any("a frame it could not bear" in note for note in notes)
    assert numbers_in(tmp_path / "out.mp4") == list(range(20))


# ---- mistakes ----


def test_inputs_and_options_that_cannot_be_are_refused(tmp_path):
    film = write_film(tmp_path / "film.mp4")
    stream = Source(f"file://{film.location}", "stream", Path("stream"))
    with pytest.raises(OptionError, match="--every-frame"):
        watch(WatchJob(every_frame=True), stream, tmp_path / "out.mp4")
    with pytest.raises(OptionError, match="--speed"):
        WatchJob(every_frame=True, speed=2.0)
    for wrong in ({"size": -1}, {"speed": 0.0}, {"seconds": -2.0}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            WatchJob(**wrong)
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 99)
    with pytest.raises(BrokenMedia):
        watch(WatchJob(), Source(str(tmp_path / "broken.mp4"), "video", Path("broken.mp4")), tmp_path / "out.mp4")
    with pytest.raises(InputError, match="is a picture"):
        watch(WatchJob(), Source("still.png", "image", Path("still.png")), tmp_path / "out.mp4")
    with pytest.raises(OutputError):
        watch(WatchJob(), film, tmp_path / "film.mp4" / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mp4", "film.mp4"]
