"""HDR against the formulas of ITU-R BT.2100 and BT.2408, written here forwards in float64 for single colours."""

import itertools
import math
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from muybridge.media.video_reader import VideoReader

WHITE_NITS, PEAK_NITS = 203.0, 1000.0
# Linear BT.709 to linear BT.2020, ITU-R BT.2087, table 1.
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
LUMINANCE = np.array([0.2627, 0.6780, 0.0593])


def pq(nits: float) -> float:
    """BT.2100, table 4, inverse EOTF."""
    y = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def hlg(scene: float) -> float:
    """BT.2100, table 5, OETF."""
    return math.sqrt(3 * scene) if scene <= 1 / 12 else 0.17883277 * math.log(12 * scene - 0.28466892) + 0.55991073


def signal_of(nits_2020: np.ndarray, transfer: str) -> np.ndarray:
    if transfer == "PQ":
        return np.array([pq(max(value, 0.0)) for value in nits_2020])
    luminance = float(LUMINANCE @ nits_2020) / PEAK_NITS  # of the display; that of the scene is its 1/1.2 power
    scale = luminance ** (1 / 1.2 - 1) / PEAK_NITS if luminance > 0 else 0.0
    return np.array([hlg(max(value * scale, 0.0)) for value in nits_2020])


def write_hdr(path: Path, colours_nits_709: list[np.ndarray], transfer: str) -> Path:
    """A film with one plain frame a colour, losslessly, in ten bits of limited range."""
    code = {"PQ": 16, "HLG": 18}[transfer]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.colorspace, context.color_trc, context.color_range = 9, 9, code, 1
        for colour in colours_nits_709:
            r, g, b = signal_of(TO_2020 @ colour, transfer)
            y = float(LUMINANCE @ [r, g, b])
            levels = 64 + 876 * y, 512 + 896 * (b - y) / 1.8814, 512 + 896 * (r - y) / 1.4746
            frame = VideoFrame(32, 16, "yuv420p10le")
            for plane, level in zip(frame.planes, levels, strict=True):
                plane.update(np.full(plane.buffer_size // 2, round(level), "<u2").tobytes())
            frame.color_primaries, frame.colorspace, frame.color_trc, frame.color_range = 9, 9, code, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read_colours(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame.image.reshape(-1, 3).mean(axis=0) for frame in reader]


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_what_a_screen_of_bt709_can_show_comes_out_as_it_was(tmp_path: Path, transfer: str) -> None:
    shown = np.array(
        [(200, 30, 30), (30, 200, 30), (30, 30, 200), (210, 160, 130), (128, 128, 128), (40, 40, 40), (0, 0, 0)]
    )
    light = WHITE_NITS * (shown / 255) ** 2.4
    path = write_hdr(tmp_path / "hdr.mp4", list(light), transfer)
    # Ten bits hold the dark parts of saturated colours to a few levels of 255.
    assert np.abs(np.array(read_colours(path)) - shown).max() < 6
    assert np.abs(np.array(read_colours(path)) - shown)[3:].max() < 2
    with VideoReader(path) as reader:
        assert len(reader.notes) == 1
        assert f"hdr.mp4 is HDR ({transfer})" in reader.notes[0]


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_highlights_stay_apart_up_to_the_peak(tmp_path: Path, transfer: str) -> None:
    grey = [np.full(3, nits) for nits in (100, 160, 203, 300, 450, 700, 1000)]
    levels = [colour.mean() for colour in read_colours(write_hdr(tmp_path / "hdr.mp4", grey, transfer))]
    assert levels[0] == pytest.approx(255 * (100 / 203) ** (1 / 2.4), abs=2)
    assert 235 < levels[2] < 250  # a white page is near white, and has room above it
    assert all(later > earlier + 0.9 for earlier, later in itertools.pairwise(levels))
    assert levels[-1] >= 254


def test_a_bright_colour_keeps_its_hue(tmp_path: Path) -> None:
    (colour,) = read_colours(write_hdr(tmp_path / "hdr.mp4", [np.array([800.0, 200.0, 200.0])], "PQ"))
    linear = (colour / 255) ** 2.4
    np.testing.assert_allclose(linear / linear.max(), [1, 0.25, 0.25], atol=0.02)


# FFmpeg 5.1 with zimg 3.0 gave 244 for such a film of the white page, by zscale=t=linear:npl=203, zscale=p=bt709,
# tonemap=mobius:param=0.8:peak=4.926:desat=0 and zscale=t=bt709.
def test_what_another_library_made_of_the_same(tmp_path: Path) -> None:
    (white,) = read_colours(write_hdr(tmp_path / "pq.mp4", [np.full(3, WHITE_NITS)], "PQ"))
    np.testing.assert_allclose(white, 244, atol=1.5)


def transparent(path: Path, alpha: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("prores_ks", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuva444p10le"
        pixels = np.full((32, 64, 4), (90, 160, 60, alpha), np.uint8)
        container.mux(stream.encode(VideoFrame.from_ndarray(pixels, format="rgba")))
        container.mux(stream.encode())
    return path


def test_transparency_is_noted_where_there_is_any(tmp_path: Path) -> None:
    with VideoReader(transparent(tmp_path / "half.mov", 128)) as reader:
        assert len(reader.notes) == 1
        assert "half.mov is transparent in places" in reader.notes[0]
        assert np.abs(next(iter(reader)).image.astype(int) - (90, 160, 60)).max() < 5
    with VideoReader(transparent(tmp_path / "full.mov", 255)) as reader:
        assert not reader.notes
