"""muybridge takes image models to video: recognize, localize and stylize what moves."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muybridge.tasks.localize import Localizer
    from muybridge.tasks.recognize import Prediction, Recognizer, RecognizerBank
    from muybridge.tasks.stylize import Style, StylizeConfig, Stylizer

__version__ = "0.1.0"
__all__ = [
    "Localizer",
    "Prediction",
    "Recognizer",
    "RecognizerBank",
    "Style",
    "StylizeConfig",
    "Stylizer",
    "__version__",
]

_MODULES = {
    "Localizer": "localize",
    "Prediction": "recognize",
    "Recognizer": "recognize",
    "RecognizerBank": "recognize",
    "Style": "stylize",
    "StylizeConfig": "stylize",
    "Stylizer": "stylize",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: torch takes seconds, and the command line's help must not wait for it.
    if name in _MODULES:
        return getattr(import_module(f"muybridge.tasks.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'muybridge' has no attribute {name!r}")
