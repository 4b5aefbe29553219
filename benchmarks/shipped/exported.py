"""Models whose packages ship weights, exported to ONNX with torch: all-MiniLM-L6-v2, a BERT, by both exporters, and
Resemblyzer's speaker encoder.

Needs torch and transformers (`make venv-bench`).
"""

from __future__ import annotations

import importlib
import os
import tempfile
import warnings
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

    def make(made: Path) -> None:
        bert = importlib.import_module("benchmarks.shipped.bert")
        if dynamo:
            importlib.import_module("onnxscript")
        net = bert.Hidden(bert.bert_of(package, "eager"))
        _export(net.eval(), made, dynamo=dynamo)  # the wrapper too: the exporter restores modes

    return _made(path, package, make)


def export_speaker_encoder(package: Package) -> Path:
    """The file, exported on first use; FetchError where torch is not installed.

    Input mels, float32 [n, t, 40]; output embeds, float32 [n, 256], each of length 1.
    """

    def make(made: Path) -> None:
        torch = importlib.import_module("torch")
        net = importlib.import_module("benchmarks.shipped.speaker").encoder_of(package)
        axes = {"mels": {0: "n", 1: "t"}, "embeds": {0: "n"}}
        names: dict[str, Any] = {"input_names": ["mels"], "output_names": ["embeds"]}
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on LSTMs of any batch, which get zeros here
            example = (torch.zeros(2, 160, 40),)
            options = {"dynamo": False, "opset_version": 17, "dynamic_axes": axes}
            torch.onnx.export(net, example, str(made), **names, **options)

    return _made(CACHE / f"{package.name}.onnx", package, make)


def _made(path: Path, package: Package, make: Callable[[Path], None]) -> Path:
    if path.is_file():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        made = Path(scratch) / path.name
        try:
            make(made)
        except ImportError as error:
            raise FetchError(
                f"{package.name} ships weights; exporting them needs {error.name}"
            ) from error
        os.replace(made, path)
    return path


def _export(net: Any, path: Path, *, dynamo: bool) -> None:
    torch = importlib.import_module("torch")
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
    "speaker": export_speaker_encoder,
}
"""Name of an export -> what makes the file of a package that ships weights."""
