"""Sound files to break, as small as they can be. Each function writes one into a folder and returns its path."""

from pathlib import Path

import numpy as np


def film(folder: Path, *, frames: int = 8, side: int = 64) -> Path:
    """A short film: noise, at 8 frames a second."""
    from fractions import Fraction

    from muybridge.media.video_writer import VideoWriter

    path = folder / "film.mp4"
    random = np.random.default_rng(0)
    with VideoWriter(path, width=side, height=side, rate=Fraction(8)) as writer:
        for number in range(frames):
            writer.write(random.integers(0, 256, (side, side, 3), np.uint8), Fraction(number, 8))
    return path


def picture(folder: Path) -> Path:
    """A small photograph."""
    from PIL import Image

    path = folder / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)).save(path)
    return path


def recognizer(folder: Path) -> Path:
    """Adapters in the built-in ViT."""
    return _recognizer(folder, "adapters", "muybridge_vit")


def convolution_recognizer(folder: Path) -> Path:
    """Adapters in the built-in EfficientNet."""
    return _recognizer(folder, "adapters", "efficientnet_lite0")


def head_recognizer(folder: Path) -> Path:
    """A head alone, on the built-in ViT."""
    return _recognizer(folder, "head", "muybridge_vit")


def full_recognizer(folder: Path) -> Path:
    """A recognizer whose image model was trained too and is in its file."""
    return _recognizer(folder, "full", "test_vit")


def _recognizer(folder: Path, method: str, name: str) -> Path:
    import torch

    from muybridge.data.clips.sampling import SamplingConfig
    from muybridge.data.label_maps import LabelMap
    from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
    from muybridge.pretrained import load_backbone
    from muybridge.recognize.recognizer import Recognizer

    film(folder)
    torch.manual_seed(0)
    if method == "full":
        backbone, identity = load_backbone(name, random=True, img_size=32)
    else:
        backbone, identity = load_backbone(name)
    adapters = AdapterConfig(width=4, blocks=2) if method == "adapters" else None
    model = VideoViT(backbone, 3, adapters=adapters, train_backbone=method == "full")
    labels = LabelMap(("jump", "run", "sit"), (0, 1, 2))
    sampling = SamplingConfig(frames=2, size=(32, 32))
    path = folder / "recognizer.safetensors"
    Recognizer(model, labels, sampling, backbone=identity, device="cpu").save(path)
    return path


def slowfast_localizer(folder: Path) -> Path:
    """A localizer on a tiny SlowFast network."""
    return _localizer(folder, "slowfast")


def adapter_localizer(folder: Path) -> Path:
    """A localizer on the built-in image model."""
    return _localizer(folder, "muybridge_vit")


def _localizer(folder: Path, trunk: str) -> Path:
    import torch

    from muybridge.data.label_maps import LabelMap
    from muybridge.localize.localizer import Localizer
    from muybridge.localize.objective import LocalizerConfig, build_localizer
    from muybridge.models.acar.slowfast import SlowFastConfig
    from muybridge.models.st_adapter.video_vit import AdapterConfig

    film(folder)
    boxes(folder)
    torch.manual_seed(0)
    slowfast = trunk == "slowfast"
    config = LocalizerConfig(
        trunk=trunk,
        slowfast=SlowFastConfig(blocks=(1, 1, 1, 1), width=4, fast_ratio=2, alpha=2, frames=4) if slowfast else None,
        adapters=None if slowfast else AdapterConfig(width=4, blocks=1),
        frames=4, rate=8.0, short_side=96, reduced=8, hidden=4, depth=1,
    )  # fmt: skip
    labels = LabelMap(("stand", "walk", "wave"), (1, 2, 5), ((0, 1),))
    built = build_localizer(config, len(labels))
    path = folder / "localizer.safetensors"
    Localizer(
        built.network, built.config, labels, built.sampling, backbone=built.backbone, device="cpu",
        usual_speeds=None if slowfast else {"stand": (-2.0, 0.5), "walk": (-0.5, 0.3)},
    ).save(path)  # fmt: skip
    return path


