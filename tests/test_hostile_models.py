"""Model files of strangers: nothing in them is executed, fetched, passed on by name, or given memory unseen."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torture import seeds
from torture.mutators import joined, split

from muybridge.errors import ModelError, ModelMismatch, MuybridgeError
from muybridge.localize.localizer import Localizer
from muybridge.models.backbones import backbone_hash, create_backbone
from muybridge.people.built_in import BuiltInDetector
from muybridge.pretrained import BackboneIdentity, load_backbone, reload_backbone
from muybridge.recognize.recognizer import Recognizer
from muybridge.stylize.stylizer import Style, Stylizer

LOADERS: dict[Callable[[Path], Path], Callable[[Path], object]] = {
    seeds.recognizer: lambda path: Recognizer.from_pretrained(path, device="cpu"),
    seeds.convolution_recognizer: lambda path: Recognizer.from_pretrained(path, device="cpu"),
    seeds.full_recognizer: lambda path: Recognizer.from_pretrained(path, device="cpu"),
    seeds.slowfast_localizer: lambda path: Localizer.from_pretrained(path, device="cpu"),
    seeds.adapter_localizer: lambda path: Localizer.from_pretrained(path, device="cpu"),
    seeds.stylizer: lambda path: Stylizer.from_pretrained(path, device="cpu"),
    seeds.style: Style.load,
    seeds.detector: lambda path: BuiltInDetector.from_pretrained(path, device="cpu"),
}
IMAGE_MODELS = (seeds.recognizer, seeds.full_recognizer, seeds.adapter_localizer)


@pytest.fixture(autouse=True)
def no_network(monkeypatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict[Callable[[Path], Path], Path]:
    return {make: make(tmp_path_factory.mktemp(make.__name__)) for make in LOADERS}


def header_of(path: Path) -> dict[str, Any]:
    return json.loads(split(path.read_bytes())[0]["__metadata__"]["muybridge"])


def rewritten(path: Path, target: Path, about: dict[str, Any] | str) -> Path:
    """The same tensors under another header."""
    header, tensors = split(path.read_bytes())
    header["__metadata__"]["muybridge"] = about if isinstance(about, str) else json.dumps(about)
    target.write_bytes(joined(header, tensors))
    return target


def options_of(about: dict[str, Any]) -> dict[str, Any]:
    """Where a header keeps the image model's options."""
    architecture = about["architecture"]
    return (
        architecture["backbone_options"] if "backbone" in architecture else about["contract"]["backbone"]["options"]
    )


@pytest.mark.parametrize("make", LOADERS, ids=lambda make: make.__name__)
def test_the_sound_files_load(sound, make) -> None:
    LOADERS[make](sound[make])


HOSTILE_OPTIONS = {
    "pretrained_cfg": {"url": "http://192.0.2.1/x.pth", "custom_load": False},
    "pretrained_cfg_overlay": {"file": "/etc/passwd"},
    "pretrained": True,
    "checkpoint_path": "/etc/passwd",
    "cache_dir": "/tmp/written",
    "features_only": True,
    "norm_layer": "layernorm",
    "scriptable": True,
    "num_classes": 10,
    "model_name": "resnet50",
}


