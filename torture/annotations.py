"""Annotations, label maps, lists of clips and what a training goes on from: their sound files, and their readers.

Files are small, so that every mutant is read in milliseconds; what is read is used as far as a training would.
"""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from torture.harness import Target
from torture.mutators import BYTES, json_values
from torture.seeds import film

# ---- ways to break text ----

_STRANGE = (
    "nan", "inf", "-inf", "1e999", "-1e999", "1e308", "-1", "0", "2000000000", "9" * 30, "9" * 5000, "1.5", "0x10",
    "", " ", "x", "\0", "\x1b[31m", "\r", "\n", '"', "'", ";", ",", "<", ">", "&", "&a;", "]]>", "{", "}", "[",
    "../../x", "/etc/passwd", "x" * 5000, "x" * 200_000, "é", "\u202e", "٣", "²", "=1+1", "true", "null", "-0.0",
)  # fmt: skip
_TOKEN = re.compile(r"[\w.+-]+")
_ENCODINGS = ("utf-16", "utf-7", "klingon", "idna", "utf-32", "latin-1", "")


def tokens(data: bytes, chance: random.Random) -> bytes:
    """One word or number, or a few, are something else."""
    text = data.decode()
    for _ in range(chance.choice((1, 1, 3))):
        found = list(_TOKEN.finditer(text))
        if not found:
            break
        place = chance.choice(found)
        text = text[: place.start()] + chance.choice(_STRANGE) + text[place.end() :]
    return text.encode(errors="surrogatepass")


def lines(data: bytes, chance: random.Random) -> bytes:
    """A line is missing, stands many times, or elsewhere."""
    rows = data.splitlines(keepends=True)
    row = rows.pop(chance.randrange(len(rows)))
    place = chance.randrange(len(rows) + 1)
    return b"".join([*rows[:place], *[row] * chance.choice((0, 1, 2, 1000)), *rows[place:]])


def encodings(data: bytes, chance: random.Random) -> bytes:
    """Written, or said to be written, in another encoding."""
    name = chance.choice(_ENCODINGS)
    kind = chance.randrange(3)
    if kind == 0:
        return f'<?xml version="1.0" encoding="{name}"?>\n'.encode() + data
    if kind == 1:
        return data.decode().encode(name if name in ("utf-16", "utf-32", "latin-1") else "utf-7", errors="replace")
    return chance.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x80\x04\x95")) + data


def nested(data: bytes, chance: random.Random) -> bytes:
    """Elements, brackets or braces without end."""
    place = chance.randrange(len(data))
    return data[:place] + chance.choice((b"<a>", b"[", b"{", b'{"a":', b"item {")) * 100_000 + data[place:]


TEXT = (tokens, tokens, tokens, lines, encodings, nested, *BYTES)
JSON = (json_values, json_values, json_values, tokens, nested, *BYTES)

# ---- sound files ----

_XML_SIZE = "<original_size><width>64</width><height>64</height></original_size>"


def _text_seed(name: str, text: str, *, beside: Callable[[Path], object] | None = None) -> Callable[[Path], Path]:
    def seed(folder: Path) -> Path:
        if beside is not None:
            beside(folder)
        path = folder / name
        path.write_text(text, encoding="utf-8")
        return path

    seed.__name__ = name
    return seed


def _track(number: int, shapes: str, more: str = "") -> str:
    return f'<track id="{number}" label="stand"{more}>{shapes}</track>\n'


def _box(frame: int, outside: int, more: str = "") -> str:
    edges = 'xtl="10" ytl="12.5" xbr="40" ybr="60"'
    actions = '<attribute name="actions">stand;walk</attribute>'
    return f'<box frame="{frame}" outside="{outside}" occluded="0" {edges}{more}>{actions}</box>\n'


