"""What a stranger's JSON may become: exactly what the types say, or one line that names the place."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from muybridge.errors import ModelError, OptionError
from muybridge.schema import Fields, Within, build, parse_json, without_nan


@dataclass(frozen=True)
class Lens:
    focus: float
    blades: int | None = None

    def __post_init__(self) -> None:
        if self.focus == 13:
            raise OptionError("focus=13 brings bad luck")


@dataclass(frozen=True)
class Camera:
    name: str
    shots: Annotated[int, Within(1, 36)]
    loaded: bool
    film: Literal["dry", "wet"]
    size: tuple[Annotated[int, Within(1, 100)], Annotated[int, Within(1, 100)]]
    speeds: Annotated[tuple[float, ...], Within(0, 10, items=3)]
    lens: Annotated[Lens, Fields(focus=Within(1, 100), blades=Within(3, 20), later=("blades",))] | None
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])


SOUND: dict[str, Any] = {
    "name": "Zoopraxiscope", "shots": 12, "loaded": True, "film": "wet", "size": [4, 5], "speeds": [1, 2.5],
    "lens": {"focus": 50, "blades": None}, "notes": {"of": [1, {"x": None}]},
}  # fmt: skip


def built(values: Any) -> Camera:
    return build(Camera, values, source="camera.json")


def test_sound_values_become_what_the_types_say() -> None:
    camera = built(json.loads(json.dumps(SOUND)))
    assert camera == Camera("Zoopraxiscope", 12, True, "wet", (4, 5), (1.0, 2.5), Lens(50.0, None), SOUND["notes"])
    assert all(type(speed) is float for speed in camera.speeds)


def test_a_field_that_came_later_has_its_default_and_others_must_be_there() -> None:
    assert built(SOUND | {"lens": {"focus": 50}}).lens == Lens(50.0)
    with pytest.raises(ModelError, match=r"camera\.json: its header\.lens lacks the key 'focus'"):
        built(SOUND | {"lens": {"blades": 3}})


WRONG: list[tuple[str, Any]] = [
    *(("shots", value) for value in (0, 37, 12.0, True, "12", None, [12], 10**400, -(2**63), float("nan"))),
    *(("loaded", value) for value in (0, 1, None, "true")),
    *(("film", value) for value in ("moist", None, 1, ["wet"])),
    *(("size", value) for value in ([4], [4, 5, 6], [4, 101], [4, "5"], 4, "45", {"0": 4}, [[4], 5])),
    *(("speeds", value) for value in ([1, 2, 3, 4], [float("inf")], [float("nan")], [-1], [None], 1.0)),
    *(("name", value) for value in (7, None, "x" * 5000, "half \ud800")),
    *(("lens", value) for value in ({}, [], 5, {"focus": 500}, {"focus": 50, "blades": 2}, {"focus": 50, "f": 1})),
    *(("notes", value) for value in (None, [], "x")),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_one_line_with_its_place(name: str, value: Any) -> None:
    with pytest.raises(ModelError, match=rf"^camera\.json: its header\.{name}") as caught:
        built(SOUND | {name: value})
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 400


@pytest.mark.parametrize("name", SOUND)
def test_a_missing_or_unknown_key_is_named(name: str) -> None:
    with pytest.raises(ModelError, match=f"lacks the key '{name}'"):
        built({key: value for key, value in SOUND.items() if key != name})
    with pytest.raises(ModelError, match=f"has the unknown key '{name}_'"):
        built(SOUND | {f"{name}_": 1})


def test_a_rule_of_the_whole_is_told_with_the_file() -> None:
    with pytest.raises(ModelError, match=r"camera\.json: its header\.lens breaks a rule: focus=13 brings bad luck"):
        built(SOUND | {"lens": {"focus": 13, "blades": 5}})


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a": 1, "a": 2}', '{"x": {"b": 1, "c": 2, "b": 1}}', "[" * 65 + "]" * 65, "[" * 9999, "9" * 5000,
     '{"a": 1}}', b"\xff\xfe"],
)  # fmt: skip
def test_damaged_json_is_one_line(text: str | bytes) -> None:
    with pytest.raises(ModelError, match=r"^film\.json has a damaged header") as caught:
        parse_json(text, source="film.json")
    assert len(str(caught.value).splitlines()) == 1


def test_numbers_that_json_has_not_become_null() -> None:
    spoilt = {"a": float("nan"), "b": (1.5, float("inf")), "c": {"d": [-float("inf"), "e"]}}
    assert without_nan(spoilt) == {"a": None, "b": [1.5, None], "c": {"d": [None, "e"]}}
