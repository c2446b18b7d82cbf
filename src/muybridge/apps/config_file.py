"""`--config`: options from a YAML file, or those that a model file was trained with.

Such files come from strangers. They hold plain values alone, and a model file may not name what would be fetched,
what lies elsewhere on this machine, or a pattern that could be searched for ever. What depends on the machine is not
taken out of it.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import yaml
from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from muybridge.errors import InputError, MissingInput, OptionError

_PLAIN = (bool, int, float, str, type(None))
_LARGEST_BYTES = 1 << 20
_TASKS = {"recognizer": "recognize", "localizer": "localize", "stylizer": "stylize"}
_FETCHED = ("backbone", "trunk", "encoder")  # by a name that is none of these, and without a file of weights
_SHIPPED = ("efficientnet_lite0", "muybridge_vit", "slowfast", "slowfast_r50", "slowfast_r101", "builtin")
_MODELS = (*_FETCHED, "initialize")
_NAMES = (*_MODELS, "augment")
_PATTERNS = ("group-pattern",)
_OF_THE_MACHINE = ("compile", "device", "resume", "save-every", "spread", "tensorboard", "workers")


def take_options(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in, from the file that --config names, what the command line leaves open; cyclopts calls it.

    Raises:
        InputError: the file is missing, or not a mapping of names to plain values.
        OptionError: an unknown option, or one that a stranger may not choose.
    """
    asked = next((a.tokens[0].value for a in arguments if a.name == "--config" and a.tokens), None)
    if asked is None:
        return
    path, by_name = Path(asked), {name.removeprefix("--"): a for a in arguments for name in a.names}
    trained = path.suffix == ".safetensors" and commands[0] == "train"
    options = _of_model(path, _TASKS[commands[-1]]) if trained else _of_yaml(path)
    for name, value in options.items():
        if name not in by_name or name == "config":
            meant = get_close_matches(name, by_name, 1)
            hint = f" Did you mean {meant[0]}?" if meant else ""
            raise OptionError(f"{path}: there is no option {name!r} of muybridge {' '.join(commands)}.{hint}")
        asked_for, is_path = by_name[name].tokens, by_name[name].resolved_hint is Path
        if not trained or asked_for:
            continue
        if name in _PATTERNS or _is_elsewhere(name, value, options, is_path=is_path):
            why = "a pattern that a file may not choose" if name in _PATTERNS else "which is not here"
            raise OptionError(f"{path} was trained with {name} {value!r}, {why}. Give --{name} yourself")
    Dict(options, source=str(path), use_commands_as_keys=False)(app, commands, arguments)


def _is_elsewhere(name: str, value: Any, options: Mapping[str, Any], *, is_path: bool) -> bool:
    """Whether a value names a file outside of this folder, or something to fetch."""
    texts = [text for item in (value if isinstance(value, list) else [value]) for text in re.split("[=,]", str(item))]
    if name in _MODELS and any(":" in text or ("/" in text and not Path(text).exists()) for text in texts):
        return True
    if (
        name in _FETCHED
        and value not in _SHIPPED
        and "backbone-weights" not in options
        and not Path(str(value)).exists()
    ):
        return True
    return (is_path or name in _NAMES) and any(re.search(r"^\s*[/~\\]|^\w:\D|\.\.", text) for text in texts)


def _of_model(path: Path, task: str) -> dict[str, Any]:
    from muybridge.artifacts import load_artifact

    options = _checked(path, load_artifact(path, task=task).provenance.get("configuration"))
    return {name: value for name, value in options.items() if name not in _OF_THE_MACHINE}


def _of_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingInput(f"there is no file of options {path}")
    with path.open("rb") as file:
        content = file.read(_LARGEST_BYTES + 1)
    if len(content) > _LARGEST_BYTES:
        raise InputError(f"{path} is larger than a file of options is, which has {_LARGEST_BYTES} bytes at most")
    try:
        text = content.decode()
        _check_plain(path, text)
        return _checked(path, yaml.safe_load(text))
    except (yaml.YAMLError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise InputError(f"{path}{line}: is no YAML of options, such as 'epochs: 30' on a line of its own") from error


def _check_plain(path: Path, text: str) -> None:
    """Before anything is made of it: no tags, no references, no mapping within a mapping, no name twice."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        line = f"{path}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise InputError(f"{line}: a file of options holds plain values alone, no & * or !")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > 2 or (depth == 2 and isinstance(event, yaml.MappingStartEvent)):
            raise InputError(f"{line}: a file of options has no values within values. Write name: value")
    names = set[str]()
    root = yaml.compose(text, yaml.SafeLoader)
    for key, _ in root.value if isinstance(root, yaml.MappingNode) else ():
        if str(key.value) in names:
            raise InputError(f"{path}, line {key.start_mark.line + 1}: {key.value} is given twice. Give it once")
        names.add(str(key.value))


def _checked(path: Path, options: Any) -> dict[str, Any]:
    """A mapping of names to plain values or lists of them; values that are null are left out."""
    if not isinstance(options, Mapping):
        raise InputError(f"{path} holds no options, such as 'epochs: 30' on a line of its own")
    found: dict[str, Any] = {}
    for name, value in cast(Mapping[Any, Any], options).items():
        items: list[Any] = value if isinstance(value, list) else [value]
        if not isinstance(name, str) or not all(isinstance(item, _PLAIN) for item in items):
            raise InputError(f"{path}: {name} is no option with a plain value or a list of such. Write name: value")
        if value is not None:
            found[name.replace("_", "-")] = value
    return found