_CVAT_TASK = (
    f"<annotations><version>1.1</version><meta><task><name>film</name><size>8</size>{_XML_SIZE}</task>"
    "<source>film.mp4</source></meta>\n"
    + _track(0, _box(0, 0) + _box(4, 0, ' rotation="30"') + _box(6, 1))
    + _track(1, '<polygon frame="2" outside="0" points="1,2;30,4;20,50"/>')
    + "</annotations>"
)
_CVAT_PROJECT = (
    "<annotations><meta><project><tasks>"
    + "".join(f"<task><id>{number}</id><name>film.mp4</name>{_XML_SIZE}</task>" for number in (11, 12))
    + "</tasks></project></meta>\n"
    + _track(0, _box(1, 0), ' task_id="11"')
    + _track(1, _box(2, 0), ' task_id="12"')
    + "</annotations>"
)
_COCO = {
    "videos": [{"id": 1, "name": "film"}],
    "images": [
        {"id": 1, "video_id": 1, "frame_id": 3, "width": 64, "height": 64, "file_name": "a.png"},
        {"id": 2, "video": "film", "time_seconds": 0.5},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40.5], "track_id": 0, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [1, 2, 30, 40.5]},
    ],
    "categories": [{"id": 1, "name": "stand"}, {"id": 2, "name": "walk"}],
}
_VIA = {
    "project": {"pname": "x", "data_format_version": "3.1.1"},
    "attribute": {
        "1": {"aname": "actions", "type": 2, "options": {"1": "stand", "2": "walk"}},
        "2": {"aname": "person", "type": 1, "options": {}},
    },
    "file": {"1": {"fid": "1", "fname": "film.mp4", "type": 4, "loc": 1, "src": "film.mp4"}},
    "metadata": {"1_1": {"vid": "1", "flg": 0, "z": [0.5], "xy": [2, 1, 2, 30, 40], "av": {"1": "1,2", "2": "0"}}},
    "view": {"1": {"fid_list": ["1"]}},
}
_VIA_CSV = (
    "# metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"
    '1_1,"[""film.mp4""]",0,[0.5],"[2,1,2,30,40]","{""actions"":""stand"",""person"":""0""}"\n'
)
_TUBES = {
    "labels": ["stand", "walk"],
    "gttubes": {"film": {"0": [[[1, 1, 2, 30, 40], [2, 1, 2, 31, 40]]], "1": [[[4, 1, 2, 30, 40]]]}},
    "resolution": {"film": [64, 64]},
    "train_videos": [["film"]],
    "test_videos": [[]],
}
_VIPER = (
    '<viper><data><sourcefile filename="v_Biking_g01_c01.mpg"><object id="0" name="PERSON">'
    '<attribute name="Location"><bbox framespan="1:3" x="1" y="2" width="30" height="40"/></attribute>'
    '<attribute name="Biking"><bvalue framespan="1:2" value="true"/></attribute></object></sourcefile></data></viper>'
)
_LABELS = 'item {\n  name: "stand"\n  id: 1\n  exclusive_group: "pose"\n}\nitem {\n  name: "walk"\n  id: 2\n}\n'
_AVA = "film,0,0.1,0.2,0.6,0.9,1,0\nfilm,0.5,0.1,0.2,0.6,0.9,2,1\nfilm,0.75\n"
_PREDICTED = "film,0000,0.1,0.2,0.6,0.9,1,0.8\nfilm,0000,0.1,0.2,0.6,0.9,2,0.8\nfilm,0.5,0.3,0.2,0.6,0.9,2,0.1\n"
_LABEL_MAPS = (
    _text_seed("labels.pbtxt", _LABELS),
    _text_seed(
        "labels.json",
        '{"labels": [{"name": "a", "id": 1}, {"name": "b", "id": 7}], "exclusive": [["a", "b"]]}',
    ),
    _text_seed("labels.csv", 'id,name\n1,sit\n7,"stand, up"\n'),
    _text_seed("labels.txt", "1: sit\n7: stand\n12: walk\n"),
)


def _clip_class(folder: Path) -> None:
    (folder / "classInd.txt").write_text("1 Biking\n2 Diving\n")


_CLIP_LISTS = (
    _text_seed("clips.csv", "path,label,group,start,end,split\na.mp4,run|sit,g,0,1.5,train\nb.mp4,sit,,,,val\n"),
    _text_seed("clips.txt", "a b.mp4 run\nb.avi sit\n"),
    _text_seed(
        "kinetics.csv", "label,youtube_id,time_start,time_end,split\nrun,abc,0,10,train\nsit,-x_y,5,15,validate\n"
    ),
)
_SOMETHING = _text_seed(
    "train.json",
    '[{"id": "1", "template": "Holding [something]"}, {"path": "b.mp4", "labels": ["run", "sit"], "split": "val"}]',
)
_UCF = _text_seed(
    "trainlist01.txt", "Biking/v_Biking_g01_c01.avi 1\nDiving/v_Diving_g02_c01.avi 2\n", beside=_clip_class
)

# ---- readers ----


def _read_as_boxes_and_truth(path: Path) -> None:
    """As boxes of a film, and, if that is possible, as the truth of a training."""
    from muybridge.data.annotations.files import read_annotated_videos, read_boxes
    from muybridge.data.label_maps import LabelMap
    from muybridge.data.localization import key_frames

    labels = LabelMap(("stand", "walk"), (1, 2))
    videos = path.parent / "videos"
    videos.mkdir()
    read_boxes(path, [film(videos)], rename_lone=True)
    annotations, files = read_annotated_videos(path, labels, videos)
    key_frames(annotations, labels, files)


