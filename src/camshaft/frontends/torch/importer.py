"""torch.export's programs -> camshaft graphs, without ONNX between.

Needs PyTorch (extra `torch`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, OutputKind

from camshaft.errors import ConfigError, ModelError
from camshaft.frontends.onnx import Imported
from camshaft.frontends.torch.coverage import begin, shaped
from camshaft.frontends.torch.dtypes import array_of
from camshaft.frontends.torch.sizes import Sizes, limits
from camshaft.frontends.torch.strides import Order
from camshaft.frontends.torch.walk import Walk, ends
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.recipe import Source

Dims = Sequence[Mapping[int, str]]
"""Of each flat argument: axis -> the name of its size."""

KEPT = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "batch_norm",
    "layer_norm",
    "group_norm",
    "instance_norm",
    "rms_norm",
    "scaled_dot_product_attention",
    "gelu",
    "silu",
    "mish",
    "hardswish",
    "hardsigmoid",
    "hardtanh",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "softplus",
    "glu",
    "prelu",
    "softmax",
    "log_softmax",
    "log_sigmoid",
    "matmul",
    "addmm",
    "baddbmm",
    "einsum",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool2d",
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
    "pixel_shuffle",
    "pixel_unshuffle",
    "channel_shuffle",
    "roll",
    "var_mean",
    "var",
    "std",
    "linalg_vector_norm",
    "logsumexp",
    "nan_to_num",
    "masked_fill",
    "split",
    "split_with_sizes",
    "chunk",
    "unbind",
    "stack",
    "flip",
    "tril",
    "triu",
    "rsub",
    "lerp",
    "addcmul",
    "addcdiv",
    "floor_divide",
    "outer",
    "index_select",
    "reflection_pad1d",
    "reflection_pad2d",
    "replication_pad1d",
    "replication_pad2d",
    "grid_sampler_2d",
)
"""Operators that PyTorch could take apart and that have a better form whole."""


def decompositions() -> Any:
    """PyTorch's table of decompositions, less what has a handler that is better whole."""
    table = torch.export.default_decompositions()
    for name in KEPT:
        packet = getattr(torch.ops.aten, name, None)
        if packet is None:  # of another version of PyTorch
            continue
        for overload in packet.overloads():
            table.pop(getattr(packet, overload), None)
    return table


@dataclass(frozen=True)
class Program:
    """A graph of ATen operators as a graph of ours.

    inputs: of its placeholders, the names of the graph's inputs, whole numbers among them; None of weights and of what the graph does not
    take.  outputs: of its results, the
    graph's outputs; None of what is none.  plain: results that are no tensors but texts, numbers or truths, by their place.  whole: outputs that are sizes.  orders: of inputs and outputs whose axes are those of
    PyTorch's tensors in another order, by name: which axis of PyTorch's each is.
    """

    imported: Imported
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    plain: Mapping[int, Any] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    orders: Mapping[str, Order] = field(default_factory=dict)


def import_program(
    program: ExportedProgram,
    dims: Dims = (),
    *,
    as_they_lie: bool = False,
    refittable: bool | frozenset[str] = False,
) -> Program:
    """The graph of an exported program.  Inputs are those of users; they and outputs are called as torch.export calls them.

    dims: of each flat argument, axis -> what its size is called.  as_they_lie: give inputs and outputs the axes in the order in which
    they lie in PyTorch's memory (see `Program`).  refittable: whether the module's weights may be exchanged later, or which, by their
    names in the module.
    Raises ModelError, naming the operator, for what has no form here, and for programs that change their inputs or
    buffers.
    """
    return import_core(core(program), dims, as_they_lie=as_they_lie, refittable=refittable)


def core(program: ExportedProgram) -> ExportedProgram:
    """The program in the operators that are imported, without changes in place."""
    return program.run_decompositions(decompositions())


def import_core(
    program: ExportedProgram,
    dims: Dims = (),
    *,
    as_they_lie: bool = False,
    refittable: bool | frozenset[str] = False,
) -> Program:
    """As `import_program`, of what `core` made; layers are called after its nodes."""
    specs = {s.arg.name: s for s in program.graph_signature.input_specs if hasattr(s.arg, "name")}
    holes = [n for n in program.graph.nodes if n.op == "placeholder"]
    given = [specs[n.name].kind == InputKind.USER_INPUT for n in holes]
    constants = {
        n: (str(specs[n.name].target), _held(program, specs[n.name]))
        for n, user in zip(holes, given, strict=True)
        if not user
    }
    for out in program.graph_signature.output_specs:
        if out.kind != OutputKind.USER_OUTPUT:
            raise ModelError(
                f"the model changes {out.target!r} as it runs, which engines do not; return it instead"
            )
    users = [n for n, user in zip(holes, given, strict=True) if user]
    sizes = _sizes(program, _called(users, dims))

    def called(_: int, node: Any) -> str:
        return str(getattr(node, "name", "value"))

    may_change = _weights(program, specs.values(), refittable) if refittable else frozenset()
    made = read(
        program.graph, sizes, constants, called, as_they_lie=as_they_lie, refittable=may_change
    )
    inputs = tuple(i for i, user in zip(made.inputs, given, strict=True) if user)
    if not may_change:
        return replace(made, inputs=inputs)
    named = {str(s.target): _held(program, s) for s in specs.values() if s.kind in _OF_MODULE}
    used = {name for node, (name, _) in constants.items() if node.users}
    found = replace(made.imported, others=_others(named, used, made.imported.weights))
    return replace(made, inputs=inputs, imported=found)


