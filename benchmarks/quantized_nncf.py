"""INT8 models for OpenVINO alone, made with NNCF: the strongest INT8 peer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import nncf
import openvino

from benchmarks.zoo_model import Feeds


def quantize(source: Path, path: Path, batches: Sequence[Feeds], transformer: bool) -> None:
    """Write the OpenVINO form (.xml) of `source` after NNCF's post-training quantization.

    NNCF's default preset ("performance", symmetric) with fast bias correction: the faster of its
    two presets at run time.  transformer: NNCF's own scheme for transformers is used.
    """
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    data = nncf.Dataset(batches, dict)
    model = nncf.quantize(
        _network(source, batches), data, model_type=kind, subset_size=len(batches)
    )
    openvino.save_model(model, str(path), compress_to_fp16=False)


def quantized(
    source: Path,
    batches: Sequence[Feeds],
    *,
    saturates: bool,
    mixed: bool = False,
    fast_bias_correction: bool = True,
) -> Any:
    """OpenVINO's model after post-training quantization.

    saturates: the processor adds products in 16 bits, so that weights are to have 7.  mixed: asymmetric activations, where that
    helps.
    """
    preset = nncf.QuantizationPreset.MIXED if mixed else nncf.QuantizationPreset.PERFORMANCE
    return nncf.quantize(
        _network(source, batches),
        nncf.Dataset(batches, dict),
        preset=preset,
        subset_size=len(batches),
        fast_bias_correction=fast_bias_correction,
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=_fix(saturates)),
    )


def controlled(
    source: Path,
    batches: Sequence[Feeds],
    score: Callable[[Any], float],
    max_drop: float,
    *,
    saturates: bool,
) -> Any:
    """As `quantized` with the mixed preset, layers put back to float until `score` of the compiled model has fallen by `max_drop` at most."""

    def validate(compiled: Any, items: Iterable[Any]) -> tuple[float, None]:
        del items  # `score` brings its own
        return score(compiled), None

    return nncf.quantize_with_accuracy_control(
        _network(source, batches),
        nncf.Dataset(batches, dict),
        nncf.Dataset(list(batches)[:1], dict),
        validate,
        max_drop=max_drop,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(batches),
        advanced_quantization_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=_fix(saturates)
        ),
    )


def _fix(saturates: bool) -> Any:
    return nncf.OverflowFix.ENABLE if saturates else nncf.OverflowFix.DISABLE


def _network(source: Path, batches: Sequence[Feeds]) -> Any:
    network = openvino.Core().read_model(str(source))
    network.reshape({n: list(a.shape) for n, a in batches[0].items()})
    return network
