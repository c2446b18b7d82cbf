"""Checkpoints in the authors' layout, made by a plain model written here: their names, conv3d, no token left out."""

import pytest
import timm
import torch
from torch import Tensor, nn

from muybridge.errors import ModelMismatch
from muybridge.models.st_adapter.checkpoint import import_authors_checkpoint, load_imported
from muybridge.models.st_adapter.sets import trained_state
from muybridge.models.st_adapter.video_vit import VideoViT

WIDTH, HEADS, PATCH, SIZE, BOTTLENECK, CLASSES = 64, 1, 16, 48, 8, 5


class PlainAdapter(nn.Module):
    def __init__(self, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(WIDTH, BOTTLENECK)
        self.conv = nn.Conv3d(
            BOTTLENECK, BOTTLENECK, kernel, padding=[size // 2 for size in kernel], groups=BOTTLENECK
        )
        self.fc2 = nn.Linear(BOTTLENECK, WIDTH)

    def forward(self, tokens: Tensor, frames: int) -> Tensor:
        side = SIZE // PATCH
        patches = self.fc1(tokens[:, 1:]).reshape(-1, frames, side, side, BOTTLENECK)
        mixed = self.conv(patches.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
        return torch.cat([tokens[:, :1], tokens[:, 1:] + self.fc2(mixed.flatten(2, 3).flatten(0, 1))], dim=1)


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class PlainBlock(nn.Module):
    def __init__(self, *, attention: bool, mlp: bool, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(WIDTH, 4 * WIDTH))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * WIDTH, WIDTH))
        self.adapter_pre_attn = PlainAdapter(kernel) if attention else None
        self.adapter_pre_mlp = PlainAdapter(kernel) if mlp else None

    def forward(self, x: Tensor, frames: int) -> Tensor:
        x = x if self.adapter_pre_attn is None else self.adapter_pre_attn(x, frames)
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        x = x if self.adapter_pre_mlp is None else self.adapter_pre_mlp(x, frames)
        return x + self.mlp(self.ln_2(x))


class PlainModel(nn.Module):
    """OpenAI CLIP's image tower with adapters in its last blocks, and a head."""

    def __init__(self, *, blocks: int, attention: bool, kernel: tuple[int, int, int], depth: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(WIDTH))
        self.positional_embedding = nn.Parameter(torch.empty((SIZE // PATCH) ** 2 + 1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(
            PlainBlock(attention=attention and adapted, mlp=adapted, kernel=kernel)
            for adapted in (index >= depth - blocks for index in range(depth))
        )
        self.fc = nn.Linear(WIDTH, CLASSES)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2, generator=generator)

    def forward(self, frames: Tensor) -> Tensor:
        B, T = frames.shape[:2]
        x = self.conv1(frames.flatten(0, 1)).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(B * T, 1, -1), x], dim=1) + self.positional_embedding
        x = self.ln_pre(x)
        for block in self.transformer.resblocks:
            x = block(x, T)
        return self.fc(self.ln_post(x[:, 0].reshape(B, T, WIDTH).mean(dim=1)))


def backbone(name: str = "vit_base_patch16_clip_quickgelu_224") -> nn.Module:
    return timm.create_model(name, depth=3, embed_dim=WIDTH, num_heads=HEADS, num_classes=0, img_size=SIZE)


def rest_of_clip() -> dict[str, Tensor]:
    """Names of OpenAI CLIP that are not the image tower's."""
    return {
        "visual.proj": torch.zeros(WIDTH, 4),
        "text_projection": torch.zeros(4, 4),
        "logit_scale": torch.zeros(()),
        "positional_embedding": torch.zeros(77, 4),
        "token_embedding.weight": torch.zeros(9, 4),
        "ln_final.weight": torch.zeros(4),
        "transformer.resblocks.0.attn.in_proj_weight": torch.zeros(12, 4),
    }


