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
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from muybridge.counts import counted
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
            raise OptionError(f"{name} has {counted(len(each), 'number')}. Choose at most {limit.items}.")
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
    try:
        return _check_of_class(kind, fields)(values)
    except _Refused as refused:
        raise ModelError(f"{source}: its {at}{refused.place} {refused.problem}") from refused.__cause__


# Makes a checked value of a JSON value. Types are looked at once: files of many rows have millions of values.
_Check = Callable[[Any], Any]


class _Refused(Exception):
    """A value that breaks a rule.

    Attributes:
        problem: what is said of it.
        place: where it is, from the value that is checked on down.
    """

    def __init__(self, problem: str) -> None:
        self.problem, self.place = problem, ""

    def within(self, place: str) -> "_Refused":
        """The same, told from further up."""
        self.place = place + self.place
        return self


@lru_cache(maxsize=256)
def _check_of_class(kind: type[Any], fields: Fields | None) -> _Check:
    later, limits = (fields.later, fields.limits) if fields else ((), {})
    hints = get_type_hints(kind, include_extras=True)
    checks = {field.name: _check_of(hints[field.name], limits.get(field.name)) for field in dataclasses.fields(kind)}

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _refused(value, "an object with keys")
        checked = dict[str, Any]()
        for name, item in cast("dict[str, Any]", value).items():
            if name not in checks:
                raise _Refused(f"has the unknown key {name[:60]!r}. Update muybridge, or copy the file again")
            try:
                checked[name] = checks[name](item)
            except _Refused as refused:
                raise refused.within(f".{name}") from refused.__cause__
        if len(checked) < len(checks):
            _require([name for name in checks if name not in later], checked)
        try:
            return kind(**checked)
        except MuybridgeError as error:
            raise _Refused(f"breaks a rule: {str(error)[:300]}") from error

    return check


def _require(names: Iterable[str], given: Mapping[str, Any]) -> None:
    for name in names:
        if name not in given:
            raise _Refused(f"lacks the key {name!r}. Update muybridge, or copy the file again")


def _check_of(hint: Any, limits: _Rules | None) -> _Check:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _check_of(arguments[0], arguments[1])
    if origin in (Union, types.UnionType):
        return _check_of_union(arguments, limits)
    if origin is Literal:
        return _check_of_literal(arguments)
    if origin is tuple:
        return _check_of_tuple(arguments, limits)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _check_of_class(hint, limits if isinstance(limits, Fields) else None)
    if hint in (int, float):
        assert isinstance(limits, Within), "a number has no limits"
        return _check_of_number(hint, limits)
    if hint is str:
        return _check_of_text(limits if isinstance(limits, Letters) else Letters())
    assert hint is bool or origin is Mapping, f"a type that has no check: {hint}"
    return _check_truth if hint is bool else _check_kept


def _check_of_union(kinds: tuple[Any, ...], limits: _Rules | None) -> _Check:
    """The first kind of several that fits; where none does, the last one's complaint."""
    *others, last = [_check_of(kind, limits) for kind in kinds if kind is not types.NoneType]
    may_be_none = types.NoneType in kinds

    def check(value: Any) -> Any:
        if value is None and may_be_none:
            return None
        for other in others:
            try:
                return other(value)
            except _Refused:
                continue
        return last(value)

    return check


def _check_of_literal(choices: tuple[Any, ...]) -> _Check:
    def check(value: Any) -> Any:
        for choice in choices:
            if type(value) is type(choice) and value == choice:
                return value
        raise _refused(value, f"one of {', '.join(map(str, choices))}")

    return check


def _check_of_tuple(kinds: tuple[Any, ...], limits: _Rules | None) -> _Check:
    any_length = len(kinds) == 2 and kinds[1] is Ellipsis
    most = limits.items if isinstance(limits, Within) else _MOST_ITEMS
    rule = f"a list of at most {most} items" if any_length else f"a list of {counted(len(kinds), 'item')}"
    checks = [_check_of(kind, limits) for kind in kinds if kind is not Ellipsis]

    def check(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise _refused(value, "a list")
        items = cast("list[Any]", value)
        if len(items) > most or not (any_length or len(items) == len(checks)):
            raise _refused(items, rule)
        checked = list[Any]()
        for number, item in enumerate(items):
            try:
                checked.append(checks[0 if any_length else number](item))
            except _Refused as refused:
                raise refused.within(f"[{number}]") from refused.__cause__
        return tuple(checked)

    return check


def _check_of_number(kind: type, limits: Within) -> _Check:
    least, most = limits.least, limits.most

    def check(value: Any) -> int | float:
        is_number = type(value) is int or (kind is float and type(value) is float)
        if is_number and least <= value <= most and math.isfinite(value):
            return kind(value)
        what = "whole number" if kind is int else "number"
        raise _refused(value, f"a {what} from {least:g} to {most:g}")

    return check


def _check_of_text(letters: Letters) -> _Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > letters.most:
            raise _refused(value, f"a text of at most {letters.most} letters")
        if not letters.halves and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise _refused(value, "text: it holds half of a letter")
        return value

    return check


def _check_truth(value: Any) -> bool:
    if type(value) is not bool:
        raise _refused(value, "true or false")
    return value


def _check_kept(value: Any) -> Any:
    if not isinstance(value, dict):
        raise _refused(value, "an object with keys")
    return without_nan(cast(Any, value))


def without_nan(value: Any) -> Any:
    """JSON values with None in place of what JSON has no number for: NaN and infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): without_nan(each) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(each) for each in cast("list[Any]", value)]
    return value


def _refused(value: Any, rule: str) -> _Refused:
    if isinstance(value, (dict, list, tuple)):
        shown = f"a {'object' if isinstance(value, dict) else 'list'} of {len(cast(Any, value))}"
    elif isinstance(value, int) and abs(value) >= 10**18:
        shown = f"a number of {value.bit_length()} bits"
    else:
        shown = ascii(value[:60] if isinstance(value, str) else value)
    return _Refused(f"is {shown}, not {rule}. Copy or download the file again")
