"""Many sets of adapters over one backbone: swapped, kept, and mixed within one batch."""

from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from muybridge.errors import ModelMismatch, OptionError
from muybridge.models.st_adapter.sets import AdapterBank, load_trained_state, trained_state
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT


def build(num_classes: int = 4, *, train_backbone: bool = False, **config: Any) -> VideoViT:
    torch.manual_seed(0)
    backbone = timm.create_model(
        "vit_tiny_patch16_224", depth=2, embed_dim=48, num_heads=2, num_classes=0, img_size=32
    )
    adapters = AdapterConfig(**{"width": 6, "placement": "attention+mlp", **config})
    return VideoViT(backbone, num_classes, adapters=adapters, train_backbone=train_backbone).eval()


def random_state(model: VideoViT, num_classes: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {name: torch.randn(t.shape, generator=generator) * 0.3 for name, t in trained_state(model).items()}
    state["head.weight"] = torch.randn(num_classes, model.dim, generator=generator)
    state["head.bias"] = torch.randn(num_classes, generator=generator)
    return state


FRAMES = torch.randn(5, 3, 3, 32, 32, generator=torch.Generator().manual_seed(7))


def test_a_set_holds_the_trained_tensors_and_survives_a_safetensors_file() -> None:
    model = build()
    state = trained_state(model)
    assert {n.split(".")[0] for n in state} == {"adapters", "head"}
    assert sum(t.numel() for t in state.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    read = safetensors.torch.load(safetensors.torch.save(random_state(model, 4, 1)))
    load_trained_state(model, read)
    assert all(torch.equal(tensor, read[name]) for name, tensor in trained_state(model).items())
    trained = {n for n in trained_state(build(train_backbone=True)) if n.startswith("backbone.")}
    assert trained == {f"backbone.{n}" for n in model.backbone.state_dict()}


def test_a_set_is_a_copy() -> None:
    model = build()
    state = trained_state(model)
    with torch.no_grad():
        model.head.weight.zero_()
    assert state["head.weight"].any()


@torch.no_grad()
def test_swapping_brings_the_other_logits_and_leaves_the_backbone() -> None:
    model = build()
    backbone = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    pointers = [parameter.data_ptr() for parameter in model.backbone.parameters()]
    states = [random_state(model, classes, seed) for seed, classes in enumerate((4, 7, 2))]
    logits = []
    for state in states:
        load_trained_state(model, state)
        logits.append(model(FRAMES))
    assert [out.shape[1] for out in logits] == [4, 7, 2]
    load_trained_state(model, states[0])
    assert torch.equal(model(FRAMES), logits[0])
    assert pointers == [parameter.data_ptr() for parameter in model.backbone.parameters()]
    assert all(torch.equal(tensor, backbone[name]) for name, tensor in model.backbone.state_dict().items())


@torch.no_grad()
def test_new_classes_from_trained_adapters() -> None:
    model = build(num_classes=3)
    state = random_state(model, 9, 1)
    head = model.head.weight.clone()
    load_trained_state(model, state, head="keep")
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.adapters["0"]["mlp"].down.weight, state["adapters.0.mlp.down.weight"])


def test_a_wrong_set_is_refused_whole() -> None:
    model = build()
    before = trained_state(model)
    state = random_state(model, 4, 1)
    wrong = {**state, "adapters.0.mlp.down.weight": torch.zeros(2, 2), "adapters.5.mlp.up.bias": torch.zeros(1)}
    del wrong["adapters.1.attention.conv.bias"]
    with pytest.raises(ModelMismatch) as error:
        load_trained_state(model, wrong)
    for part in (
        "missing adapters.1.attention.conv.bias",
        "unknown adapters.5.mlp.up.bias",
        r"adapters.0.mlp.down.weight is (2, 2) instead of (6, 48)",
    ):
        assert part in str(error.value)
    with pytest.raises(ModelMismatch, match=r"head\.weight is \(4, 3\)"):
        load_trained_state(model, {**state, "head.weight": torch.zeros(4, 3)})
    headless = {name: tensor for name, tensor in state.items() if name != "head.bias"}
    with pytest.raises(ModelMismatch, match="head='keep'"):
        load_trained_state(model, headless)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained_state(model).items())


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"kernel": (3, 3, 3)},
        {"causal": True, "activation": "gelu"},
        {"frequency_scales": (1, 2)},
        {"placement": "mlp"},
    ],
)
@torch.no_grad()
def test_one_batch_with_different_adapters_equals_running_them_apart(config: dict[str, Any]) -> None:
    model = build(**config)
    states = [random_state(model, classes, seed) for seed, classes in enumerate((4, 7, 2))]
    choice = torch.tensor([2, 0, 1, 1, 0])
    mixed = model(FRAMES, AdapterBank(model, states).select(choice))
    assert mixed.shape == (5, 7)
    for sample, which in enumerate(choice.tolist()):
        load_trained_state(model, states[which])
        alone = model(FRAMES[sample : sample + 1])[0]
        torch.testing.assert_close(mixed[sample, : len(alone)], alone, rtol=1e-4, atol=1e-5)
        assert (mixed[sample, len(alone) :] == float("-inf")).all()


@torch.no_grad()
def test_heads_alone_can_be_mixed_too() -> None:
    backbone = build().backbone
    model = VideoViT(backbone, 3).eval()
    states = [random_state(model, 3, seed) for seed in range(2)]
    mixed = model(FRAMES[:2], AdapterBank(model, states).select(torch.tensor([1, 0])))
    for sample, which in enumerate((1, 0)):
        load_trained_state(model, states[which])
        torch.testing.assert_close(mixed[sample], model(FRAMES[sample : sample + 1])[0])


def test_a_bank_names_what_does_not_fit() -> None:
    model = build()
    good = random_state(model, 4, 1)
    with pytest.raises(ModelMismatch, match=r"Set 1 of the bank.*missing adapters\.0\.mlp\.up\.bias"):
        AdapterBank(model, [good, {n: t for n, t in good.items() if n != "adapters.0.mlp.up.bias"}])
    with pytest.raises(OptionError, match="states is empty"):
        AdapterBank(model, [])
    bank = AdapterBank(model, [good])
    with pytest.raises(OptionError, match="weights and history"):
        model.frame_features(FRAMES[:1], weights=bank.select(torch.tensor([0])), history={})
    assert isinstance(bank, nn.Module)
