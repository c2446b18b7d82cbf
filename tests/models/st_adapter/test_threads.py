"""One model, or several over one backbone, in several threads: nobody sees another's run."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.distributed import HashStore, destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from muybridge.models.st_adapter.sets import AdapterBank, trained_state
from muybridge.models.st_adapter.stream import CausalStream
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from tests.running_threads import in_threads

BOTH = AdapterConfig(width=6, placement="attention+mlp")


def backbone() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", depth=3, embed_dim=48, num_heads=2, num_classes=0, img_size=48)


def adapted(vit: nn.Module, config: AdapterConfig = BOTH, *, seed: int = 0, **options: Any) -> VideoViT:
    torch.manual_seed(seed)
    model = VideoViT(vit, 4, adapters=config, dropout=0, **options).eval()
    with torch.no_grad():
        for parameter in (*model.adapters.parameters(), *model.head.parameters()):
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    return model


@pytest.fixture
def vit() -> Iterator[nn.Module]:
    yield backbone()


def clip(frames: int) -> Tensor:
    return torch.randn(1, frames, 3, 48, 48, generator=torch.Generator().manual_seed(frames))


@torch.no_grad()
def test_eight_threads_over_one_model_are_told_what_each_would_be_told_alone(vit: nn.Module) -> None:
    """Of equal lengths too, which mix without any error: what another's adapter worked out has the right shape."""
    model = adapted(vit)
    clips = [clip(3) + number for number in range(4)] + [clip(length) for length in (2, 4, 5, 6)]
    alone = [model(frames) for frames in clips]
    for _ in range(5):
        found = in_threads(model, clips)
        assert all(torch.equal(mine, truth) for mine, truth in zip(found, alone, strict=True))


@torch.no_grad()
def test_models_over_one_backbone_streams_and_mixed_batches_run_side_by_side(vit: nn.Module) -> None:
    first, second = adapted(vit), adapted(vit, AdapterConfig(width=4), seed=1)
    causal = adapted(vit, AdapterConfig(width=6, causal=True), seed=2)
    bank = AdapterBank(first, [trained_state(first), trained_state(adapted(vit, seed=3))])
    frames = clip(3)

    def stream() -> Tensor:
        state = CausalStream(causal)
        return torch.stack([state(frames[:, time]) for time in range(3)])

    asked = [
        lambda: first(frames),
        lambda: second(frames),
        lambda: causal(frames),
        stream,
        lambda: first(frames.repeat(2, 1, 1, 1, 1), bank.select(torch.tensor([0, 1]))),
        lambda: second.frame_features(frames),
        lambda: vit(frames[0]),
        lambda: first.forward_prefix(frames),
    ]
    alone = [ask() for ask in asked]
    for _ in range(5):
        found = in_threads(lambda ask: ask(), asked)
        assert all(torch.equal(mine, truth) for mine, truth in zip(found, alone, strict=True))


def test_a_new_model_never_puts_a_frozen_backbone_into_training_mode(vit: nn.Module) -> None:
    """Dropout and dropped paths of a backbone would act on whoever runs it at that moment."""
    vit.eval()
    modes: list[bool] = []

    class Watched(type(vit.blocks[0])):  # type: ignore[misc, name-defined]
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "training":
                modes.append(value)
            super().__setattr__(name, value)

    vit.blocks[0].__class__ = Watched  # type: ignore[index]
    model = VideoViT(vit, 4, adapters=BOTH)
    model.train()
    model.eval()
    assert not any(modes)
    assert (model.training, model.train().head.training, model.adapters.training) == (False, True, True)


def test_checkpointing_runs_a_block_again_in_the_thread_of_the_way_back(vit: nn.Module) -> None:
    """Also while the thread that ran it forwards is at other clips."""
    model = adapted(vit).train()
    frames = clip(3)

    def gradients(loss: Tensor) -> list[Tensor]:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return list(torch.autograd.grad(loss, trained, allow_unused=False))

    expected = gradients(model(frames).square().sum())
    model.gradient_checkpointing = True
    losses = [model(frames).square().sum() for _ in range(4)]
    expected_elsewhere = model(clip(5))

    def there_or_back(loss: Tensor | None) -> list[Tensor]:
        return [model(clip(5)).detach()] if loss is None else gradients(loss)

    found = in_threads(there_or_back, [*losses, None, None])
    for mine in found[:4]:
        for gradient, truth in zip(mine, expected, strict=True):
            torch.testing.assert_close(gradient, truth)
    assert torch.equal(found[4][0], expected_elsewhere)


def test_a_compiled_model_gives_the_same_in_a_thread_that_did_not_compile_it(vit: nn.Module) -> None:
    model = adapted(vit)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    with torch.no_grad():
        expected = model(clip(3))
        torch.testing.assert_close(compiled(clip(3)), expected)
        found: list[Tensor] = []

        def run() -> None:
            with torch.no_grad():
                found.append(compiled(clip(3)))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    torch.testing.assert_close(found[0], expected)


@pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason=f"torch {torch.__version__} has FSDP2 on GPUs only"
)
def test_sharded_blocks_give_the_same_logits_and_gradients() -> None:
    """FSDP2 gathers a block's weights in hooks of its own, around those of the adapters."""
    plain = adapted(backbone(), trim_last_block=False).train()
    frames = clip(3)
    expected = plain(frames)
    expected.square().sum().backward()
    init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        sharded = adapted(backbone(), trim_last_block=False).train()
        mesh = init_device_mesh("cpu", (1,))
        for block in sharded.tower.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(sharded, mesh=mesh)
        found = sharded(frames)
        torch.testing.assert_close(found, expected)
        found.square().sum().backward()
        wanted = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
        given: dict[str, Any] = {name: p.grad for name, p in sharded.named_parameters() if p.grad is not None}
        assert wanted.keys() == given.keys()
        for name, gradient in given.items():
            torch.testing.assert_close(gradient.full_tensor(), wanted[name])
    finally:
        destroy_process_group()