@pytest.mark.parametrize("make", IMAGE_MODELS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("option", HOSTILE_OPTIONS)
def test_no_option_of_a_file_reaches_timm_by_its_name(sound, tmp_path, make, option) -> None:
    about = header_of(sound[make])
    options_of(about)[option] = HOSTILE_OPTIONS[option]
    path = rewritten(sound[make], tmp_path / "m.safetensors", about)
    with pytest.raises(ModelError, match=f"unknown key '{option}'"):
        LOADERS[make](path)


@pytest.mark.parametrize("make", IMAGE_MODELS, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    ("option", "value"),
    [("depth", 10**6), ("depth", "8"), ("img_size", 10**9), ("img_size", [9, 9, 9]), ("mlp_ratio", -1), ("depth", 0)],
)
def test_options_are_of_their_type_and_within_reason(sound, tmp_path, make, option, value) -> None:
    about = header_of(sound[make])
    options_of(about)[option] = value
    with pytest.raises(ModelError, match=f"backbone options.{option}"):
        LOADERS[make](rewritten(sound[make], tmp_path / "m.safetensors", about))


@pytest.mark.parametrize("make", IMAGE_MODELS, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "name", ["hf-hub:nobody/nothing", "local-dir:/", "../../x", "http://192.0.2.1/x", "os.system"]
)
def test_a_name_in_a_file_is_a_plain_name(sound, tmp_path, make, name) -> None:
    about = header_of(sound[make])
    about["contract"]["backbone"]["name"] = name
    with pytest.raises(ModelError):
        LOADERS[make](rewritten(sound[make], tmp_path / "m.safetensors", about))


def test_an_address_is_followed_when_the_user_names_it_too(tmp_path) -> None:
    options = {"depth": 2, "embed_dim": 48, "num_heads": 2, "img_size": 48}
    saved = timm.create_model("vit_tiny_patch16_224", num_classes=3, **options)
    timm.models.save_for_hf(saved, tmp_path, model_args=options, safe_serialization=True)
    saved.reset_classifier(0)
    address = f"local-dir:{tmp_path}"
    identity = BackboneIdentity(address, "timm", backbone_hash(saved))
    with pytest.raises(ModelError, match=f"--backbone-weights {address}"):
        reload_backbone(identity)
    assert backbone_hash(reload_backbone(identity, weights=Path(address))) == identity.hash


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_weights_of_a_folder_are_not_unpickled(tmp_path) -> None:
    saved = timm.create_model("vit_tiny_patch16_224", depth=1)
    timm.models.save_for_hf(saved, tmp_path, model_args={"depth": 1}, safe_serialization=True)
    (tmp_path / "model.safetensors").unlink()
    torch.save(dict(saved.state_dict()) | {"x": _Trap(tmp_path / "trap")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="refused"):
        create_backbone(f"local-dir:{tmp_path}")
    assert not (tmp_path / "trap").exists()


def test_published_weights_are_fetched_by_the_users_wish_alone(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    identity = BackboneIdentity("vit_tiny_patch16_224", "timm", "0" * 64)
    with pytest.raises(ModelError, match=r"not on this machine.*--backbone-weights timm"):
        reload_backbone(identity)
    asked: list[str] = []

    def fetched(repository: str, **_: object) -> dict[str, torch.Tensor]:
        asked.append(repository)
        return timm.create_model("vit_tiny_patch16_224").state_dict()

    monkeypatch.setattr(timm.models, "load_state_dict_from_hf", fetched)
    with pytest.raises(ModelMismatch, match="have the hash"):
        reload_backbone(identity, weights=Path("timm"))
    assert asked == ["timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"]


def test_weights_too_few_for_what_is_asked_are_refused_before_memory_is_taken(tmp_path) -> None:
    """A model of 100 GB is asked for; building it would end the process."""
    with pytest.raises(ModelMismatch, match=r"has \d{12} weights, but .* has \d{7}"):
        load_backbone("muybridge_vit", embed_dim=8192, depth=128, num_heads=64)


ALTERATIONS: list[Callable[[dict[str, Any]], object]] = [
    lambda about: about.pop("architecture"),
    lambda about: about.update(format="1"),
    lambda about: about.update(format=float("nan")),
    lambda about: about.update(format=10**30),
    lambda about: about.update(task=["recognize"]),
    lambda about: about.update(contract=[]),
    lambda about: about.update(contract=None),
    lambda about: about.update(extra=1),
    lambda about: about["contract"].update(extra=1),
    lambda about: about["architecture"].update(extra=1),
    lambda about: about.update(scores=7),
]


@pytest.mark.parametrize("make", LOADERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("number", range(len(ALTERATIONS)))
def test_a_header_that_is_not_sound_is_one_line(sound, tmp_path, make, number) -> None:
    about = header_of(sound[make])
    ALTERATIONS[number](about)
    with pytest.raises(ModelError) as caught:
        LOADERS[make](rewritten(sound[make], tmp_path / "m.safetensors", about))
    assert "\n" not in str(caught.value) and "m.safetensors" in str(caught.value)


@pytest.mark.parametrize("make", LOADERS, ids=lambda make: make.__name__)
def test_each_key_is_wanted(sound, tmp_path, make) -> None:
    """Those that older files lack have a default; without any other, there is no model."""
    about = header_of(sound[make])
    optional = {"contract", "views", "causal", "frequency_scales", "keep_dead", "encoder", "bank"}
    optional |= {"threshold", "over_time", "motion", "network_weight", "actor_score", "usual_speeds", "context"}
    optional |= {"floor", "window", "match_step", "coherence", "softness", "design"}
    optional |= set(options_of(about)) if make in IMAGE_MODELS else set()
    for part in ("architecture", "contract"):
        for key in set(about[part]) - optional:
            less = about | {part: {name: value for name, value in about[part].items() if name != key}}
            with pytest.raises(ModelError, match=f"lacks the key '{key}'"):
                LOADERS[make](rewritten(sound[make], tmp_path / "m.safetensors", less))


@pytest.mark.parametrize("make", LOADERS, ids=lambda make: make.__name__)
def test_a_key_that_stands_twice_is_refused(sound, tmp_path, make) -> None:
    text = json.dumps(header_of(sound[make]))
    twice = text.replace('"format": 1', '"format": 1, "format": 1')
    assert twice != text
    with pytest.raises(ModelError, match="'format' stands twice"):
        LOADERS[make](rewritten(sound[make], tmp_path / "m.safetensors", twice))
    header, tensors = split(sound[make].read_bytes())
    name = next(name for name in header if name != "__metadata__")
    table = json.dumps(header)
    table = table[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}"
    (tmp_path / "t.safetensors").write_bytes(joined(table, tensors))
    with pytest.raises(ModelError, match=r"t\.safetensors"):
        LOADERS[make](tmp_path / "t.safetensors")


@pytest.mark.parametrize("make", LOADERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("dtype", ["I8", "C64", "BOOL"])
def test_tensors_of_another_kind_of_number_are_refused(sound, tmp_path, make, dtype) -> None:
    header, tensors = split(sound[make].read_bytes())
    size = {"I8": 1, "C64": 8, "BOOL": 1}[dtype]
    name = next(
        n for n in header if n != "__metadata__" and len(tensors[slice(*header[n]["data_offsets"])]) % size == 0
    )
    start, end = header[name]["data_offsets"]
    header[name] |= {"dtype": dtype, "shape": [(end - start) // size]}
    (tmp_path / "m.safetensors").write_bytes(joined(header, tensors))
    with pytest.raises(ModelError, match=f"holds {dtype} numbers in {name}"):
        LOADERS[make](tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("make", "way", "value"),
    [
        (seeds.recognizer, ("contract", "sampling", "frames"), 10**6),
        (seeds.recognizer, ("contract", "sampling", "size"), [4096, 4096]),
        (seeds.recognizer, ("contract", "sampling", "std"), [0, 1, 1]),
        (seeds.recognizer, ("contract", "views", "temporal"), 10**4),
        (seeds.recognizer, ("contract", "labels"), ["a", "a", "b"]),
        (seeds.recognizer, ("contract", "labels"), ["a", "b"]),
        (seeds.recognizer, ("architecture", "num_classes"), 10**5),
        (seeds.recognizer, ("architecture", "adapters", "width"), 8192),
        (seeds.recognizer, ("architecture", "adapters", "blocks"), 100),
        (seeds.recognizer, ("architecture", "network_weight"), float("nan")),
        (seeds.recognizer, ("architecture", "network_weight"), float("inf")),
        (seeds.recognizer, ("architecture", "network_weight"), -1),
        (seeds.recognizer, ("architecture", "network_weight"), 1e9),
        (seeds.recognizer, ("architecture", "network_weight"), "1"),
        (seeds.recognizer, ("architecture", "network_weight"), None),
        (seeds.slowfast_localizer, ("contract", "motion"), "0" * 64),
        (seeds.slowfast_localizer, ("contract", "motion"), 7),
        (seeds.slowfast_localizer, ("architecture", "head", "context_channels"), 65536),
        (seeds.slowfast_localizer, ("architecture", "slowfast", "width"), 1000),
        (seeds.slowfast_localizer, ("contract", "sampling", "short_side"), 4096),
        (seeds.slowfast_localizer, ("contract", "exclusive"), [[0, 7]]),
        (seeds.slowfast_localizer, ("contract", "backbone"), {"name": "x", "source": "", "hash": "", "options": {}}),
        (seeds.adapter_localizer, ("contract", "usual_speeds"), [{"label": "fly", "mean": 0, "deviation": 1}]),
        (seeds.adapter_localizer, ("contract", "usual_speeds"), [{"label": "walk", "mean": 0, "deviation": 0}]),
        (seeds.adapter_localizer, ("contract", "usual_speeds"), [{"label": "walk", "mean": 1e308, "deviation": 1}]),
        (seeds.adapter_localizer, ("contract", "usual_speeds"), [{"label": "walk", "mean": "0", "deviation": 1}]),
        (seeds.adapter_localizer, ("contract", "usual_speeds"), {"walk": [0, 1]}),
        (seeds.stylizer, ("architecture", "widths"), [4096] * 4),
        (seeds.detector, ("architecture", "depths"), [64, 64, 64]),
        (seeds.detector, ("contract", "classes"), ["cat"]),
        (seeds.style, ("contract", "projection"), "pca"),
    ],
)  # fmt: skip
def test_numbers_beyond_reason_are_refused(sound, tmp_path, make, way, value) -> None:
    about = header_of(sound[make])
    place = about
    for step in way[:-1]:
        place = place[step]
    assert way[-1] in place
    place[way[-1]] = value
    with pytest.raises(ModelError) as caught:
        LOADERS[make](rewritten(sound[make], tmp_path / "m.safetensors", about))
    assert "\n" not in str(caught.value) and "m.safetensors" in str(caught.value)


def test_a_style_of_other_widths_is_refused(sound, tmp_path) -> None:
    """It claims to be this model's, but its tensors are not."""
    style = sound[seeds.style]
    other = Stylizer.from_pretrained(device="cpu")
    about = header_of(style)
    about["contract"]["model"] = other.fingerprint
    with pytest.raises(MuybridgeError, match="is not this model's"):
        other.encode_style(rewritten(style, tmp_path / "s.safetensors", about))
