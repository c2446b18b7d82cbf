"""Stylize: a picture or a video painted in the style of any image (Avatar-Net). Read `stylizer.py` first."""

from typing import TYPE_CHECKING

from muybridge.lazy import lazy_exports

if TYPE_CHECKING:
    from muybridge.stylize.options import StylizeConfig, TemporalConfig
    from muybridge.stylize.stylizer import Style, Stylizer

__all__ = ["Style", "StylizeConfig", "Stylizer", "TemporalConfig"]

__getattr__ = lazy_exports(
    __name__,
    {
        "Style": "muybridge.stylize.stylizer",
        "StylizeConfig": "muybridge.stylize.options",
        "Stylizer": "muybridge.stylize.stylizer",
        "TemporalConfig": "muybridge.stylize.options",
    },
)