def _read_boxes(path: Path) -> None:
    from muybridge.data.annotations.files import read_boxes

    read_boxes(path, [film(path.parent)], rename_lone=True)


def _read_multisports(path: Path) -> None:
    from muybridge.data.annotations.multisports import read_multisports

    read_multisports(path)


def _read_viper(path: Path) -> None:
    from muybridge.data.annotations.ucf101_24 import read_ucf101_24

    read_ucf101_24(path)


def _read_labels(path: Path) -> None:
    from muybridge.data.label_maps import read_label_map, write_label_map

    labels = read_label_map(path)
    write_label_map(path.with_name("again.json"), labels)


def _read_clips(path: Path) -> None:
    from muybridge.data.clips.lists import read_clip_list

    for clips in read_clip_list(path).values():
        clips.class_counts()


def _evaluate(path: Path) -> None:
    """As predictions, as truth and as a list of excluded frames."""
    from muybridge.errors import MuybridgeError
    from muybridge.evaluation.ava import evaluate_ava

    labels, truth = path.with_name("labels.pbtxt"), path.with_name("truth.csv")
    labels.write_text(_LABELS)
    truth.write_text(_AVA)
    report = evaluate_ava(truth, path, labels)
    (str(report), report.to_json())
    for protocol in ("activitynet-2020", "mmaction2"):
        str(evaluate_ava(truth, path, labels, protocol=protocol))
    try:
        evaluate_ava(path, truth, labels, excluded=path)
    except MuybridgeError:
        return


# ---- what a training goes on from ----


def _train(folder: Path, *, steps: int, resume: bool) -> None:
    import torch

    from muybridge.training.fit import FitConfig, Validation, fit

    class Regression(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.linear = torch.nn.Linear(4, 2)

        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": self.linear(batch).square().mean()}

    class Points(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, draw: object) -> torch.Tensor:
            return torch.ones(4)

    config = FitConfig(steps=steps, batch_size=2, save_every=2, validate_every=2)
    held_out = Validation(lambda: {"score": 1.0}, "score")
    fit(
        Regression(),
        Points(),
        config,
        folder=folder,
        resume=resume,
        accelerator="cpu",
        validation=held_out,
        title="t",
    )


def _checkpoint(folder: Path) -> Path:
    _train(folder / "run", steps=4, resume=False)
    return (folder / "run" / "checkpoint.pt").rename(folder / "checkpoint.pt")


def _resume(path: Path) -> None:
    _train(path.parent, steps=6, resume=True)


def _history(folder: Path) -> Path:
    _train(folder / "run", steps=4, resume=False)
    return (folder / "run" / "history.jsonl").rename(folder / "history.jsonl")


def _resume_history(path: Path) -> None:
    run = path.parent / "run"
    _train(run, steps=4, resume=False)
    shutil.copy(path, run / "history.jsonl")
    _train(run, steps=6, resume=True)


ANNOTATION_TARGETS = (
    Target("ava csv", _text_seed("ava.csv", _AVA), TEXT, _read_as_boxes_and_truth),
    Target("cvat", (_text_seed("task.xml", _CVAT_TASK), _text_seed("project.xml", _CVAT_PROJECT)), TEXT,
           _read_as_boxes_and_truth),
    Target("coco", _text_seed("coco.json", json.dumps(_COCO)), JSON, _read_as_boxes_and_truth),
    Target("via", _text_seed("via.json", json.dumps(_VIA)), JSON, _read_as_boxes_and_truth),
    Target("via csv", _text_seed("via.csv", _VIA_CSV), TEXT, _read_as_boxes_and_truth),
    Target("tubes", _text_seed("tubes.json", json.dumps(_TUBES)), JSON, _read_as_boxes_and_truth),
    Target("mot", _text_seed("film.txt", "1,0,1,2,30,40,0.9,-1,-1,-1\n4,-1,1,2,30.5,40,1\n"), TEXT, _read_boxes),
    Target("multisports", _text_seed("multisports.csv", "v.mp4,1,0.1,0.2,0.5,0.6,3,0\nv.mp4,2,0.1,0.2,0.5,0.6,3,0\n"),
           TEXT, _read_multisports),
    Target("viper", _text_seed("v_Biking_g01_c01.xgtf", _VIPER), TEXT, _read_viper),
    Target("label map", _LABEL_MAPS, TEXT, _read_labels),
    Target("clip list", (*_CLIP_LISTS, _UCF), TEXT, _read_clips),
    Target("clip json", _SOMETHING, JSON, _read_clips),
    Target("predictions", _text_seed("found.csv", _PREDICTED), TEXT, _evaluate),
    Target("checkpoint", _checkpoint, BYTES, _resume),
    Target("history", _history, (*BYTES, lines, tokens), _resume_history),
)  # fmt: skip
