"""The runner."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from polygraphy import util
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata
from polygraphy.datatype import DataType

from camshaft.runtime.engine import Engine


class CamshaftRunner(BaseRunner):
    """Runs an engine on NumPy arrays or PyTorch tensors."""

    def __init__(self, engine: Engine | Callable[[], Engine], name: str | None = None) -> None:
        """engine: an engine, or a loader of one.  name: prefix of the runner's name in Polygraphy's lines."""
        super().__init__(name=name, prefix="camshaft-runner")
        self._engine = engine

    def activate_impl(self) -> None:
        """Build or load the engine."""
        self.engine = self._engine if isinstance(self._engine, Engine) else self._engine()

    def get_input_metadata_impl(self) -> TensorMetadata:
        """Inputs as calls bring them, -1 for open extents."""
        found = TensorMetadata()
        for name, kind in self.engine.inputs.items():
            shape = [extent if isinstance(extent, int) else -1 for extent in kind.shape]
            found.add(name, DataType.from_dtype(kind.dtype.numpy, "numpy"), shape)
        return found

    def infer_impl(self, feed_dict: Mapping[str, Any]) -> OrderedDict[str, Any]:
        """Run.  Returns {output: new array}, of PyTorch if one of the inputs is."""
        use_torch = any(util.array.is_torch(x) for x in feed_dict.values())
        inputs = {name: util.array.to_numpy(x) for name, x in feed_dict.items()}
        begin = time.perf_counter()
        outputs = self.engine(inputs)
        self.inference_time = time.perf_counter() - begin
        if use_torch:
            return OrderedDict((name, util.array.to_torch(x)) for name, x in outputs.items())
        return OrderedDict(outputs)

    def deactivate_impl(self) -> None:
        """Let the engine go."""
        del self.engine
