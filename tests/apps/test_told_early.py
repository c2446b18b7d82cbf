"""What is wrong with an input or a model's name is told before anything is imported that only a model needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.media.numbered_clips import write_clip

ROOT = Path(__file__).parents[2]
# Runs commands one after another in one process; after each, its exit code and the modules that are there.
RUNNER = """
import json, sys
from muybridge.apps.cli import main
for command in json.loads(sys.argv[1]):
    try:
        main(command.split())
    except SystemExit as stopped:
        print(json.dumps([stopped.code, sorted(sys.modules)]), file=sys.stderr)
"""
VERBS = ("localize", "recognize", "stylize --style ember", "watch --no-show -o out.mp4")
FILMS_ONLY = [verb for verb in VERBS if not verb.startswith("stylize")]
TOLD = {
    **{f"{verb} film.mp4 --model nobody": "there is no model 'nobody'" for verb in VERBS[1:]},
    **{f"{verb} film.mp4 --model text.safetensors": "text.safetensors" for verb in VERBS},
    "localize film.mp4 --model nobody": "there is no model 'nobody'",
    "localize film.mp4 --bank-model nobody": "there is no model 'nobody'",
    "watch film.mp4 --localizer nobody -o out.mp4": "there is no model 'nobody'",
    "write-bank film.mp4 -m nobody -o banks": "there is no model 'nobody'",
    "write-bank still.png -m people_actions -o banks": "still.png is a picture",
    **{f"{verb} notes.txt": "notes.txt" for verb in VERBS},
    **{
        f"{verb} still.png": "picture, in which nothing happens. Give a video or a folder of frames"
        for verb in FILMS_ONLY
    },
    **{
        f"{verb} film.mp4 {out} still.png": "cannot write a video as 'still.png'"
        for verb, out in (("stylize --style ember", "-o"), ("localize", "-o"), ("recognize", "--overlay"))
    },
    "watch --no-show film.mp4 -o still.png": "cannot write a video as 'still.png'",
    "recognize still.png --overlay made": "still.png is a picture, in which nothing happens",
    "stylize --style ember still.png -o made.mp4": "cannot write a picture as 'made.mp4'",
    "stylize --style ember still.png -o made.svg": "cannot write a picture as 'made.svg'",
    "stylize --style ember still.png --preview 1": "--preview is of films",
    "stylize --style ember film.mp4 --resume -o made.gif": "made.gif is written at once",
    "stylize --style ember http://nowhere/film --resume": "http://nowhere/film is live",
    "stylize --style ember --style comic --style woodcut film.mp4 --mask still.png --mask still.png": "2 masks for 3",
    "stylize --style nobodys.jpg film.mp4": "there is no style 'nobodys.jpg'",
    "stylize --style ember --style nobodys.jpg=2 still.png": "there is no style 'nobodys.jpg'",
    "localize http://nowhere/film --attention": "http://nowhere/film is live",
    "watch --no-show http://nowhere/film --every-frame -o made.mp4": "http://nowhere/film is live",
    **{f"{verb} notes.txt more.txt": "2 of 2 inputs failed" for verb in VERBS[:3]},
}
ONLY_FOR_MODELS = {"timm", "torchvision", "scipy", "muybridge.pretrained", "muybridge.people.detectors"}


def test_mistakes_are_told_without_the_model(tmp_path) -> None:
    write_clip(tmp_path / "film.mp4", 3)
    Image.new("RGB", (64, 48)).save(tmp_path / "still.png")
    for name in ("notes.txt", "more.txt", "text.safetensors"):
        (tmp_path / name).write_text("no film, no picture, no model\n" * 20)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(list(TOLD))],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    said = list[str]()
    answers = list[tuple[str, int, set[str]]]()
    for line in done.stderr.splitlines():
        if line.startswith("["):
            code, modules = json.loads(line)
            answers.append(("\n".join(said), code, set(modules)))
            said.clear()
        else:
            said.append(line)
    for (command, told), (text, code, modules) in zip(TOLD.items(), answers, strict=True):
        assert code == 2, command
        assert told in text and text.count("\n") <= 2, command
        assert not ONLY_FOR_MODELS & modules, command
