"""Every reader, and what breaks its files. A new reader is one more line in `TARGETS`.

    Target("name in the table", seed function or functions, mutators, command with {file} or function of the path)

Take the seeds from `seeds.py` and the mutators from `mutators.py`: `BYTES` for any file, `MODEL` for safetensors
files of muybridge, or functions of your own, of (bytes, random.Random) to bytes. Films and pictures have both in
`media.py`; annotations, lists and what a training goes on from have theirs in `annotations.py`.
"""

from torture import media, scenarios, seeds
from torture.annotations import ANNOTATION_TARGETS
from torture.harness import MB, Target
from torture.mutators import BYTES, MODEL, repacked

_RECOGNIZE = ("recognize", "{folder}/film.mp4", "--device", "cpu", "--format", "json", "-o", "answer.json")
_LOCALIZE = (
    "localize", "{folder}/film.mp4", "--device", "cpu", "--every", "500ms", "--no-video", "--no-report",
    "-o", "out.mp4",
)  # fmt: skip
_STYLIZE = ("stylize", "{folder}/picture.png", "--device", "cpu", "--style-size", "48", "-o", "painted.png")
_BOXES = ("--boxes", "{folder}/boxes.csv")
_RECOGNIZERS = (seeds.recognizer, seeds.convolution_recognizer, seeds.head_recognizer, seeds.full_recognizer)
_LOCALIZERS = (seeds.slowfast_localizer, seeds.adapter_localizer)
_FILM = ("{file}", "--device", "cpu")
_SMALL = ("--style-size", "32", "--patch-size", "3", "--size", "32")
_BREAK_MEDIA = (*BYTES, *media.MEDIA)

TARGETS = (
    *ANNOTATION_TARGETS,
    Target("recognizer", _RECOGNIZERS, MODEL, (*_RECOGNIZE, "--model", "{file}"), memory=500 * MB),
    Target("localizer", _LOCALIZERS, MODEL, (*_LOCALIZE, *_BOXES, "--model", "{file}"), memory=500 * MB),
    Target(
        "stylizer", seeds.stylizer, MODEL, (*_STYLIZE, "--style", "{folder}/picture.png", "--model", "{file}"),
        memory=500 * MB,
    ),
    Target(
        "style", seeds.style, MODEL, (*_STYLIZE, "--model", "{folder}/stylizer.safetensors", "--style", "{file}"),
        memory=500 * MB,
    ),
    Target("detector", seeds.detector, MODEL, (*_LOCALIZE, "--no-actions", "--detector", "{file}"), memory=500 * MB),
    Target("onnx detector", seeds.onnx_detector, BYTES, (*_LOCALIZE, "--no-actions", "--detector", "{file}")),
    Target(
        "bank", seeds.bank, (*MODEL, *BYTES),
        (*_LOCALIZE, *_BOXES, "--model", "{folder}/reader.safetensors", "--banks", "."), memory=500 * MB,
    ),
    Target(
        "weights", (seeds.torch_weights, seeds.old_torch_weights, seeds.safe_weights), (*BYTES, repacked, repacked),
        seeds.read_weights, memory=500 * MB,
    ),
    Target("film", media.FILMS, _BREAK_MEDIA, media.read_film),
    Target("picture", media.PICTURES, _BREAK_MEDIA, media.read_picture),
    Target(
        "recognized film", media.FILMS, _BREAK_MEDIA,
        ("recognize", *_FILM, "--format", "json", "-o", "answer.json"),
    ),
    Target(
        "localized film", media.FILMS, _BREAK_MEDIA,
        ("localize", *_FILM, "--no-actions", "--no-report", "-o", "out.mp4", "--boxes", "{folder}/boxes.csv"),
    ),
    Target(
        "painted film", media.FILMS, _BREAK_MEDIA,
        ("stylize", *_FILM, *_SMALL, "--style", "{folder}/style.png", "--no-temporal", "-o", "painted.mp4"),
    ),
    Target(
        "painted picture", media.PICTURES, _BREAK_MEDIA,
        ("stylize", *_FILM, *_SMALL, "--style", "{file}", "-o", "painted.png"),
    ),
    Target("killed, resumed", scenarios.clips, (scenarios.dice,), scenarios.kill_and_resume, seconds=300, most=5),
    Target("full disk", scenarios.commands, (scenarios.dice,), scenarios.full_disk, most=40),
    Target("threads", scenarios.models, (scenarios.dice,), scenarios.threads, most=40),
)  # fmt: skip
