"""What options of commands share: how a frozen dataclass becomes flags, groups of the help, lengths of time.

A dataclass of options is written once: its fields are the flags, its attributes' docstrings the help, its defaults
the defaults. Modules of options import neither torch nor timm, so that `--help` is quick.
"""

import re
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter

FLAT = Parameter(name="*")  # the fields of a nested dataclass are flags of their own
PLAIN = Parameter(negative=())  # no --no-x
HIDDEN = Parameter(parse=False)  # for callers of the library alone
LIST = Parameter(consume_multiple=True)  # --x 1 2 3

MOST_AT_ONCE = 1 << 16  # items of a batch
MOST_READERS = 256  # processes that read data
LEAST_SECONDS = 0.001  # no film has more frames than one in so many

# Groups of a training's help, in their order: what a first-time user needs comes first.
BASIC = Parameter(group="Parameters")
NETWORK = Parameter(group=Group("Network", sort_key=1))
DATA = Parameter(group=Group("Data", sort_key=2))
AUGMENTATION = Parameter(group=Group("Frames and augmentation", sort_key=3))
TRAINING = Parameter(group=Group("Training", sort_key=4))
RUN = Parameter(group=Group("Run", sort_key=5))


def parse_seconds(text: str) -> float:
    """ "2", "2s" or "500ms" as seconds.

    Raises:
        ValueError: anything else.
    """
    number, factor = (text[:-2], 0.001) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
    try:
        return float(number) * factor
    except ValueError as error:
        raise ValueError(f"{text!r} is no length of time. Write such as 2s or 500ms") from error


def _seconds(_: Any, tokens: Any) -> float:
    return parse_seconds(tokens[0].value)


def _shown(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"


TIME = Parameter(converter=_seconds, metavar="TIME", show_default=_shown)
Seconds = Annotated[float, TIME]


def configuration(options: Any, *, folders: bool = True) -> dict[str, Any]:
    """Options as a file of `--config` has them: the name of each flag without dashes, and its value as JSON has it.

    Args:
        options: a dataclass of options, of nested ones as well; those that are None are left out.
        folders: False tells absolute paths by their last part: a file that is passed on need not tell of this
            machine.
    """
    return {name: _plain(value, folders=folders) for name, value in _flags(options)}


def _plain(value: Any, *, folders: bool) -> Any:
    if isinstance(value, tuple):
        return [_plain(item, folders=folders) for item in value]
    if folders or not isinstance(value, (Path, str)):
        return str(value) if isinstance(value, Path) else value
    if isinstance(value, Path):
        return value.name if value.is_absolute() else str(value)
    # Such as stylize=/here/pictures:0.3; what only looks like a path, as a pattern may, stays.
    return re.sub("(?:^|(?<=[=,]))/[^=,:]+", lambda m: Path(m[0]).name if Path(m[0]).exists() else m[0], value)


def _flags(options: Any, parsed: re.Pattern[str] = re.compile("")) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(type(options), include_extras=True)
    for each in fields(options):
        value, given = getattr(options, each.name), _parameters(hints[each.name])
        rules = [p.parse for p in given]
        if value is None or False in rules or not parsed.search(each.name):
            continue
        if is_dataclass(value):
            yield from _flags(value, next((rule for rule in rules if isinstance(rule, re.Pattern)), parsed))
        else:
            named = next((name for p in given for name in p.name or ()), each.name.replace("_", "-"))
            yield named.removeprefix("--"), value


def _parameters(hint: Any) -> list[Parameter]:
    """Of an annotated type and, where it is `X | None`, of X."""
    if get_origin(hint) is Annotated:
        return [p for p in hint.__metadata__ if isinstance(p, Parameter)] + _parameters(hint.__origin__)
    if isinstance(hint, types.UnionType):
        return [p for part in get_args(hint) for p in _parameters(part)]
    return []
