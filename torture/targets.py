"""Every reader, and what breaks its files. A new reader is one more line in `TARGETS`.

    Target("name in the table", seed function or functions, mutators, command with {file} or function of the path)

Take the seeds from `seeds.py` and the mutators from `mutators.py`: `BYTES` for any file, `MODEL` for safetensors
files of muybridge, or functions of your own, of (bytes, random.Random) to bytes.
"""

from torture import seeds
from torture.harness import MB, Target
from torture.mutators import BYTES, MODEL

_RECOGNIZE = ("recognize", "{folder}/film.mp4", "--device", "cpu", "--format", "json", "-o", "answer.json")
_LOCALIZE = (
    "localize", "{folder}/film.mp4", "--device", "cpu", "--every", "500ms", "--no-video", "--no-report",
    "-o", "out.mp4",
)  # fmt: skip
_STYLIZE = ("stylize", "{folder}/picture.png", "--device", "cpu", "--style-size", "48", "-o", "painted.png")
_BOXES = ("--boxes", "{folder}/boxes.csv")
_RECOGNIZERS = (seeds.recognizer, seeds.head_recognizer, seeds.full_recognizer)
_LOCALIZERS = (seeds.slowfast_localizer, seeds.adapter_localizer)

TARGETS = (
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
    Target(
        "bank", seeds.bank, (*MODEL, *BYTES),
        (*_LOCALIZE, *_BOXES, "--model", "{folder}/reader.safetensors", "--banks", "."), memory=500 * MB,
    ),
)  # fmt: skip
