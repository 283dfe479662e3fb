"""Attention for transformers' networks: the library's own, except where PyTorch's kernel is slow."""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

_NAME = "smat"


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention, `[n, heads, tokens, dim]` to `[n, tokens, heads, dim]`.

    On the CPU in bfloat16, PyTorch's fused kernel (2.13) takes four times as long, forward and backward, as the
    plain formula does on a few-shot network's short sequences; everywhere else the fused kernel is used.
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and attention_mask is None:
        scores = (query * (scaling or query.shape[-1] ** -0.5)) @ key.transpose(-2, -1)
        with torch.autocast("cpu", enabled=False):  # which would keep the weights twice: in float32 and in bfloat16
            weights = scores.softmax(-1)
        return (weights @ value).transpose(1, 2), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)


AttentionInterface.register(_NAME, attention)


def with_attention(network: PreTrainedModel) -> PreTrainedModel:
    """The same network, computing its attention, where it has any, by the function above."""
    if network._supports_sdpa:
        network.set_attn_implementation(_NAME)
    return network
