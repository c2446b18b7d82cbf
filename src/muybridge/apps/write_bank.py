"""`muybridge write-bank`."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from muybridge.options import Seconds


def write_bank(
    inputs: list[str],
    /,
    *,
    model: Annotated[str, Parameter(alias="-m")],
    out: Annotated[Path, Parameter(alias="-o")],
    detector: str | None = None,
    boxes: Path | None = None,
    min_score: float = 0.5,
    every: Seconds = 1.0,
    backbone_weights: Path | None = None,
    device: str = "auto",
) -> int:
    """Write the feature bank of videos: what a localizer saw of everybody at every key frame.

    A second localizer reads it in a window of time, so that what happened seconds ago, or is about to, counts:
    `muybridge train localizer --banks FOLDER`.

    Parameters
    ----------
    inputs
        Videos, folders of videos or of frames, globs.
    model
        A localizer with the acar head.
    out
        Folder for the banks, one file a video, named as the video.
    detector
        What finds people; by default the built-in one.
    boxes
        A file of people's boxes in place of a detector.
    min_score
        Nobody begins with a box that the detector is less sure of; who is followed goes on with less.
    every
        Time from one entry of the bank to the next.
    backbone_weights
        File of the image model's weights, where its name does not bring them,
        or timm to fetch the published ones.
    device
        auto, cpu, cuda, cuda:1, mps.
    """
    from muybridge.apps import batch
    from muybridge.data.annotations.files import read_boxes
    from muybridge.errors import OptionError
    from muybridge.localize.options import BUILT_IN, LocalizeConfig
    from muybridge.media.films import check_film
    from muybridge.media.sources import clip_sources

    config = LocalizeConfig(every=every, look_every=min(every, LocalizeConfig.look_every), min_score=min_score)
    sources = clip_sources(inputs)
    live = next((source.location for source in sources if source.kind == "stream"), None)
    if live is not None:
        raise OptionError(
            f"{live} is live, and its bank is kept while it is localized. Give videos or folders of frames"
        )
    targets = [out / f"{source.name}.safetensors" for source in sources]
    if len(set(targets)) < len(targets):
        raise OptionError("two videos have the same name, and would have the same bank. Write them to two folders")
    batch.check_model(model, task="localize", built_in=BUILT_IN)

    def load() -> batch.Work:
        from muybridge.localize.files import bank_file
        from muybridge.localize.localizer import Localizer

        given = None if boxes is None else read_boxes(boxes, [source.path for source in sources], rename_lone=True)
        localizer = Localizer.from_pretrained(
            model, detector=detector, device=device, backbone_weights=backbone_weights
        )
        return partial(bank_file, localizer, boxes=given, config=config)

    return batch.run(sources, targets, load, check=check_film)
