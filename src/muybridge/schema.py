"""JSON of a stranger into frozen dataclasses, strictly: every key known and there, every number in its range.

A field's type says what it may be: int, float, bool, str, Literal, X | None, tuple[X, ...], tuple[X, Y], a dataclass,
or Mapping[str, Any] for what is kept but not looked at. A number must have limits:

    depth: Annotated[int, Within(1, 256)]
    place: Annotated[str, Letters(1 << 16, halves=True)]                              a text of another length
    adapters: Annotated[AdapterConfig, Fields(width=Within(1, 16384), ...)] | None     the numbers of another's class
"""

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from muybridge.errors import ModelError, MuybridgeError, OptionError

T = TypeVar("T")
_LONGEST_TEXT = 4096
_MOST_ITEMS = 1 << 20
_DEEPEST = 64


@dataclasses.dataclass(frozen=True)
class Within:
    """The least and the most that a number, or each number of a tuple, may be.

    Attributes:
        items: the most that a tuple of any length may hold.
    """

    least: float
    most: float
    items: int = _MOST_ITEMS


@dataclasses.dataclass(frozen=True)
class Letters:
    """The most letters of a text, or of each text of a tuple.

    Attributes:
        halves: whether there may be halves of letters, as in names of files that are no UTF-8.
    """

    most: int = _LONGEST_TEXT
    halves: bool = False


class Fields:
    """Limits for the numbers of a dataclass that is used elsewhere too, by the field's name.

    Args:
        later: fields that older files lack; their defaults must mean what was meant then.
    """

    def __init__(self, *, later: tuple[str, ...] = (), **limits: Within) -> None:
        self.later, self.limits = later, limits


_Rules = Within | Letters | Fields


def require_within(options: Any, limits: Mapping[str, Within]) -> None:
    """The same limits for what is not read from a file: the numbers of a dataclass of options; None passes.

    Raises:
        OptionError: a number, or one of a tuple, is out of its range, or a tuple is too long.
    """
    for name, limit in limits.items():
        value = getattr(options, name)
        each = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,)
        if len(each) > limit.items:
            raise OptionError(f"{name} has {len(each)} numbers. Choose at most {limit.items}.")
        if not all(number is None or limit.least <= number <= limit.most for number in each):
            raise OptionError(f"{name}={value} is out of range. Choose {limit.least:g} to {limit.most:g}.")


def parse_json(text: str | bytes, *, source: str) -> Any:
    """JSON in which no key stands twice. Numbers beyond the range of float come as infinity.

    Raises:
        ModelError: it is no such JSON; `source` is named.
    """
    try:
        values = json.loads(text, object_pairs_hook=_without_repetition)
        _check_nesting(values, _DEEPEST)
        return values
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ModelError(f"{source} has a damaged header ({reason}). Copy or download it again") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"{twice[:60]!r} stands twice")
    return values


def _check_nesting(values: Any, deepest: int) -> None:
    if isinstance(values, (dict, list)):
        if not deepest:
            raise ValueError(f"it is nested deeper than {_DEEPEST}")
        nest = cast("dict[str, Any] | list[Any]", values)
        for each in nest.values() if isinstance(nest, dict) else nest:
            _check_nesting(each, deepest - 1)


