"""PyTorch as a peer: the module that a zoo model was exported from, eager or compiled."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch._inductor import config as inductor

from benchmarks.transformers.nets import built
from benchmarks.zoo_model import Feeds, ZooModel


class TorchRunner:
    """The module in inference mode, at an exact number of threads.

    The number is PyTorch's setting for the whole process.
    """

    linger = 0.012  # its OpenMP threads go on spinning for 9 ms

    def __init__(
        self,
        model: ZooModel,
        feeds: Feeds,
        threads: int,
        name: str = "pytorch",
        *,
        compiled: bool = False,
        dtype: str = "float32",
        dynamic_int8: bool = False,
    ) -> None:
        """compiled: by torch.compile, weights frozen into the code.  dtype: name of the type of weights, of
        floating inputs and so of arithmetic.  dynamic_int8: linear layers quantize activations at run time."""
        if model.module is None:
            raise ValueError(f"{model.name} was not exported from PyTorch: nothing to run")
        self.name = name
        torch.set_num_threads(threads)
        kind = getattr(torch, dtype)
        self._module = built(*model.module).to(kind)
        if dynamic_int8:
            self._module = _dynamic(self._module)
        if compiled:
            inductor.freezing = True
            self._module = torch.compile(self._module)
        arrays = (torch.from_numpy(a) for a in feeds.values())
        self._inputs = [a.to(kind) if a.is_floating_point() else a for a in arrays]
        self.run()

    def run(self) -> None:
        with torch.inference_mode():
            self._output = self._module(*self._inputs)

    def outputs(self) -> list[np.ndarray]:
        outputs = self._output if isinstance(self._output, tuple) else (self._output,)
        return [o.detach().float().numpy().copy() for o in outputs]


def _dynamic(module: nn.Module) -> nn.Module:
    """`module` with its linear layers quantized dynamically, weights per channel."""
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    spec = {nn.Linear: per_channel_dynamic_qconfig}
    quantized: nn.Module = quantize_dynamic(module, spec)
    return quantized
