"""How far rounding shifts the mean of each channel of an activation, measured on data.

Where many values lie within one level, as those of SiLU or Swish that are slightly negative do, all of them are rounded
the same way and their error does not average out: a convolution adds up the mean error of each channel that it reads.
That is a constant, so `insertion` takes it off the bias, as it does with the mean error of weights (see `bias`):

    shift[k] = sum over c, r, s of W_q[k,r,s,c] * E[q(x_c) - x_c at tap (r, s)].

Source: M. Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, ICCV 2019, section 4.2,
and the empirical correction of its appendix; here of one layer at a time, given exact inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from camshaft.quant.scheme import QuantParams, dequantize, quantize

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


def rounding_shifts(
    batches: Iterable[Mapping[str, np.ndarray]],
    run: Run,
    tensors: Mapping[str, tuple[QuantParams, np.ndarray | None]],
) -> dict[str, np.ndarray]:
    """Tensor -> mean error of its channels as they are quantized, float64 [C].

    batches: inputs of the model.  run: gives the tensors of one batch, inputs among them, as f32 [..., C].
    tensors: name -> its parameters, and what its channels are multiplied by before (float32 [C]).
    """
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for batch in batches:
        values = run(batch)
        for name, (params, factors) in tensors.items():
            x = values[name]
            scaled = x if factors is None else x * factors
            error = dequantize(quantize(scaled, params), params) - scaled
            total = error.reshape(-1, x.shape[-1]).sum(axis=0, dtype=np.float64)
            sums[name] = sums.get(name, 0) + (total if factors is None else total / factors)
            counts[name] = counts.get(name, 0) + x.size // x.shape[-1]
    # Rounded to float32, so that the order of sums shows in no bit of a bias.
    means = {n: (sums[n] / max(counts[n], 1)).astype(np.float32) for n in sums}
    return {n: mean.astype(np.float64) for n, mean in means.items()}