_OF_MODULE = (InputKind.PARAMETER, InputKind.BUFFER)


def _weights(
    program: ExportedProgram, specs: Iterable[InputSpec], refittable: bool | frozenset[str]
) -> frozenset[str]:
    """Names of parameters and buffers that may be exchanged: floats, and no single numbers that are not trained."""
    kinds = {str(s.target): s for s in specs if s.kind in _OF_MODULE}
    if not isinstance(refittable, bool) and not refittable <= kinds.keys():
        raise ConfigError(
            f"refittable names {min(refittable - kinds.keys())!r}, which is no parameter or buffer of the module"
        )
    able = set()
    for name, spec in kinds.items():
        tensor = _held(program, spec)
        trained = spec.kind == InputKind.PARAMETER
        if tensor.is_floating_point() and tensor.numel() and (tensor.ndim or trained):
            able.add(name)
    return frozenset(able if isinstance(refittable, bool) else able & refittable)


def _others(
    named: Mapping[str, torch.Tensor], used: Collection[str], weights: Sequence[Source]
) -> dict[str, np.ndarray | str | None]:
    """As of `Imported`."""
    found: dict[str, np.ndarray | str | None] = {}
    exchangeable = {w.name for w in weights}
    places = {(t.data_ptr(), t.shape): n for n, t in named.items() if n in used and t.numel()}
    for name, tensor in named.items():
        if name in used and name in exchangeable:
            continue
        same = places.get((tensor.data_ptr(), tensor.shape))
        found[name] = np.array(array_of(tensor)) if name in used else same
    return found


def read(
    graph: Any,
    sizes: Sizes,
    constants: Mapping[Any, tuple[str, Any]],
    called: Callable[[int, Any], str],
    *,
    as_they_lie: bool,
    refittable: frozenset[str] = frozenset(),
) -> Program:
    """An FX graph whose nodes all have a form.

    constants: placeholders -> name and tensor of weights.  called: number and node of a result -> what the output is called, or like it.
    as_they_lie: see `import_program`.  refittable: names of weights that may be exchanged later.
    """
    walk = Walk(GraphBuilder("torch"), sizes, as_they_lie)
    walk.refittable = refittable
    walk.shaped = shaped(graph, constants)
    digest = hashlib.sha256(str(graph).encode())
    inputs: list[str | None] = []
    for node in graph.nodes:
        if node.op == "placeholder":
            inputs.append(begin(walk, node, constants))
            value = walk.values[node]
            said = getattr(value, "type", value) if inputs[-1] else constants.get(node, ("",))[0]
            digest.update(f"{inputs[-1]}{said}".encode())
            if node in constants:
                digest.update(array_of(constants[node][1]).tobytes())
    made = walk.nodes(graph)
    end = next(n for n in graph.nodes if n.op == "output")
    results: dict[str, Tensor] = {}
    outputs: list[str | None] = []
    whole: set[str] = set()
    plain: dict[int, Any] = {}
    for number, (value, node) in enumerate(zip(made, ends(end.args[0]), strict=True)):
        if value is None or isinstance(value, str | bool | int | float):
            outputs.append(None)
            if value is not None:
                plain[number] = value
            continue
        name = _fresh(called(number, node), results)
        meta = getattr(node, "meta", {}).get("val")
        if not isinstance(value, Tensor):
            whole.add(name)
        results[name] = walk.result(value, meta, name)
        outputs.append(name)
    digest.update(repr(walk.orders).encode())
    built, face = walk.builder.graph(results), walk.builder.graph({})
    imported = Imported(
        (built,), face, digest=digest.hexdigest(), weights=tuple(walk.weights.values())
    )
    return Program(imported, tuple(inputs), tuple(outputs), plain, frozenset(whole), walk.orders)


def _called(users: Sequence[Any], dims: Dims) -> dict[str, str]:
    """PyTorch's symbols -> what they are called."""
    found: dict[str, str] = {}
    for node, names in zip(users, dims, strict=False):
        shape = getattr(node.meta.get("val"), "shape", ())
        for axis, name in names.items():
            size = shape[axis] if axis < len(shape) else None
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                found.setdefault(str(size.node.expr), name)
    return found


def _held(program: ExportedProgram, spec: InputSpec) -> torch.Tensor:
    """The weights, buffer or constant that an input stands for."""
    name = str(spec.target)
    found = program.state_dict.get(name, program.constants.get(name))
    if not isinstance(found, torch.Tensor):
        raise ModelError(f"{name!r} has no value in the exported program")
    return found


def _fresh(name: str, taken: Mapping[str, Any]) -> str:
    found, number = name, 1
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found


def _sizes(program: ExportedProgram, names: Mapping[str, str]) -> Sizes:
    """Symbols with their ranges; typical are the example's."""
    hints: dict[str, int] = {}
    for node in program.graph.nodes:
        value = node.meta.get("val") if node.op == "placeholder" else None
        for size in getattr(value, "shape", ()):
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                hints[str(size.node.expr)] = int(size.node.hint)
    found = {
        str(symbol): limits(bounds.lower, bounds.upper, hints.get(str(symbol), 1))
        for symbol, bounds in program.range_constraints.items()
        if str(symbol) in hints
    }
    return Sizes(found, names)
