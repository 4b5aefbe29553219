"""A module made ready for quantization-aware training."""

from __future__ import annotations

import copy
import fnmatch
import inspect
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn.utils import parametrize

from camshaft.errors import CalibrationError, ConfigError, ModelError
from camshaft.frontends.torch.importer import core, import_core
from camshaft.frontends.torch.walk import name_of
from camshaft.quant.calibration.solvers import Solver, solvers_named
from camshaft.torch.engines import exported
from camshaft.torch.qat.checks import calls_of, check_module
from camshaft.torch.qat.layers import added, as_in_training
from camshaft.torch.qat.places import Places, by_name, places
from camshaft.torch.quantizers import (
    RANGES,
    ActivationQuantizer,
    WeightQuantizer,
    constant,
    quantizers,
)

PLACEMENTS = ("graph", "modules")
_OF_ROWS = ("aten::linear", "aten::matmul", "aten::addmm", "aten::mm")
_PRODUCTS: tuple[type[nn.Module], ...] = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear,
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How a module is quantized (see `prepare`)."""

    ranges: str
    weight_ranges: str
    weight_bits: int
    symmetric: bool
    keep_float: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, value in (("ranges", self.ranges), ("weight_ranges", self.weight_ranges)):
            if value not in RANGES:
                raise ConfigError(f"{name} is {value!r}; it is one of {', '.join(RANGES)}")
        bits = self.weight_bits
        if not isinstance(bits, int) or isinstance(bits, bool) or not 2 <= bits <= 8:
            raise ConfigError(f"weight_bits is {bits!r}; it is a number from 2 to 8")

    def activation(self, name: str, *, rows: bool) -> ActivationQuantizer:
        """A quantizer of activations."""
        return ActivationQuantizer(name, self.ranges, symmetric=self.symmetric, rows=rows)

    def weight(self, weight: Tensor, axis: int | None) -> WeightQuantizer:
        """A quantizer of weights."""
        return WeightQuantizer(weight, self.weight_bits, axis, self.weight_ranges)

    def keeps(self, path: str) -> bool:
        """Whether a module stays float: it, or one that it is within, is named."""
        parts = path.split(".")
        within = [".".join(parts[: n + 1]) for n in range(len(parts))]
        return any(fnmatch.fnmatchcase(p, k) for p in within for k in self.keep_float)


def prepare(
    model: nn.Module,
    calibration: Iterable[Any],
    *,
    placement: str = "graph",
    ranges: str = "learned",
    weight_ranges: str | None = None,
    weight_bits: int = 8,
    symmetric: bool = False,
    keep_float: Sequence[str] = (),
    calibrator: str = "auto",
    percentile: float = 99.999,
    dynamic_shapes: Any = None,
) -> nn.Module:
    """A copy of a module that computes as its INT8 engine will, to be trained as usual.

    model: float32, on the CPU.  calibration: calls, each a tuple of positional arguments, or one tensor; the first is the example that
    the module is exported with.
    placement: "graph" asks torch.export for the module's graph and quantizes where the engine would: inputs of products, skip
    branches, what lies between, with one range on both sides of a concat; batch norms and dropouts are those of training, other
    behaviour is that of evaluation.  "modules" leaves the module as it is, whatever it does, and quantizes inputs and weights of its
    convolutions and linear layers.
    ranges: of activations: "fixed" stay as calibrated, "learned" are trained (LSQ), "clipped" by what lies beyond them (PACT).
    weight_ranges: likewise ("fixed": scales follow the largest weight of each output channel, the default at 8 bits; else "learned").
    weight_bits: 2 to 8.  symmetric: activations as signed integers around zero, as TensorRT wants them, in place of u8 with a zero
    point.  keep_float: names of modules that stay float, with all that is in them; * and ? stand for any characters.
    calibrator, percentile: as for `camshaft.build`.
    dynamic_shapes: as for torch.export; where None, the first axis of each argument is open as far as the module lets it.

    Parameters keep their names; a trained state_dict of the module can be loaded with strict=False.
    Raises ModelError for a module that torch.export cannot read or that is not of float32; ConfigError for options that do not fit, for a
    module with quantizers, and where nothing would be quantized; CalibrationError for calls that do not fit.
    """
    if placement not in PLACEMENTS:
        raise ConfigError(f"placement is {placement!r}; it is one of {', '.join(PLACEMENTS)}")
    learns = "fixed" if weight_bits == 8 else "learned"
    kept = (keep_float,) if isinstance(keep_float, str) else tuple(keep_float)
    options = Options(ranges, weight_ranges or learns, weight_bits, symmetric, kept)
    check_module(model)
    _check_kept(model, options.keep_float)
    calls = calls_of(calibration)
    made = _copied(model).eval()
    if placement == "graph":
        made = _by_graph(made, calls[0], dynamic_shapes, options)
    else:
        _by_modules(made, options)
    if not quantizers(made):
        raise ConfigError(
            "nothing would be quantized: the module has no convolution or linear layer that keep_float does not name and that has "
            "weights of its own"
        )
    _calibrate(made.eval(), calls, *solvers_named(calibrator, percentile))
    return made.train(model.training)


def _check_kept(model: nn.Module, keep_float: Sequence[str]) -> None:
    paths = [name for name, _ in model.named_modules()]
    for kept in keep_float:
        if not any(fnmatch.fnmatchcase(p, kept) for p in paths):
            raise ConfigError(
                f"keep_float names {kept!r}, which no module is called; model.named_modules() lists them"
            )


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise ModelError(
            "the module cannot be copied; weights that are computed before each call (torch.nn.utils.prune, the old weight_norm) are made "
            f"plain by their own remove functions: {error}"
        ) from error


def _calibrate(
    model: nn.Module, calls: Sequence[tuple[Any, ...]], images: Solver, rows: Solver
) -> None:
    """Ranges from what passes where these calls are run."""
    seers = [q for q in quantizers(model) if isinstance(q, ActivationQuantizer)]
    for q in seers:
        q.observe()
    with torch.no_grad():
        for number, call in enumerate(calls):
            try:
                model(*call)
            except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
                raise CalibrationError(
                    f"call {number} of calibration (from 0) does not fit the module: {error}"
                ) from error
    for q in seers:
        q.settle(images, rows)


# --- by the graph -----------------------------------------------------------------------------


def _by_graph(
    model: nn.Module, call: tuple[Any, ...], dynamic_shapes: Any, options: Options
) -> nn.Module:
    if dynamic_shapes is None:
        call, dynamic_shapes = _open(model, call)
    program = core(exported(model, call, None, dynamic_shapes))
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    nodes = by_name(program, module.graph)
    kept = [name for name, node in nodes.items() if options.keeps(_path(node))]
    found = places(import_core(program), nodes, kept)
    _insert(module, found, options)
    as_in_training(module, model)
    module.recompile()
    module.graph._tracer_cls = None  # torch.export's own cannot be made again where a file is read
    return GraphModule(module, module.graph, type(model).__name__)


def _open(model: nn.Module, call: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """Arguments with two images at least, and the shapes by which torch.export may leave their number open."""
    tensors = [x for x in call if isinstance(x, Tensor) and x.dim()]
    if all(x.shape[0] == 1 for x in tensors):  # which torch.export would take for fixed
        call = tuple(torch.cat([x, x]) if isinstance(x, Tensor) and x.dim() else x for x in call)
    auto = torch.export.Dim.AUTO
    shapes = tuple({0: auto} if isinstance(x, Tensor) and x.dim() else None for x in call)
    parameters = inspect.signature(model.forward).parameters.values()
    kinds = [p.kind for p in parameters]
    if inspect.Parameter.VAR_POSITIONAL in kinds:  # which torch.export takes for one argument
        first = kinds.index(inspect.Parameter.VAR_POSITIONAL)
        return call, (*shapes[:first], shapes[first:])
    return call, shapes


def _path(node: Node) -> str:
    """The module that a node comes of."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _insert(module: GraphModule, found: Places, options: Options) -> None:
    """Quantizers where a module is quantized, in place."""
    graph = module.graph
    for edges in found.edges.values():
        called = edges[0].source.name
        rows = any(name_of(e.reader) in _OF_ROWS for e in edges)
        name = added(module, f"{called}_quantizer", options.activation(called, rows=rows))
        made: dict[Node, Node] = {}
        for edge in edges:
            if edge.source not in made:
                with graph.inserting_after(edge.source):
                    made[edge.source] = graph.call_module(name, (edge.source,))
            edge.reader.replace_input_with(edge.source, made[edge.source])
    for weight in found.weights:
        with torch.no_grad():
            held = constant(module, weight.source)
        name = added(
            module, f"{weight.reader.name}_weight_quantizer", options.weight(held, weight.axis)
        )
        with graph.inserting_before(weight.reader):
            node = graph.call_module(name, (weight.source,))
        weight.reader.replace_input_with(weight.source, node)


