"""What of an evaluation a user can choose, without what computes it."""

from typing import Literal

AvaProtocolName = Literal["ava-2019", "activitynet-2020", "slowfast", "mmaction2"]
DEFAULT_AVA_PROTOCOL: AvaProtocolName = "ava-2019"
