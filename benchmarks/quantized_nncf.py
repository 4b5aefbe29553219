"""INT8 models for OpenVINO alone, made with NNCF: the strongest INT8 peer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nncf
import numpy as np
import openvino


def quantize(source: Path, path: Path, input_name: str, batches: Sequence[np.ndarray]) -> None:
    """Write the OpenVINO form (.xml) of `source` after NNCF's post-training quantization.

    NNCF's default preset ("performance", symmetric) with fast bias correction: the faster of its
    two presets at run time.
    """
    network = openvino.Core().read_model(str(source))
    network.reshape({input_name: list(batches[0].shape)})
    data = nncf.Dataset(batches, lambda batch: {input_name: batch})
    model = nncf.quantize(network, data, subset_size=len(batches))
    openvino.save_model(model, str(path), compress_to_fp16=False)
