"""Localize: who does what, where and when (ACAR-Net). Read `localizer.py` first."""

from typing import TYPE_CHECKING

from muybridge.lazy import lazy_exports

if TYPE_CHECKING:
    from muybridge.localize.localizer import Localizer
    from muybridge.localize.options import LocalizeConfig
    from muybridge.localize.results import LocalizeResult

__all__ = ["LocalizeConfig", "LocalizeResult", "Localizer"]

__getattr__ = lazy_exports(
    __name__,
    {
        "LocalizeConfig": "muybridge.localize.options",
        "LocalizeResult": "muybridge.localize.results",
        "Localizer": "muybridge.localize.localizer",
    },
)
