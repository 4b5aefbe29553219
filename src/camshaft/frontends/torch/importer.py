"""torch.export's programs -> camshaft graphs, without ONNX between.

Needs PyTorch (extra `torch`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, OutputKind

from camshaft.errors import ModelError
from camshaft.frontends.onnx import Imported
from camshaft.frontends.torch.dtypes import array_of
from camshaft.frontends.torch.sizes import Sizes, limits
from camshaft.frontends.torch.walk import Walk
from camshaft.ir.graph import GraphBuilder, Tensor

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
    """An exported program as a graph.

    inputs: of its flat arguments, the names of the graph's inputs; None of what is no tensor.  outputs: of its flat results, the
    graph's outputs; None of what is None.
    """

    imported: Imported
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]


def import_program(program: ExportedProgram) -> Program:
    """The graph of an exported program.  Inputs and outputs are called as torch.export calls them.

    Raises ModelError, naming the operator, for what has no form here, and for programs that change their inputs or
    buffers.
    """
    return import_core(core(program))


def core(program: ExportedProgram) -> ExportedProgram:
    """The program in the operators that are imported, without changes in place."""
    return program.run_decompositions(decompositions())


def import_core(program: ExportedProgram) -> Program:
    """As `import_program`, of what `core` made; layers are called after its nodes."""
    digest = hashlib.sha256()
    digest.update(str(program.graph).encode())
    walk = Walk(GraphBuilder("torch"), _sizes(program))
    inputs = list(_declared(walk, program, digest))
    made = walk.nodes(program.graph)
    ends = next(n for n in program.graph.nodes if n.op == "output").args[0]
    results: dict[str, Tensor] = {}
    outputs: list[str | None] = []
    for value, node, out in zip(made, ends, program.graph_signature.output_specs, strict=True):
        if out.kind != OutputKind.USER_OUTPUT:
            raise ModelError(
                f"the model changes {out.target!r} as it runs, which engines do not; return it instead"
            )
        if value is None:
            outputs.append(None)
            continue
        name = _fresh(getattr(node, "name", "value"), results)
        results[name] = walk.result(value, getattr(node, "meta", {}).get("val"))
        outputs.append(name)
    graph = walk.builder.graph(results)
    face = walk.builder.graph({})
    return Program(
        Imported((graph,), face, digest=digest.hexdigest()), tuple(inputs), tuple(outputs)
    )


def _declared(walk: Walk, program: ExportedProgram, digest: Any) -> Iterator[str | None]:
    """Declare inputs and take weights; yields names of what users give, None where that is no tensor."""
    specs = {s.arg.name: s for s in program.graph_signature.input_specs if hasattr(s.arg, "name")}
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        spec = specs[node.name]
        if spec.kind != InputKind.USER_INPUT:
            tensor = _held(program, spec)
            digest.update(array_of(tensor).tobytes())
            walk.constant(node, tensor, str(spec.target))
        elif isinstance(node.meta.get("val"), torch.Tensor):
            walk.declare(node, node.name)
            yield node.name
        else:
            walk.values[node] = node.meta.get("val")
            yield None


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


def _sizes(program: ExportedProgram) -> Sizes:
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
    return Sizes(found)
