"""What of Avatar-Net can be named without the network itself."""

from typing import Literal

STRIDE = 8
MIN_SIDE = 32

Projection = Literal["zca", "adain"]
Interpolation = Literal["biased", "normalized"]
