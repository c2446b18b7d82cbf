"""The last block of a vision transformer, worked out for the class token alone.

Where only the class token is read, the last block's other tokens serve as keys and values and for nothing else: their
queries, their attention output and their MLP are never looked at. Leaving them out changes no result and saves ten of
the twelve D x D products a token costs in that block.

One letter an axis: S images, L tokens, D channels, E channels inside attention.
"""

from typing import Any

import torch
from timm.layers.attention import Attention, AttentionRope
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import EvaAttention, EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from muybridge.errors import ModelMismatch, OptionError
from muybridge.models.st_adapter.config import Readout
from muybridge.models.st_adapter.insertion import model_name


def reads_class_token_alone(block: nn.Module) -> bool:
    """Whether `class_token_after` knows this kind of block. Subclasses do not count: they may differ in any way."""
    if type(block) not in (Block, EvaBlock):
        return False
    attention: Any = block.attn
    if type(attention) not in (Attention, AttentionRope, EvaAttention):
        return False
    projection = attention.qkv if getattr(attention, "qkv", None) is not None else attention.q_proj
    return type(projection) is nn.Linear


def class_token_after(block: nn.Module, tokens_SLD: Tensor, rope: Tensor | None = None) -> Tensor:
    """`block(tokens)[:, :1]`, shape (S, 1, D), without the work for the other tokens.

    Args:
        block: one that `reads_class_token_alone` accepts.
        tokens_SLD: its input, the class token first.
        rope: the rotary embedding of the patches, for blocks that take one.
    """
    parts: Any = block
    token = tokens_SLD[:, :1]
    update = _attend(parts.attn, parts.norm1(tokens_SLD), rope)
    token = token + parts.drop_path1(_scale(parts, 1, update))
    return token + parts.drop_path2(_scale(parts, 2, parts.mlp(parts.norm2(token))))


def _scale(block: Any, half: int, update: Tensor) -> Tensor:
    if isinstance(block, Block):
        return getattr(block, f"ls{half}")(update)
    gamma: Tensor | None = getattr(block, f"gamma_{half}")
    return update if gamma is None else gamma * update


def _attend(attention: Any, x_SLD: Tensor, rope: Tensor | None) -> Tensor:
    """Attention of the class token to all tokens: (S, 1, D)."""
    S = x_SLD.shape[0]
    query, key, value = (
        projected.reshape(S, projected.shape[1], -1, attention.head_dim).transpose(1, 2)
        for projected in _project(attention, x_SLD)
    )
    query, key = attention.q_norm(query), attention.k_norm(key)
    if rope is not None:
        # The class token has no place in the picture, so its query is not rotated.
        prefix = attention.num_prefix_tokens
        rotated = apply_rot_embed_cat(key[:, :, prefix:], rope, half=getattr(attention, "rotate_half", False))
        key = torch.cat([key[:, :, :prefix], rotated], dim=2).type_as(value)
    if key.shape[1] != query.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    dropout = attention.attn_drop.p if attention.training else 0.0
    out = F.scaled_dot_product_attention(query.type_as(value), key.type_as(value), value, dropout_p=dropout)
    out = attention.norm(out.transpose(1, 2).reshape(S, 1, -1))
    if attention.gate is not None:
        out = out * attention.gate(x_SLD[:, :1]).sigmoid()
    return attention.proj_drop(attention.proj(out))


def _project(attention: Any, x_SLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query (S, 1, E) of the class token, keys and values (S, L, E) of all tokens."""
    token = x_SLD[:, :1]
    if attention.qkv is None:
        return attention.q_proj(token), attention.k_proj(x_SLD), attention.v_proj(x_SLD)
    weight: Tensor = attention.qkv.weight
    bias: Tensor | None = attention.qkv.bias
    if getattr(attention, "q_bias", None) is not None:
        bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    width = weight.shape[0] // 3
    query = F.linear(token, weight[:width], None if bias is None else bias[:width])
    key, value = F.linear(x_SLD, weight[width:], None if bias is None else bias[width:]).chunk(2, dim=-1)
    return query, key, value


def resolve_readout(backbone: nn.Module, readout: Readout) -> Readout:
    """What is read of this backbone where the choice is left open; errors where it has no class token."""
    if readout not in ("auto", "class_token", "patch_mean"):
        raise OptionError(f"readout='{readout}' is unknown. Choose one of: auto, class_token, patch_mean.")
    has_class_token = getattr(backbone, "cls_token", None) is not None
    if readout == "class_token" and not has_class_token:
        raise ModelMismatch(
            f"Model '{model_name(backbone)}' has no class token to read. Choose readout='patch_mean'."
        )
    if readout == "auto":
        return "class_token" if has_class_token else "patch_mean"
    return readout