def boxes(folder: Path) -> Path:
    """People's boxes in the film, as AVA writes them."""
    path = folder / "boxes.csv"
    path.write_text("".join(f"film,{second},0.1,0.2,0.6,0.9,1,0\n" for second in (0, 1)))
    return path


def stylizer(folder: Path) -> Path:
    """A tiny Avatar-Net, with a photograph and a saved style of it."""
    import torch

    from muybridge.models.avatar_net.network import AvatarNet, AvatarNetConfig
    from muybridge.stylize.stylizer import Stylizer

    picture(folder)
    torch.manual_seed(0)
    model = Stylizer(AvatarNet(AvatarNetConfig((4, 4, 6, 8))), fingerprint="")
    path = folder / "stylizer.safetensors"
    model.save(path)
    return path


def style(folder: Path) -> Path:
    """A saved style of the stylizer beside it."""
    from muybridge.stylize.stylizer import Stylizer

    model = Stylizer.from_pretrained(stylizer(folder), device="cpu")
    path = folder / "style.safetensors"
    model.encode_style(folder / "picture.png", size=48).save(path)
    return path


def detector(folder: Path) -> Path:
    """A tiny detector of people."""
    import torch

    from muybridge.models.person_detector import PersonDetector, PersonDetectorConfig
    from muybridge.people.built_in import BuiltInDetector

    film(folder)
    torch.manual_seed(0)
    network = PersonDetector(PersonDetectorConfig(4, (1, 1, 1, 1), 8, 4))
    path = folder / "detector.safetensors"
    BuiltInDetector(network, short_side=64, device="cpu").save(path)
    return path


def onnx_detector(folder: Path) -> Path:
    """A detector that finds one person wherever it looks."""
    import onnx
    from onnx import TensorProto, helper

    film(folder)
    table = [0.5, 0.5, 0.4, 0.8, 0.9]
    node = helper.make_node(
        "Constant", [], ["out"], value=helper.make_tensor("out", TensorProto.FLOAT, (1, 5, 1), table)
    )
    graph = helper.make_graph(
        [node],
        "detector",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, (1, 3, 32, 32))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 5, 1))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": "['person']"})
    path = folder / "detector.onnx"
    onnx.save(model, path)
    return path


def bank(folder: Path) -> Path:
    """A feature bank of the film, with the localizer that reads it."""
    import torch

    from muybridge.data.feature_bank import FeatureBankWriter
    from muybridge.data.localization import BankSpan
    from muybridge.localize.localizer import Localizer

    writer = Localizer.from_pretrained(slowfast_localizer(folder), device="cpu")
    reader = Localizer(
        writer.network, writer.config, writer.labels, writer.sampling, device="cpu",
        bank_span=BankSpan(5.0, 5.0), bank_model=writer.fingerprint,
    )  # fmt: skip
    reader.save(folder / "reader.safetensors")
    path = folder / "film.safetensors"
    with FeatureBankWriter(path, model=writer.fingerprint, video="film.mp4") as bank:
        for second in (0.0, 1.0):
            bank.append(second, torch.rand(2, writer.config.head.hidden, 1, 1), torch.rand(2, 4))
    return path


def torch_weights(folder: Path) -> Path:
    """Weights of timm's smallest ViT, as torch writes them."""
    return _weights(folder, zipped=True)


def old_torch_weights(folder: Path) -> Path:
    """The same as torch wrote them before 2020."""
    return _weights(folder, zipped=False)


def _weights(folder: Path, *, zipped: bool) -> Path:
    import torch

    from muybridge.models.backbones import create_backbone

    path = folder / "weights.pth"
    state = {"state_dict": create_backbone("test_vit", pretrained=False).state_dict()}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    return path


def safe_weights(folder: Path) -> Path:
    """The same as safetensors."""
    from safetensors.torch import save_file

    from muybridge.models.backbones import create_backbone

    path = folder / "weights.safetensors"
    save_file(create_backbone("test_vit", pretrained=False).state_dict(), path)
    return path


def read_weights(path: Path) -> None:
    """Loads them."""
    from muybridge.models.backbones import create_backbone

    create_backbone("test_vit", checkpoint_path=path)
