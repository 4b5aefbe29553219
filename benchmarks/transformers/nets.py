"""Transformers as PyTorch modules, and their exports by PyTorch's older exporter.

All weights but MiniLM's are random, as the libraries initialise them: speed depends on shapes alone.
Attention is written so that PyTorch's own runs (eager, compiled) take its fused kernel; exports hold the
decomposed form that the exporter writes for it.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.packages import MINILM
from benchmarks.shipped.bert import Hidden, bert_of, transformers_library
from benchmarks.torch_models import OPSET, torchvision_library
from benchmarks.transformers.attention import HEADS


def encoder(attention: str = "sdpa") -> nn.Module:
    """A BERT of 4 layers, d=768, random weights: input_ids, attention_mask -> the last hidden state.

    attention: the implementation in the transformers library, "sdpa" or "eager".
    """
    transformers = transformers_library()
    torch.manual_seed(0)
    config = transformers.BertConfig(num_hidden_layers=4, attn_implementation=attention)
    bert: nn.Module = transformers.BertModel(config, add_pooling_layer=False)
    return Hidden(bert).eval()


def encoder_noise() -> nn.Module:
    """PyTorch's own TransformerEncoder of 4 post-norm layers, d=768, random weights: [1, 128, 768] to the same."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(768, HEADS, 3072, 0.0, "gelu", batch_first=True)
    return nn.TransformerEncoder(layer, 4).eval()


def minilm(attention: str = "sdpa") -> nn.Module:
    """all-MiniLM-L6-v2 with its weights: input_ids, attention_mask -> the last hidden state."""
    return Hidden(bert_of(MINILM, attention)).eval()


def vision(name: str) -> nn.Module:
    """torchvision's vit_b_16 or swin_t with the weights that it starts training with.

    A ViT's head starts as zeros, which would make all outputs zero: it gets N(0, 0.02) weights.
    """
    torch.manual_seed(0)
    model: nn.Module = getattr(torchvision_library().models, name)(weights=None)
    for parameter in model.parameters():
        if parameter.ndim == 2 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model.eval()


class Attention(nn.Module):
    """softmax(q k^T / sqrt(64)) v of [1, 12, S, 64] each."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return functional.scaled_dot_product_attention(q, k, v)


def attention() -> nn.Module:
    """Attention alone."""
    return Attention().eval()


class DecoderLayer(nn.Module):
    """A pre-norm layer of a language model: attention over past and new tokens, then a GELU unit."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, x: torch.Tensor, past_k: torch.Tensor, past_v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        normed = self.before(x)
        split = (x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads)
        q, k, v = (p(normed).view(split).transpose(1, 2) for p in self.qkv)
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.down(functional.gelu(self.up(self.between(x)))), k, v


class Decoder(nn.Module):
    """x [1, 1, width], then past keys and values of each layer -> x, then the present ones."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(width, heads) for _ in range(layers))

    def forward(self, x: torch.Tensor, *pasts: torch.Tensor) -> tuple[torch.Tensor, ...]:
        presents: list[torch.Tensor] = []
        for layer, k, v in zip(self.layers, pasts[::2], pasts[1::2], strict=True):
            x, *present = layer(x, k, v)
            presents += present
        return (x, *presents)


def decoder(width: int, heads: int, layers: int) -> nn.Module:
    """One step of a language model without embedding and head, random weights."""
    torch.manual_seed(0)
    return Decoder(width, heads, layers).eval()


def export(
    module: nn.Module, feeds: dict[str, Any], outputs: list[str], path: Path, opset: int = OPSET
) -> None:
    """Write `module` as ONNX with the inputs and shapes of `feeds`."""
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter warns that it is the older one and of what tracing fixes: both are wanted.
        warnings.simplefilter("ignore")
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # its operators have no ONNX form
        try:
            torch.onnx.export(
                module,
                tuple(torch.from_numpy(a) for a in feeds.values()),
                str(path),
                input_names=list(feeds),
                output_names=outputs,
                opset_version=opset,
                dynamo=False,
            )
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def built(kind: str, arguments: tuple[object, ...]) -> nn.Module:
    """The module that a zoo entry names: `kind` is "module.function" within benchmarks."""
    module, _, function = kind.rpartition(".")
    made: nn.Module = getattr(importlib.import_module(f"benchmarks.{module}"), function)(*arguments)
    return made
