"""BERTs of the transformers library as PyTorch modules; all-MiniLM-L6-v2's weights."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from benchmarks.packages import Package


def transformers_library() -> Any:
    """The package transformers.

    It imports torchvision where that is installed, whose operators may not fit the installed torch:
    they are declared first.
    """
    with contextlib.suppress(ImportError):  # it does without torchvision
        importlib.import_module("benchmarks.torch_models").torchvision_library()
    return importlib.import_module("transformers")


class Hidden(nn.Module):
    """A BERT's last hidden state alone, of two positional inputs."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.bert(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        return hidden


def bert_of(package: Package, attention: str) -> nn.Module:
    """The BERT whose weights a package ships, in eval mode.

    attention: the implementation in the transformers library, "sdpa" or "eager".
    """
    transformers = transformers_library()
    weights = package.file("model/model.safetensors")
    config = transformers.BertConfig.from_json_file(str(weights.with_name("config.json")))
    config._attn_implementation = attention
    bert: nn.Module = transformers.BertModel(config, add_pooling_layer=False).eval()
    wanted = bert.state_dict()
    found = {n.removeprefix("bert."): a for n, a in load_file(str(weights)).items()}
    bert.load_state_dict({n: a for n, a in found.items() if n in wanted})
    return bert
