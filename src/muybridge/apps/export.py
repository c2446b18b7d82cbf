"""`muybridge export`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def export(
    model: str,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    backbone_weights: Path | None = None,
    tolerance: float = 1e-3,
) -> None:
    """Write a recognizer as one file that runs without muybridge, and check that its answers are the same.

    Parameters
    ----------
    model
        camera, a .safetensors file, or OWNER/NAME on the Hugging Face hub.
    out
        Ends in .onnx for ONNX Runtime (pip install 'muybridge[onnx]'), in .pt2 for torch.export.load.
    backbone_weights
        File of the frozen image model's weights, where its name does not bring them,
        or timm to fetch the published ones.
    tolerance
        Largest difference of a logit that is accepted.
    """
    from muybridge.apps.batch import check_apart
    from muybridge.recognize.export import check_export_path, export_recognizer
    from muybridge.recognize.recognizer import Recognizer

    check_export_path(out)
    check_apart(out, [model])
    recognizer = Recognizer.from_pretrained(model, device="cpu", backbone_weights=backbone_weights)
    report = export_recognizer(recognizer, out, tolerance=tolerance)
    print(  # noqa: T201
        f"{report.path}: {report.size_bytes / 1e6:.1f} MB, logits differ by {report.largest_difference:.1e} at most"
    )
    if recognizer.motion is not None:
        print(f"{report.path} holds the network alone: what {model} says of motion is not in it")  # noqa: T201
