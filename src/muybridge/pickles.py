"""Pickles of strangers: what may be read at all, whoever reads it then.

That nothing is executed is the reader's care. These refuse what takes all time or memory for nothing: keys that are
containers, whose hash takes as long as all that they nest (a tuple of a tuple twice, forty times over, is two hundred
bytes), and names that allocate what a number tells them to.
"""

import pickle
from collections.abc import Callable
from typing import IO, Any, ClassVar, cast

# The one in Python, as the one in C cannot be asked before each key.
_Unpickler: Any = cast(Any, pickle)._Unpickler
_KEYS = (str, bytes, int, float, bool, type(None))
_ENCODINGS = ("latin1", "latin-1", "utf-8", "utf8", "ascii")


def _check_keys(keys: Any) -> None:
    for key in keys:
        if not isinstance(key, (*_KEYS, Inert)):
            raise pickle.UnpicklingError(f"a {type(key).__name__} as a key")


class PlainUnpickler(_Unpickler):
    """An unpickler whose dictionaries and sets have plain keys."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_Unpickler.dispatch)

    def _load_item(self) -> None:
        _check_keys(self.stack[-2:-1])
        _Unpickler.load_setitem(self)

    def _load_items(self) -> None:
        _check_keys(self.stack[::2])  # since the mark
        _Unpickler.load_setitems(self)

    def _load_dict(self) -> None:
        _check_keys(self.stack[::2])
        _Unpickler.load_dict(self)

    def _load_members(self) -> None:
        _check_keys(self.stack)
        _Unpickler.load_additems(self)

    def _load_frozen(self) -> None:
        _check_keys(self.stack)
        _Unpickler.load_frozenset(self)

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("a kind of bytes that no file of tensors has")

    dispatch |= {
        pickle.SETITEM[0]: _load_item,
        pickle.SETITEMS[0]: _load_items,
        pickle.DICT[0]: _load_dict,
        pickle.ADDITEMS[0]: _load_members,
        pickle.FROZENSET[0]: _load_frozen,
        pickle.BYTEARRAY8[0]: _refuse,  # allocated before the file is found to be shorter
    }


class Inert:
    """Stands for whatever a pickle names, makes or stores elsewhere; takes everything, and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> "Inert":
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Nothing."""

    def extend(self, items: object) -> None:
        """Nothing."""

    def add(self, item: object) -> None:
        """Nothing."""


class _InertMapping(Inert):
    def __init__(self, *given: Any) -> None:
        for each in given:  # a dict has been looked at; pairs have not
            if not isinstance(each, dict):
                _check_keys(pair[0] for pair in each)


class _InertSet(Inert):
    def __init__(self, *given: Any) -> None:
        for each in given:
            _check_keys(each)


class _InertBytes(Inert):
    def __init__(self, *given: Any) -> None:
        if any(isinstance(each, int) for each in given):
            raise pickle.UnpicklingError("bytes of a stated length")


class _InertEncoding(Inert):
    def __init__(self, *given: Any) -> None:
        if any(each not in _ENCODINGS for each in given[1:]):  # some take time that grows with the square
            raise pickle.UnpicklingError("an unusual encoding")


_STAND_INS = {
    "OrderedDict": _InertMapping,
    "Counter": _InertMapping,
    "defaultdict": Inert,
    "set": _InertSet,
    "frozenset": _InertSet,
    "bytearray": _InertBytes,
    "encode": _InertEncoding,
}


class _Rehearsal(PlainUnpickler):
    def find_class(self, _: str, name: str, /) -> Any:
        return _STAND_INS.get(name, Inert)

    def persistent_load(self, _: Any, /) -> Any:
        return Inert()


def rehearse(file: IO[bytes]) -> None:
    """Go through a pickle with stand-ins for all that it names; the file is then at its end.

    Raises:
        pickle.UnpicklingError: it would take more time or memory than its size warrants.
        Exception: of any kind, where it is no sound pickle.
    """
    _Rehearsal(file, encoding="bytes").load()