FRAMES = torch.randn(2, 4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("keep_dead", [False, True])
@pytest.mark.parametrize(
    ("blocks", "attention", "kernel"), [(3, False, (3, 1, 1)), (2, True, (3, 1, 1)), (3, False, (3, 3, 3))]
)
@torch.no_grad()
def test_the_whole_checkpoint_gives_the_authors_logits(
    blocks: int, attention: bool, kernel: tuple[int, int, int], keep_dead: bool
) -> None:
    plain = PlainModel(blocks=blocks, attention=attention, kernel=kernel).eval()
    imported = import_authors_checkpoint({"model": plain.state_dict()}, keep_dead=keep_dead)
    assert (imported.config.width, imported.config.kernel, imported.config.blocks) == (BOTTLENECK, kernel, blocks)
    assert imported.config.placement == ("attention+mlp" if attention else "mlp")
    assert len(imported.dead) == (0 if keep_dead else 6)
    assert imported.unused == ()
    model = VideoViT(backbone(), 2, adapters=imported.config).eval()
    load_imported(model, imported)
    torch.testing.assert_close(model(FRAMES), plain(FRAMES), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_trained_tensors_alone_join_openai_clip_or_timm_weights() -> None:
    plain = PlainModel(blocks=3, attention=False, kernel=(3, 1, 1)).eval()
    state = plain.state_dict()
    trained = {f"module.{n}": t for n, t in state.items() if "adapter" in n or n.startswith("fc.")}
    tower = {f"visual.{n}": t for n, t in state.items() if "adapter" not in n and not n.startswith("fc.")}
    imported = import_authors_checkpoint(trained, clip={**tower, **rest_of_clip()})
    assert set(imported.unused) == set(rest_of_clip())
    model = VideoViT(backbone(), imported.num_classes, adapters=imported.config).eval()
    load_imported(model, imported)
    torch.testing.assert_close(model(FRAMES), plain(FRAMES), rtol=1e-4, atol=1e-4)
    without = import_authors_checkpoint(trained)
    assert without.backbone == {}
    load_imported(model, without)
    torch.testing.assert_close(model(FRAMES), plain(FRAMES), rtol=1e-4, atol=1e-4)


def test_every_name_is_accounted_for() -> None:
    state = PlainModel(blocks=2, attention=False, kernel=(3, 1, 1)).state_dict()
    lacking = {n: t for n, t in state.items() if n != "transformer.resblocks.1.adapter_pre_mlp.conv.bias"}
    with pytest.raises(ModelMismatch, match=r"lacks transformer\.resblocks\.1\.adapter_pre_mlp\.conv\.bias"):
        import_authors_checkpoint(lacking)
    with pytest.raises(ModelMismatch, match=r"neither.*: fc3\.weight, transformer\.resblocks\.0\.adapter_new\.fc1"):
        import_authors_checkpoint(
            {**state, "transformer.resblocks.0.adapter_new.fc1": torch.zeros(1), "fc3.weight": torch.zeros(1)}
        )
    with pytest.raises(ModelMismatch, match=r"lacks fc\.weight"):
        import_authors_checkpoint({n: t for n, t in state.items() if n != "fc.weight"})
    with pytest.raises(ModelMismatch, match="no adapter_pre_attn"):
        import_authors_checkpoint({n: t for n, t in state.items() if "adapter" not in n})
    mixed = {**state, "transformer.resblocks.1.adapter_pre_mlp.fc1.bias": torch.zeros(3)}
    with pytest.raises(ModelMismatch, match="differ among themselves"):
        import_authors_checkpoint(mixed)


def test_a_model_that_does_not_fit_is_left_as_it_was() -> None:
    imported = import_authors_checkpoint(PlainModel(blocks=3, attention=False, kernel=(3, 1, 1)).state_dict())
    with pytest.raises(ModelMismatch, match=r"QuickGELU.*clip_quickgelu"):
        load_imported(VideoViT(backbone("vit_base_patch16_clip_224"), 2, adapters=imported.config), imported)
    model = VideoViT(backbone(), 2, adapters=imported.config)
    before = trained_state(model)
    tower = {n: t for n, t in imported.backbone.items() if n != "blocks.2.mlp.fc1.bias"}
    broken = type(imported)(imported.config, imported.num_classes, imported.state, tower, (), ())
    with pytest.raises(ModelMismatch, match=r"missing blocks\.2\.mlp\.fc1\.bias"):
        load_imported(model, broken)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained_state(model).items())


ADAPTER = "transformer.resblocks.2.adapter_pre_mlp."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("transformer.resblocks.99999.adapter_pre_mlp.fc1.bias", torch.zeros(8)),
        (f"transformer.resblocks.{'9' * 5000}.adapter_pre_mlp.fc1.bias", torch.zeros(8)),
        ("transformer.resblocks.999.adapter_pre_mlp.fc1.bias", torch.zeros(8)),
        (f"{ADAPTER}fc1.bias", torch.tensor(1.0)),
        (f"{ADAPTER}fc1.weight", torch.zeros(8)),
        (f"{ADAPTER}conv.weight", torch.zeros(8, 1)),
        (f"{ADAPTER}conv.weight", "a text"),
        ("fc.weight", torch.tensor(1.0)),
        ("fc.weight", torch.zeros(0, WIDTH)),
        ("fc.bias", 3),
        ("conv1.weight", "a text"),
    ],
)
def test_a_tensor_of_another_rank_or_name_is_named_in_one_line(name: str, value: object) -> None:
    state = PlainModel(blocks=3, attention=False, kernel=(3, 1, 1)).state_dict()
    with pytest.raises(ModelMismatch) as refusal:
        import_authors_checkpoint({**state, name: value})
    assert len(str(refusal.value)) < 1000
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("model", [[1], torch.zeros(3), "a text"])
def test_a_model_that_is_no_mapping_is_refused(model: object) -> None:
    with pytest.raises(ModelMismatch, match="not names with tensors"):
        import_authors_checkpoint({"model": model})


def test_what_is_no_tensor_in_a_file_of_clip_is_passed_over() -> None:
    state = PlainModel(blocks=3, attention=False, kernel=(3, 1, 1)).state_dict()
    trained = {n: t for n, t in state.items() if "adapter" in n or n.startswith("fc.")}
    tower = {f"visual.{n}": t for n, t in state.items() if n not in trained}
    imported = import_authors_checkpoint(trained, clip={**tower, "visual.positional_embedding": "a text", "epoch": 3})
    assert "pos_embed" not in imported.backbone
    assert len(imported.backbone) == len(tower) - 1
