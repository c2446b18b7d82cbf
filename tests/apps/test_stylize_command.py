"""`muybridge stylize` from files to files: what comes out, what is said, and what is left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from muybridge.apps.cli import main
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter
from tests.localize.localized_videos import small_localizer
from tests.stylize.conftest import model_file, smooth_picture  # noqa: F401 - a fixture


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a photograph, a clip with sound, and a painting; also the working folder."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(smooth_picture(48, 60, 1)).save("photo.jpg")
    Image.fromarray(smooth_picture(40, 40, 2)).save("painting.png")
    write_clip(Path("clip.mp4"))
    return tmp_path


def write_clip(path: Path, *, frames: int = 8, size: tuple[int, int] = (40, 56)) -> None:
    """A moving picture with a tone, in AAC."""
    with av.open("tone.mka", "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        tone = (np.sin(np.arange(16000 * frames // 25) / 9) * 8000).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        sound.rate = 16000
        for frame in av.AudioResampler(format="fltp", layout="mono", rate=16000, frame_size=1024).resample(sound):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    canvas = smooth_picture(size[0], size[1] + 60, 4)
    with VideoWriter(path, width=size[1], height=size[0], rate=Fraction(25), tracks_from="tone.mka") as writer:
        for i in range(frames):
            writer.write(np.ascontiguousarray(canvas[:, i * 2 % 60 :][:, : size[1]]))
    Path("tone.mka").unlink()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["stylize", *arguments])
    return stopped.value.code


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_a_picture_and_a_video_are_painted_whole(folder, model_file, capsys):  # noqa: F811
    code = run("photo.jpg", "clip.mp4", "-s", "painting.png", "--model", str(model_file), "--style-size", "40")
    assert code == 0
    assert capsys.readouterr().out.split() == ["photo.stylized.jpg", "clip.stylized.mp4"]
    with Image.open("photo.stylized.jpg") as painted:
        assert painted.size == (60, 48)
    with VideoReader("clip.mp4") as before, VideoReader("clip.stylized.mp4") as after:
        frames = [(a, b) for a, b in zip(before, after, strict=True)]
        assert [a.pts_seconds for a, _ in frames] == [b.pts_seconds for _, b in frames]
        assert all(a.image.shape == b.image.shape for a, b in frames)
        assert np.abs(frames[3][0].image.astype(int) - frames[3][1].image).mean() > 5  # something was painted
    assert sound_packets(folder / "clip.mp4") == sound_packets(folder / "clip.stylized.mp4")
    assert len(list(folder.iterdir())) == 5


def test_a_size_makes_videos_even_and_leaves_pictures_exact(folder, model_file, capsys):  # noqa: F811
    write_clip(Path("wide.mp4"), size=(40, 70))
    options = ["-s", "painting.png", "--model", str(model_file), "--style-size", "40", "--size", "32", "-o", "out"]
    assert run("photo.jpg", "wide.mp4", "clip.mp4", *options) == 0
    assert "odd" not in capsys.readouterr().err
    with Image.open("out/photo.jpg") as painted:
        assert painted.size == (40, 32)
    for name, size in (("wide.mp4", (56, 32)), ("clip.mp4", (44, 32))):  # 56.0, and 44.8 rounded to even
        with VideoReader(Path("out") / name) as reader:
            assert (reader.info.width, reader.info.height) == size
    assert run("wide.mp4", *options[:-4], "--size", "33", "-o", "odd.gif") == 0
    with Image.open("odd.gif") as painted:
        assert painted.size == (58, 33)


def test_a_gif_becomes_a_gif(folder, model_file, capsys):  # noqa: F811
    frames = [Image.fromarray(smooth_picture(40, 56, seed)) for seed in range(3)]
    frames[0].save("in.gif", save_all=True, append_images=frames[1:], duration=[60, 200, 2500], loop=4)
    frames[0].save("still.gif")
    options = ["-s", "painting.png", "--model", str(model_file), "--style-size", "40"]
    assert run("in.gif", *options, "-o", "out.gif") == 0
    assert run("still.gif", *options, "-o", "still.out.gif") == 0
    assert capsys.readouterr().out.split() == ["out.gif", "still.out.gif"]
    with Image.open("out.gif") as painted, Image.open("in.gif") as before:
        assert (painted.n_frames, painted.size, painted.info["loop"]) == (3, (56, 40), 4)
        for number, delay in enumerate([60, 200, 2500]):
            painted.seek(number)
            before.seek(number)
            assert painted.info["duration"] == delay
            shown, was = (np.asarray(image.convert("RGB")).astype(int) for image in (painted, before))
            assert np.abs(shown - was).mean() > 5  # something was painted
    with Image.open("still.out.gif") as painted:
        assert painted.size == (56, 40)


def test_an_output_folder_keeps_names_and_places(folder, model_file, capsys):  # noqa: F811
    (folder / "in" / "deeper").mkdir(parents=True)
    for name in ("in/b 10.png", "in/b 2.png", "in/deeper/b 2.png"):
        Image.fromarray(smooth_picture(32, 32)).save(name)
    assert run("in", "-s", "painting.png", "-o", "out", "--model", str(model_file), "--style-size", "40") == 0
    assert capsys.readouterr().out.splitlines() == ["out/b 2.png", "out/b 10.png", "out/deeper/b 2.png"]


def test_transparency_stays(folder, model_file):  # noqa: F811
    alpha = np.zeros((40, 40), np.uint8)
    alpha[5:20] = 130
    Image.fromarray(np.dstack([smooth_picture(40, 40), alpha])).save("cut.png")
    assert run("cut.png", "-s", "painting.png", "-o", "out.png", "--model", str(model_file)) == 0
    with Image.open("out.png") as painted:
        assert np.array_equal(np.asarray(painted)[..., 3], alpha)


def test_of_an_animated_picture_the_first_is_painted_and_the_loss_is_said(folder, model_file, capsys):  # noqa: F811
    frames = [Image.fromarray(smooth_picture(40, 40, seed)) for seed in range(3)]
    frames[0].save("moving.webp", save_all=True, append_images=frames[1:])
    assert run("moving.webp", "-s", "painting.png", "-o", "out.png", "--model", str(model_file)) == 0
    assert "moving.webp holds 3 pictures, of which the first is painted" in capsys.readouterr().err


def test_masks_and_weights_from_the_command_line(folder, model_file):  # noqa: F811
    mask = np.zeros((48, 60), np.uint8)
    mask[:24] = 255
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(smooth_picture(48, 60, 1)).save("photo.png")
    arguments = ["-s", "painting.png=2", "-s", "ember", "--mask", "mask.png", "--model", str(model_file)]
    assert run("photo.png", *arguments, "--style-size", "40", "-o", "out.png") == 0
    with Image.open("photo.png") as before, Image.open("out.png") as after:
        difference = np.abs(np.asarray(before).astype(int) - np.asarray(after))
    assert difference[24:].max() == 0
    assert difference[:24].mean() > 5


def boxes_file(path: str) -> list[str]:
    """Options that say: person 3 stands in the left third of clip.mp4."""
    Path(path).write_text("".join(f"clip,{t},0.05,0.1,0.3,0.9,,3\n" for t in (0, 0.2, 0.4)))
    return ["--boxes", path]


def differences(before: str, after: str) -> np.ndarray:
    """(H, W): how far the frames differ, averaged over time; a little everywhere, from encoding anew."""
    with VideoReader(before) as one, VideoReader(after) as other:
        return np.mean(
            [np.abs(a.image.astype(int) - b.image).mean(2) for a, b in zip(one, other, strict=True)], axis=0
        )


def test_only_a_person_is_painted_or_all_but_them(folder, model_file, capsys):  # noqa: F811
    options = [*boxes_file("boxes.csv"), "--who", "person=3", "-s", "painting.png", "--model", str(model_file)]
    assert run("clip.mp4", *options, "--style-size", "40", "-o", "a.mp4") == 0
    assert run("clip.mp4", *options, "--style-size", "40", "-o", "b.mp4", "--all-but") == 0
    err = capsys.readouterr().err
    assert "clip.mp4 shows 1 person: 3 (left, 0.0 to" in err and "clip.mp4, looking for people" in err
    painted, others = differences("clip.mp4", "a.mp4"), differences("clip.mp4", "b.mp4")
    person, elsewhere = (slice(8, 32), slice(5, 14)), (slice(None), slice(28, None))
    assert painted[person].mean() > 10 * painted[elsewhere].mean()
    assert others[elsewhere].mean() > 10 * others[person].mean()


def test_with_the_built_in_detector_nobody_is_found_in_blobs(folder, model_file, capsys):  # noqa: F811
    Image.open("photo.jpg").save("photo.png")
    assert run("photo.png", "clip.mp4", "-s", "painting.png", "--who", "person", "--model", str(model_file)) == 0
    err = capsys.readouterr().err
    assert "photo.png shows nobody, so it is not painted" in err and "clip.mp4 shows nobody" in err
    with Image.open("photo.png") as before, Image.open("photo.stylized.png") as after:
        assert np.array_equal(np.asarray(before), np.asarray(after))
    assert differences("clip.mp4", "clip.stylized.mp4").mean() < 3


def test_actions_are_those_of_the_localizer(folder, model_file, capsys, monkeypatch):  # noqa: F811
    small_localizer().save("localizer.safetensors")
    arguments = ["clip.mp4", "-s", "painting.png", "--model", str(model_file), "-o", "out.mp4", "--doing"]
    given = ["--localizer", "localizer.safetensors", *boxes_file("boxes.csv")]
    assert run(*arguments, "fly", *given) == 2
    assert "'fly' is no action that is known here. There are: stand, walk, carry" in capsys.readouterr().err
    assert not Path("out.mp4").exists()
    assert run(*arguments, "stand", "--doing", "walk", *given) == 0
    assert Path("out.mp4").exists()
    monkeypatch.setattr("muybridge.localize.options.BUILT_IN", {})
    assert run(*arguments, "stand") == 2
    assert "Name it with --localizer" in capsys.readouterr().err


def test_one_broken_file_is_named_and_the_rest_goes_on(folder, model_file, capsys):  # noqa: F811
    (folder / "broken.jpg").write_bytes(b"")
    code = run("broken.jpg", "photo.jpg", "-s", "painting.png", "-o", "out", "--model", str(model_file))
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out.split() == ["out/photo.jpg"]
    assert "broken.jpg" in printed.err and "1 of 2 inputs failed" in printed.err
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["photo.jpg"]


def test_a_truncated_video_is_painted_as_far_as_it_goes_and_the_loss_is_said(folder, model_file, capsys):  # noqa: F811
    write_clip(Path("long.mp4"), frames=60)
    whole = (folder / "long.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) * 3 // 5])
    assert run("cut.mp4", "-s", "painting.png", "--model", str(model_file), "--style-size", "40") == 0
    with VideoReader("cut.stylized.mp4") as reader:
        count = len(list(reader))
    assert 5 < count < 60
    assert f"cut short: {count} frames, until" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.jpg", "-s", "painting.png"], "missing.jpg"),
        (["empty", "-s", "painting.png"], "no pictures and no videos"),
        (["zero.mp4", "-s", "painting.png"], "empty (0 bytes)"),
        (["text.mp4", "-s", "painting.png"], "text.mp4"),
        (["sound.mp4", "-s", "painting.png"], "no pictures, only sound"),
        (["photo.jpg", "-s", "nowhere.png"], "nowhere.png"),
        (["photo.jpg", "-s", "text.mp4"], "text.mp4"),
        (["photo.jpg", "-s", "painting.png=much"], "'much' is no weight"),
        (["photo.jpg", "-s", "painting.png", "--strength", "1.7"], "strength=1.7"),
        (["photo.jpg", "-s", "painting.png", "--size", "100000"], "size=100000: a painting of 125000x100000 needs"),
        (["clip.mp4", "-s", "painting.png", "--size", "100000"], "size=100000: a painting of 140000x100000 needs"),
        (["photo.jpg", "-s", "ember", "--style-size", "1000000"], "style_size=1000000: a painting"),
        (["photo.jpg", "-s", "painting.png", "--mask", "portrait.png"], "portrait.png is 20x40"),
        (["photo.jpg", "-s", "painting.png", "-o", "photo.jpg"], "would replace"),
        (["photo.jpg", "-s", "painting.png", "-o", "painting.png/out.png"], "cannot write"),
        (["photo.jpg", "-s", "painting.png", "-o", "out.xyz"], "out.xyz"),
        (["photo.jpg", "clip.mp4", "-s", "painting.png", "-o", "one.png"], "cannot go into one file"),
        (["clip.mp4", "-s", "painting.png", "--who", "person", "--mask", "photo.jpg"], "Give them, or --mask"),
        (["clip.mp4", "-s", "painting.png", "--who", "dog"], "'dog' names nobody"),
        (["clip.mp4", "-s", "painting.png", "--who", "person=2"], "nobody has the number 2: clip.mp4 shows nobody"),
        (["clip.mp4", "-s", "painting.png", "--all-but"], "--all-but is about people"),
        (["clip.mp4", "-s", "painting.png", "--who", "person", "--localizer", "x"], "Add --doing"),
        (["clip.mp4", "-s", "painting.png", "--who", "person", "--detector", "no.onnx"], "no.onnx"),
        (["clip.mp4", "-s", "painting.png", "--doing", "walk", "--localizer", "no.safetensors"], "no.safetensors"),
        (["photo.jpg", "-s", "painting.png", "--model", "pickled.pt"], "pickle"),
        (["photo.jpg", "-s", "painting.png", "--model", "nothing.safetensors"], "nothing.safetensors"),
    ],
)
def test_mistakes_end_in_one_line_exit_code_2_and_no_file(folder, model_file, capsys, arguments, says):  # noqa: F811
    import torch

    (folder / "empty").mkdir()
    (folder / "zero.mp4").touch()
    (folder / "text.mp4").write_text("not a video\n" * 40)
    with av.open("sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    Image.fromarray(np.zeros((40, 20), np.uint8)).save("portrait.png")
    torch.save({"a": torch.zeros(1)}, "pickled.pt")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if "--model" not in arguments:
        arguments = [*arguments, "--model", str(model_file)]
    capsys.readouterr()
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert len([line for line in error.splitlines() if line.startswith("muybridge: ")]) == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("many", [[], ["--results", "all"]])
def test_resume_paints_in_segments_beside_the_result(folder, model_file, many, capsys):  # noqa: F811
    job = folder / "out" / "clip.mp4.parts" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text("of another painting")
    command = ["clip.mp4", "-s", "painting.png", "--model", str(model_file), *many]
    command += ["-o", "out"] if many else ["-o", "out/clip.mp4"]
    assert run(*command, "--resume") == 2
    assert "holds parts of another painting" in capsys.readouterr().err
    shutil.rmtree(job.parent)
    assert run(*command, "--resume", *(["--retry-failed"] if many else [])) == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["clip.mp4"]


def test_a_live_stream_cannot_be_gone_on_with(folder, model_file, capsys):  # noqa: F811
    command = ["rtsp://127.0.0.1:1/live", "-s", "painting.png", "--model", str(model_file), "-o", "live.mp4"]
    assert run(*command, "--resume") == 2
    assert "is live" in capsys.readouterr().err


def test_unknown_flags_and_missing_styles_exit_with_2(folder, capsys):
    assert run("photo.jpg", "-s", "painting.png", "--stregth", "1") == 2
    assert "--strength" in capsys.readouterr().err
    assert run("photo.jpg") == 2


def test_debug_shows_the_traceback(folder, capsys):
    assert run("missing.jpg", "-s", "ember", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_leaves_no_file_and_one_line(folder, model_file):  # noqa: F811
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)); "
        "from muybridge.apps.cli import main; main(sys.argv[1:])"
    )
    for name in ("photo.jpg", "clip.mp4"):
        arguments = ["stylize", name, "-s", "painting.png", "--model", str(model_file), "-o", f"out/{name}"]
        done = subprocess.run(
            [sys.executable, "-c", limited, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert "full" in done.stderr and "Traceback" not in done.stderr
        assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_it_no_half_file_is_left(folder, model_file, how):  # noqa: F811
    write_clip(Path("long.mp4"), frames=1500)
    command = [sys.executable, "-m", "muybridge.apps.cli", "stylize", "long.mp4", "-s", "painting.png"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--model", str(model_file), "-o", "out/long.mp4"], stderr=subprocess.PIPE, env=environment
    )
    deadline = time.monotonic() + 120
    while not list((folder / "out").glob(".*partial*")) if (folder / "out").exists() else True:
        assert process.poll() is None and time.monotonic() < deadline, "it never began to write"
        time.sleep(0.05)
    process.send_signal(how)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in error and b"Traceback" not in error
    assert list((folder / "out").iterdir()) == []


def test_help_imports_no_model_code():
    probe = "import sys; from muybridge.apps import cli; print('torch' in sys.modules, 'timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
