"""`torch.compile(model, backend="camshaft")`: graphs that Dynamo finds, as engines and what is left to PyTorch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch._functorch.aot_autograd import aot_module_simplified
from torch._guards import TracingContext
from torch.fx import GraphModule

from camshaft.config import BuildConfig
from camshaft.errors import BindingError, ConfigError
from camshaft.frontends.onnx import Imported
from camshaft.frontends.torch.importer import decompositions
from camshaft.torch.kept import Kept
from camshaft.torch.parts import Split
from camshaft.torch.pending import Pending
from camshaft.torch.recurrent import keep_whole
from camshaft.torch.variants import Variants

LEAST = 3
"""Operators that an engine should have at least, where nothing is said."""


@dataclass
class Compiler:
    """Dynamo's backend with some options (see `camshaft`).  made: what became of each graph."""

    options: Mapping[str, Any]
    made: list[Split] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        given = dict(self.options)
        self.least = given.pop("min_block_size", LEAST)
        if not isinstance(self.least, int) or isinstance(self.least, bool) or self.least < 1:
            raise ConfigError(
                f"min_block_size is {self.least!r}; it is a number of operators, 1 or more"
            )
        self.autograd = given.pop("autograd", "eager")
        if self.autograd not in ("eager", "error"):
            raise ConfigError(f"autograd is {self.autograd!r}; it is one of eager, error")
        self.background = given.pop("background", False)
        if not isinstance(self.background, bool):
            raise ConfigError(f"background is {self.background!r}; it is True or False")
        self.calls = given.pop("calibration", 0)
        if not isinstance(self.calls, int) or isinstance(self.calls, bool) or self.calls < 0:
            raise ConfigError(
                f"calibration is {self.calls!r}; it is the number of first calls that calibrate engines"
            )
        folder = given.pop("cache_dir", None)
        if folder is not None and (not isinstance(folder, str | os.PathLike) or Path(folder).is_file()):  # fmt: skip
            raise ConfigError(
                f"cache_dir is {folder!r}; it is a folder, which need not be there yet"
            )
        self.kept = Kept(BuildConfig.of(None, given), None if folder is None else Path(folder))
        if self.kept.config.refittable:
            raise ConfigError(
                "refittable= is for whole modules (camshaft.torch.compile, export): leave it out; engines are built anew for "
                "other weights"
            )
        if self.calls and "int8" not in self.kept.config.precision:
            raise ConfigError("calibration= is for INT8: permit it by precision={'int8'}")

    def engine(self, model: Imported) -> Pending:
        """The engine of a graph, now or later."""
        return Pending(
            partial(self.kept.engine, model), calls=self.calls, background=self.background
        )

    def __call__(self, module: GraphModule, example: Sequence[Any], **_: Any) -> Any:
        keep_whole(module)
        tensors = [x for x in example if isinstance(x, torch.Tensor)]
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            if self.autograd == "error":
                raise BindingError(
                    "gradients are on, which engines do not compute: call the module under torch.no_grad()"
                )
            warnings.warn(
                "gradients are on, so that PyTorch computes the module itself: call it under torch.no_grad()",
                stacklevel=2,
            )
            return module.forward
        weights = [
            *_own(module),
            *(
                x
                if isinstance(x, torch.Tensor) and hasattr(x, "_dynamo_static_input_type")
                else None
                for x in example
            ),
        ]

        def compiler(graph: GraphModule, inputs: Sequence[Any]) -> Any:
            return Variants(self, graph, _held(graph, weights))

        return aot_module_simplified(
            module,
            list(example),
            fw_compiler=compiler,
            inference_compiler=compiler,
            decompositions=decompositions(),
        )


def camshaft(
    module: GraphModule, example: Sequence[Any], *, options: Mapping[str, Any] | None = None
) -> Any:
    """Dynamo's backend "camshaft".

    options: `min_block_size`, the fewest operators that become an engine (3); `autograd`, what is done where gradients are
    on and something requires them, "eager" (the default: PyTorch computes it) or "error"; `cache_dir`, a folder for engines,
    which other processes find there; `calibration`, how many first calls are left to PyTorch and calibrate INT8 engines by their
    inputs; `background`, whether engines are built in a thread while PyTorch computes; and those of `camshaft.build`.
    Raises ConfigError for options that there are not.
    """
    return Compiler(dict(options or {}))(module, example)


def _own(module: GraphModule) -> list[torch.Tensor]:
    """Weights that are attributes of the graph, not inputs (so with inductor's option `freezing`): AOT Autograd puts them before the inputs."""
    return [
        *dict(module.named_parameters(remove_duplicate=False)).values(),
        *dict(module.named_buffers(remove_duplicate=False)).values(),
    ]


def _held(graph: GraphModule, weights: Sequence[torch.Tensor | None]) -> dict[int, torch.Tensor]:
    """Which of a graph's placeholders stand for weights that stay as they are, by number."""
    holes = [n for n in graph.graph.nodes if n.op == "placeholder"]
    context = TracingContext.try_get()
    about = None if context is None else context.fw_metadata
    # tokens of operators with effects come before all others
    tokens = 0 if about is None else len(about.tokens)
    if len(holes) != tokens + len(weights):
        return {}
    changed = () if about is None else about.input_info
    return {
        tokens + n: w
        for n, w in enumerate(weights)
        if w is not None and not (n < len(changed) and changed[n].mutates_data)
    }
