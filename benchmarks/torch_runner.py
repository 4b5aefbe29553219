"""PyTorch eager as a peer: the module that a zoo model was exported from."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks import torch_models
from benchmarks.zoo import ZooModel


class TorchRunner:
    """The module in inference mode, NCHW, at an exact number of threads.

    The number is PyTorch's setting for the whole process.
    """

    linger = 0.012  # its OpenMP threads go on spinning for 9 ms

    def __init__(
        self, model: ZooModel, feed: np.ndarray, threads: int, name: str = "pytorch"
    ) -> None:
        if model.module is None:
            raise ValueError(f"{model.name} was not exported from PyTorch: nothing to run")
        self.name = name
        torch.set_num_threads(threads)
        kind, arguments = model.module
        self._module = getattr(torch_models, kind)(*arguments)
        self._input = torch.from_numpy(feed)
        self._output = self._module(self._input)

    def run(self) -> None:
        with torch.inference_mode():
            self._output = self._module(self._input)

    def outputs(self) -> list[np.ndarray]:
        return [self._output.detach().numpy().copy()]
