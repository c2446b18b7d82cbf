"""All that makes the training of a stylizer what it is, as data: the options of `muybridge train stylizer`."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated

from muybridge.errors import OptionError
from muybridge.options import BASIC, DATA, FLAT, HIDDEN, RUN, TRAINING
from muybridge.training.fit_config import FitConfig


@dataclass(frozen=True)
class StylizerFitConfig(FitConfig):
    """How to train a stylizer, as in section 3.4 of the paper.

    Attributes:
        steps: Optimizer steps.
        validate_every: Steps between measurements on the held-out photographs.
    """

    epochs: Annotated[float, HIDDEN] = 30
    steps: Annotated[int, BASIC] = 120_000
    validations: Annotated[int, HIDDEN] = 0
    validate_every: int = 2000
    workers: Annotated[int, RUN] = 2


@dataclass(frozen=True)
class StylizerPlan:
    """All that makes a run what it is.

    Attributes:
        photos: Photographs, folders, globs. Every fiftieth is held out to measure the reconstruction.
        encoder: vgg19 is torchvision's, fetched over the network once; a .pth file is the same from disk; builtin
            takes the small encoder that ships with muybridge.
        short_side: Pixels that a photograph's short side is scaled to.
        crop: Side of the random crop in pixels.
        config: how to train.
    """

    photos: Annotated[tuple[str, ...], BASIC]
    _: KW_ONLY
    encoder: Annotated[str, BASIC] = "vgg19"
    short_side: Annotated[int, DATA] = 512
    crop: Annotated[int, DATA] = 256
    config: Annotated[StylizerFitConfig, FLAT, TRAINING] = field(default_factory=StylizerFitConfig)

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.short_side or self.crop % 8:
            raise OptionError(
                f"crop={self.crop} must be a multiple of 8 and at most the short side, {self.short_side}"
            )
