"""Public names that a package offers without importing the modules they live in.

torch and timm take seconds to import, which `--help` and modules of options must not wait for.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`: imports a name's module when the name is first asked for.

    Args:
        modules: for each public name, the module that defines it.
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return load