# --- by modules -------------------------------------------------------------------------------


def _by_modules(model: nn.Module, options: Options) -> None:
    """Quantize inputs and weights of products, in place."""
    for path, layer in _products(model):
        if options.keeps(path):
            continue
        owner = model.get_submodule(path.rpartition(".")[0])
        if isinstance(owner, nn.MultiheadAttention):
            warnings.warn(
                f"{path!r} stays float, as its nn.MultiheadAttention multiplies without calling it; placement='graph' quantizes there",
                stacklevel=3,
            )
            continue
        if "weight" not in layer._parameters and not parametrize.is_parametrized(layer, "weight"):
            raise ModelError(
                f"the weight of {path!r} is no parameter: make it plain (torch.nn.utils.prune.remove, remove_weight_norm), or name the "
                "module in keep_float"
            )
        axis = _output_axis(layer)
        quantizer = options.weight(layer.weight, axis)
        parametrize.register_parametrization(layer, "weight", quantizer)
        layer.add_module(
            "input_quantizer",
            options.activation(path or type(layer).__name__, rows=isinstance(layer, nn.Linear)),
        )
        layer.register_forward_pre_hook(_quantize_input)


def _products(model: nn.Module) -> Iterator[tuple[str, Any]]:
    return iter([(p, m) for p, m in model.named_modules() if isinstance(m, _PRODUCTS)])


def _output_axis(layer: Any) -> int | None:
    if not getattr(layer, "transposed", False):
        return 0
    return 1 if layer.groups == 1 else None


def _quantize_input(layer: Any, args: Any) -> Any:
    return (layer.input_quantizer(args[0]), *args[1:])