def build(kind: type[T], values: Any, *, source: str, at: str = "header", fields: Fields | None = None) -> T:
    """A dataclass from JSON values.

    Args:
        source: names the file in errors.
        at: names the place in the file.
        fields: limits for numbers whose type has none.

    Raises:
        ModelError: a key is missing or unknown, or a value breaks the rules of its field or of the whole.
    """
    fields = fields or Fields()
    if not isinstance(values, dict):
        raise _refused(source, at, values, "an object with keys")
    given = cast("dict[str, Any]", values)
    wanted = [field.name for field in dataclasses.fields(cast(Any, kind))]
    hints = _hints(kind)
    unknown = sorted(given.keys() - set(wanted))
    missing = [name for name in wanted if name not in given and name not in fields.later]
    if unknown or missing:
        problem = f"has the unknown key {unknown[0][:60]!r}" if unknown else f"lacks the key {missing[0]!r}"
        raise ModelError(f"{source}: its {at} {problem}. Update muybridge, or copy the file again")
    checked = {
        name: _checked(hints[name], given[name], source, f"{at}.{name}", fields.limits.get(name))
        for name in wanted
        if name in given
    }
    try:
        return kind(**checked)
    except MuybridgeError as error:
        raise ModelError(f"{source}: its {at} breaks a rule: {str(error)[:300]}") from error


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _checked(hint: Any, value: Any, source: str, at: str, limits: _Rules | None) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _checked(arguments[0], value, source, at, arguments[1])
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        return _one_of(arguments, value, source, at, limits)
    if origin is Literal:
        if not any(type(value) is type(one) and value == one for one in arguments):
            raise _refused(source, at, value, f"one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        return _tuple(arguments, value, source, at, limits)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        fields = limits if isinstance(limits, Fields) else None
        return build(hint, value, source=source, at=at, fields=fields)
    if hint in (int, float):
        return _number(hint, value, source, at, limits)
    return _plain(hint, value, source, at, limits)


def _one_of(kinds: tuple[Any, ...], value: Any, source: str, at: str, limits: _Rules | None) -> Any:
    """The first kind of several that fits; where none does, the last one's complaint."""
    kinds = tuple(kind for kind in kinds if kind is not types.NoneType)
    for kind in kinds[:-1]:
        try:
            return _checked(kind, value, source, at, limits)
        except ModelError:
            continue
    return _checked(kinds[-1], value, source, at, limits)


def _tuple(kinds: tuple[Any, ...], value: Any, source: str, at: str, limits: _Rules | None) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _refused(source, at, value, "a list")
    items = cast("list[Any]", value)
    any_length = len(kinds) == 2 and kinds[1] is Ellipsis
    most = limits.items if isinstance(limits, Within) else _MOST_ITEMS
    if len(items) > most or not (any_length or len(items) == len(kinds)):
        rule = f"a list of at most {most} items" if any_length else f"a list of {len(kinds)} items"
        raise _refused(source, at, items, rule)
    each = (kinds[0],) * len(items) if any_length else kinds
    return tuple(
        _checked(kind, item, source, f"{at}[{number}]", limits)
        for number, (kind, item) in enumerate(zip(each, items, strict=True))
    )


def _number(kind: type, value: Any, source: str, at: str, limits: _Rules | None) -> int | float:
    assert isinstance(limits, Within), f"{at} has no limits"
    what = "whole number" if kind is int else "number"
    is_number = type(value) is int or (kind is float and type(value) is float and math.isfinite(value))
    if not is_number or not limits.least <= value <= limits.most:
        raise _refused(source, at, value, f"a {what} from {limits.least:g} to {limits.most:g}")
    return kind(value)


def _plain(hint: Any, value: Any, source: str, at: str, limits: _Rules | None) -> Any:
    letters = limits if isinstance(limits, Letters) else Letters()
    if hint is bool and type(value) is not bool:
        raise _refused(source, at, value, "true or false")
    if hint is str:
        if not isinstance(value, str) or len(value) > letters.most:
            raise _refused(source, at, value, f"a text of at most {letters.most} letters")
        if not letters.halves and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise _refused(source, at, value, "text: it holds half of a letter")
    if get_origin(hint) is Mapping:
        if not isinstance(value, dict):
            raise _refused(source, at, value, "an object with keys")
        return without_nan(cast(Any, value))
    assert hint in (bool, str), f"{at} is of a type that has no check: {hint}"
    return value


def without_nan(value: Any) -> Any:
    """JSON values with None in place of what JSON has no number for: NaN and infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): without_nan(each) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(each) for each in cast("list[Any]", value)]
    return value


def _refused(source: str, at: str, value: Any, rule: str) -> ModelError:
    if isinstance(value, (dict, list, tuple)):
        shown = f"a {'object' if isinstance(value, dict) else 'list'} of {len(cast(Any, value))}"
    elif isinstance(value, int) and abs(value) >= 10**18:
        shown = f"a number of {value.bit_length()} bits"
    else:
        shown = ascii(value[:60] if isinstance(value, str) else value)
    return ModelError(f"{source}: its {at} is {shown}, not {rule}. Copy or download the file again")
