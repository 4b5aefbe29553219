"""From a path, bytes or a ModelProto to a checked, self-contained ModelProto.

First stage of the ONNX frontend.  ONNX's own checker judges the model and its own inliner removes
local functions; what they find wrong comes out as a ModelError that names the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, inliner

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import domain_of
from camshaft.frontends.onnx.handlers import experimental, microsoft
from camshaft.frontends.onnx.plugins import plugin_of, require_own_name
from camshaft.frontends.onnx.reachable import reachable_in

RUNTIME_OPS = frozenset(
    {
        *experimental.HANDLERS,
        *microsoft.IN_ONNX,
        "GroupNormalization",
        "LayerNormalization",
        "ThresholdedRelu",
    }
)
"""What ONNX Runtime defines in ONNX's own domain, where ONNX does not, or not in every opset, or
deprecates it (GroupNormalization of opset 18 to 20, which exporters wrote)."""
OPSETS_SINCE = 3
"""The first IR version whose files name their opsets."""
_ELSEWHERE = "com.microsoft"
"""A domain whose operators the checker leaves alone."""


class Writes(Protocol):
    """What says itself as an ONNX model, such as a `camshaft.Network`."""

    def to_onnx(self) -> ModelProto: ...


def load_model(model: str | os.PathLike[str] | bytes | ModelProto | Writes) -> ModelProto:
    """The model, parsed, complete with external data, checked, without local functions.

    Raises ModelError naming the file (or "the given bytes") and what is wrong with it.
    """
    if hasattr(model, "to_onnx"):
        model = model.to_onnx()
    if isinstance(model, ModelProto):
        where, proto, folder = f"model {model.graph.name!r}", model, None
    elif isinstance(model, (bytes, bytearray, memoryview)):
        where, folder = "the given bytes", None
        proto = _parse(bytes(model), where)
    elif isinstance(model, (str, os.PathLike)):
        path = Path(model)
        where, folder = f"{str(path)!r}", path.parent
        proto = _parse(_read(path), where)
    else:
        raise ModelError(
            f"cannot read a model from {type(model).__name__}; give a path, bytes, a ModelProto or a Network"
        )
    if not proto.HasField("graph") or not opsets_of(proto):
        raise ModelError(f"{where} is not an ONNX model: it holds no graph or names no opset")
    proto = _with_external_data(proto, folder, where)
    _check(proto, where)
    return _without_functions(proto, where)


def opsets_of(proto: ModelProto) -> dict[str, int]:
    """Domain -> version of its operators, ONNX's own called "".

    Files of IR versions 1 and 2, which are older than opsets, are of opset 1.
    """
    if not proto.opset_import and 0 < proto.ir_version < OPSETS_SINCE:
        return {"": 1}
    return {domain_of(o.domain): o.version for o in proto.opset_import}


def external_files(path: Path) -> list[Path]:
    """The files beside the model `path` that hold weights of it; none if it cannot be read."""
    try:
        proto = _parse(_read(path), str(path))
    except ModelError:
        return []
    external = [t for t in _tensors(proto) if t.data_location == TensorProto.EXTERNAL]
    return [path.parent / name for name in _locations(external)]


def _locations(external: Iterable[TensorProto]) -> list[str]:
    return sorted({e.value for t in external for e in t.external_data if e.key == "location"})


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise ModelError(f"{str(path)!r} is a directory; give the .onnx file in it") from None
    except FileNotFoundError:
        raise ModelError(f"there is no file {str(path)!r}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {str(path)!r}: {error}") from error
    if not data:
        raise ModelError(f"{str(path)!r} is empty; write or download the model again")
    return data


def _parse(data: bytes, where: str) -> ModelProto:
    if not data:
        raise ModelError(f"{where}: no data; a model has at least one byte")
    try:
        proto: ModelProto = ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{where}: not an ONNX file, or it is truncated or damaged ({error}); export or "
            "download the model again"
        ) from error
    return proto


def _line(error: Exception) -> str:
    """An error of onnx, whose texts hold line breaks, in one line."""
    return " ".join(str(error).split()).removesuffix(".")


def _tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """All tensors with data: initializers, and the values of attributes, in every graph."""
    graphs = [proto.graph]
    nodes: list[NodeProto] = [n for f in proto.functions for n in f.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            nodes.extend(graph.node)
            continue
        for attribute in nodes.pop().attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            graphs.extend(attribute.graphs)
            if attribute.HasField("g"):
                graphs.append(attribute.g)


def _with_external_data(proto: ModelProto, folder: Path | None, where: str) -> ModelProto:
    external = [t for t in _tensors(proto) if t.data_location == TensorProto.EXTERNAL]
    if not external:
        return proto
    if folder is None:
        raise ModelError(
            f"{where}: tensor {external[0].name!r} lies in an external file; give the model's path"
        )
    try:
        onnx.load_external_data_for_model(proto, str(folder))
    except (OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{where}: external data {', '.join(_locations(external))} cannot be read beside the model: "
            f"{_line(error)}; put the file it was exported with there, or export the model again"
        ) from error
    return proto


def _check(proto: ModelProto, where: str) -> None:
    newest = onnx.defs.onnx_opset_version()
    for opset in proto.opset_import:
        if not domain_of(opset.domain) and opset.version > newest:
            raise ModelError(
                f"{where} uses opset {opset.version}; the installed onnx knows up to {newest}: "
                "upgrade onnx or export the model with an older opset"
            )
    try:
        onnx.checker.check_model(_outline(proto))
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{where} is not a valid ONNX model: {_line(error)}; export it again, or repair it"
        ) from error
    if not proto.graph.output:
        raise ModelError(f"{where} has no outputs, so there is nothing to compute; add one")


def _outline(proto: ModelProto) -> ModelProto:
    """The model for the checker: initializers as inputs, which spares serializing the weights.

    (The importer checks each of them as it reads it.)  Nodes that no output depends on are left
    out.  The checker also insists on shapes of inputs and outputs that runtimes do not need.
    """
    graph = GraphProto(name=proto.graph.name)
    graph.node.extend(reachable_in(proto.graph).nodes)
    graph.input.extend(proto.graph.input)
    graph.output.extend(proto.graph.output)
    graph.sparse_initializer.extend(proto.graph.sparse_initializer)
    declared = {v.name for v in graph.input}
    for tensor in proto.graph.initializer:
        if tensor.name not in declared:
            kind = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(kind)
    for value in (*graph.input, *graph.output):
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()
    outline = ModelProto(ir_version=proto.ir_version, graph=graph)
    outline.opset_import.extend(proto.opset_import)
    if not outline.opset_import:
        outline.ir_version = OPSETS_SINCE
        outline.opset_import.append(onnx.helper.make_opsetid("", 1))
    outline.functions.extend(proto.functions)
    _move_runtime_ops(outline)
    return outline


def _move_runtime_ops(outline: ModelProto) -> None:
    """Give nodes of RUNTIME_OPS that the model's opset does not have, or deprecates, and plugins of ONNX's own domain or
    of one that the model does not import, another domain."""
    version = opsets_of(outline)
    open_, moved = [*outline.graph.node], False
    while open_:
        node = open_.pop()
        open_ += [n for a in node.attribute for g in (a.g, *a.graphs) for n in g.node]
        own = node.op_type in RUNTIME_OPS and not domain_of(node.domain)
        homeless = not domain_of(node.domain) or domain_of(node.domain) not in version
        plugin = plugin_of(node.domain, node.op_type)
        if plugin is not None:
            require_own_name(plugin, version.get(domain_of(node.domain), 0), ours=False)
        own |= homeless and plugin is not None
        if own and not _is_current(node.op_type, version.get("", 0)):
            node.domain, moved = _ELSEWHERE, True
    if moved and _ELSEWHERE not in version:
        outline.opset_import.append(onnx.helper.make_opsetid(_ELSEWHERE, 1))


def _is_current(op_type: str, opset: int) -> bool:
    """Whether ONNX's own domain has the operator in that opset, and not as a deprecated one."""
    if not onnx.defs.has(op_type, opset, ""):
        return False
    return not onnx.defs.get_schema(op_type, opset, "").deprecated


def _without_functions(proto: ModelProto, where: str) -> ModelProto:
    if not proto.functions:
        return proto
    try:
        return inliner.inline_local_functions(proto, convert_version=True)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ModelError(
            f"{where}: its local functions cannot be inlined: {_line(error)}"
        ) from error
