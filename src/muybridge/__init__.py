"""muybridge takes image models to video: recognize, localize and stylize what moves."""

from typing import TYPE_CHECKING

from muybridge.lazy import lazy_exports

if TYPE_CHECKING:
    from muybridge.localize import Localizer
    from muybridge.recognize import Prediction, Recognizer, RecognizerBank
    from muybridge.stylize import Style, StylizeConfig, Stylizer

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

__getattr__ = lazy_exports(
    __name__,
    {
        "Localizer": "muybridge.localize",
        "Prediction": "muybridge.recognize",
        "Recognizer": "muybridge.recognize",
        "RecognizerBank": "muybridge.recognize",
        "Style": "muybridge.stylize",
        "StylizeConfig": "muybridge.stylize",
        "Stylizer": "muybridge.stylize",
    },
)
