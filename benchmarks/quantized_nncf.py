"""INT8 models for OpenVINO alone, made with NNCF: the strongest INT8 peer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nncf
import openvino

from benchmarks.zoo_model import Feeds


def quantize(source: Path, path: Path, batches: Sequence[Feeds], transformer: bool) -> None:
    """Write the OpenVINO form (.xml) of `source` after NNCF's post-training quantization.

    NNCF's default preset ("performance", symmetric) with fast bias correction: the faster of its
    two presets at run time.  transformer: NNCF's own scheme for transformers is used.
    """
    network = openvino.Core().read_model(str(source))
    network.reshape({n: list(a.shape) for n, a in batches[0].items()})
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    data = nncf.Dataset(batches, dict)
    model = nncf.quantize(network, data, model_type=kind, subset_size=len(batches))
    openvino.save_model(model, str(path), compress_to_fp16=False)
