"""What a network is, below its layers: names, nodes, constants, inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from camshaft.atomic import write_atomically
from camshaft.errors import ModelError
from camshaft.frontends.onnx.plugins import plugin_of
from camshaft.frontends.onnx.reachable import reachable_in
from camshaft.ir.extents.symbol import NAME
from camshaft.network.accepted import refusal
from camshaft.network.live import Live, Seen
from camshaft.network.protos import array_of, attribute_of, forget_open, names_within
from camshaft.network.tensor import Like, Tensor

OPSET = 23
"""Of ONNX's operators that layers are made of."""
IR_VERSION = 11
_TYPES = {
    "bfloat16": TensorProto.BFLOAT16,
    "float8_e4m3fn": TensorProto.FLOAT8E4M3FN,
    "float8_e5m2": TensorProto.FLOAT8E5M2,
    "int4": TensorProto.INT4,
    "uint4": TensorProto.UINT4,
}
"""Names of types that NumPy lacks."""
_REFUSALS = (ModelError, ValueError, TypeError, onnx.checker.ValidationError)
"""What the import, ONNX's checker and its helpers raise of a node that cannot be."""


class Core:
    """See `Network`."""

    def __init__(
        self, name: str = "network", *, around: Core | None = None, opset: int = OPSET
    ) -> None:
        """around: the network that this one is a body in.  opset: of the nodes that `node` takes; layers are of `OPSET`."""
        self.name = name
        self._root: Core = self if around is None else around._root
        self._around = around
        if around is None:
            self._opsets = {"": opset}
            self._live = Live(self._opsets)
            self._names: set[str] = set()
            self._constants: dict[str, TensorProto] = {}
        self._nodes: list[NodeProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: dict[str, str] = {}
        self._made: set[str] = set()
        self._is_closed = False

    # -- ends --------------------------------------------------------------------------------------

    def input(self, name: str, shape: Sequence[int | str | None], dtype: Any = "float32") -> Tensor:
        """An input of the network.

        shape: extents; a name ("batch") leaves one open, equal names are equal sizes, None is an open one of its own.
        Raises ModelError for a name that is taken, ValueError for what is no shape or type.
        """
        for axis, d in enumerate(shape):
            if isinstance(d, str) and not NAME.fullmatch(d):
                raise ValueError(
                    f"input {name!r}, axis {axis}: {d!r} is no name of a size (letters, digits and underscores); its range "
                    "is said by build(shapes=...)"
                )
        extents = [None if d is None or (isinstance(d, int) and d < 0) else d for d in shape]
        info = helper.make_tensor_value_info(name, element_type(dtype), extents)
        self._claim(name)
        self._root._live.add(info)
        self._inputs.append(info)
        return self._tensor(name)

    def constant(self, value: Any, dtype: Any = None, name: str | None = None) -> Tensor:
        """A constant: an array, a number or nested lists.  dtype: None leaves arrays as they are, and makes Python's floats float32 and
        whole numbers int64."""
        array = value if isinstance(value, np.ndarray | np.generic) else array_of(value)
        if dtype is not None:
            wanted = helper.tensor_dtype_to_np_dtype(element_type(dtype))
            try:
                array = np.asarray(array).astype(wanted)
            except (TypeError, ValueError):
                raise ModelError(f"{value!r:.80} is no tensor, array or number") from None
        return self._constant(np.ascontiguousarray(array).reshape(np.shape(array)), name)

    def output(self, tensor: Tensor, name: str | None = None) -> Tensor:
        """Make a tensor an output.  name: what it is called there; None: as the tensor is.

        Raises ModelError for a tensor of another network, or a name that is taken.
        """
        self._own(tensor)
        if name is None or name == tensor.name:
            made = tensor
        else:
            made = self._node("Identity", [tensor.name], [self._claim(name)], name, {})[0]
        if made.name in self._outputs:
            raise ModelError(f"{made.name!r} is an output already")
        if made.name not in self._made:  # an input or a constant as it is
            raise ModelError(
                f"output {made.name!r} is an input or a constant; give the output another name"
            )
        self._outputs[made.name] = made.name
        return made

    # -- layers ------------------------------------------------------------------------------------

    def op(
        self,
        type: str,
        *inputs: Like | None,
        outputs: int | Sequence[str] = 1,
        name: str | None = None,
        domain: str = "",
        version: int = 1,
        **attributes: Any,
    ) -> Any:
        """A layer of any operator of ONNX, or of another domain.

        inputs: None for an optional one that is left out.  outputs: how many, or their names.  domain, version: of operators that are not
        ONNX's own.  attributes: as ONNX's; None for those to leave out.
        Returns a Tensor, or a tuple of them for several outputs.
        Raises ModelError that says what is wrong with inputs or attributes.
        """
        return self._op(
            type, inputs, outputs, self._layer_name(name, type), (domain, version), attributes
        )

    def _op(
        self,
        type: str,
        inputs: Sequence[Like | None],
        outputs: int | Sequence[str],
        layer: str,
        operators: tuple[str, int],
        attributes: dict[str, Any],
    ) -> Any:
        """As `op`.  layer: the name.  operators: domain and version."""
        given = ["" if x is None else self.tensor(x, name=f"{layer}.{i}").name for i, x in enumerate(inputs)]  # fmt: skip
        while given and not given[-1]:
            given.pop()
        if isinstance(outputs, int):
            outputs = [layer if i == 0 else f"{layer}_{i}" for i in range(outputs)]
            names = [self._unused(n) for n in outputs]
        else:
            names = [self._claim(n) for n in outputs]
        if operators[0]:
            self.domain(*operators)
        made = self._node(type, given, names, layer, attributes, operators[0])
        return made[0] if len(made) == 1 else tuple(made)

    def node(self, node: NodeProto) -> tuple[Tensor, ...]:
        """A node of ONNX as it is, with its graphs: of `Network(opset=...)` and of domains that `domain` took.

        Its inputs are names of values of this network, or empty; its outputs are new names, or empty.  Returns a tensor for each output
        that has a name.
        Raises ModelError that says what is wrong with it.
        """
        names = [self._claim(n) for n in node.output if n]
        try:
            self._add(node)
        except _REFUSALS as error:
            self._root._names.difference_update(names)
            raise _refusal(error, node.name, node.op_type) from error
        self._root._names.update(names_within(node))
        self._made.update(names)
        return tuple(self._tensor(n) for n in names)

    def domain(self, name: str, version: int) -> None:
        """Take operators of a domain other than ONNX's own."""
        self._root._opsets.setdefault(name, version)
        self._root._live.domain(name, version)

    def constant_value(self, tensor: Tensor) -> np.ndarray | None:
        """The elements of a constant; None: the tensor is none."""
        proto = self._root._constants.get(tensor.name)
        return None if proto is None else numpy_helper.to_array(proto)

    @property
    def nodes(self) -> tuple[NodeProto, ...]:
        """The nodes so far, in order, without those in bodies of other nodes."""
        return tuple(self._nodes)

    def value(self, name: str) -> Tensor:
        """The value of this name.  ModelError if there is none."""
        if name not in self._root._names:
            raise ModelError(f"network {self.name!r} has no value {name!r}")
        return self._tensor(name)

    def tensor(self, value: Like, like: Tensor | None = None, name: str | None = None) -> Tensor:
        """A tensor as it is, anything else as a constant.  like: whose type Python's numbers take."""
        if isinstance(value, Tensor):
            return self._own(value)
        if like is not None and not isinstance(value, np.ndarray | np.generic):
            return self.constant(value, like.dtype, name)
        return self.constant(value, None, name)

    def type_of(self, tensor: Tensor) -> Seen:
        """What is known of a tensor's type."""
        return self._root._live.seen(tensor.name)

    def _node(
        self,
        type: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        name: str,
        attributes: dict[str, Any],
        domain: str = "",
    ) -> list[Tensor]:
        given = {k: attribute_of(v) for k, v in attributes.items() if v is not None}
        empty = [k for k, v in given.items() if isinstance(v, list | tuple) and not v]
        lists = [
            helper.make_attribute(k, given.pop(k), attr_type=AttributeProto.INTS) for k in empty
        ]
        try:
            node = helper.make_node(type, inputs, outputs, name=name, domain=domain, **given)
            node.attribute.extend(lists)
            self._add(node, by_hand=True)
        except _REFUSALS as error:
            self._root._names.difference_update(outputs)
            raise _refusal(error, name, type) from error
        self._made.update(outputs)
        return [self._tensor(o) for o in outputs]

    def _add(self, node: NodeProto, by_hand: bool = False) -> None:
        if self._is_closed:
            raise ModelError(
                f"layer {node.name!r} ({node.op_type}): {self.name!r} is written, and its tensors are not there outside"
            )
        is_plugin = plugin_of(node.domain, node.op_type) is not None
        if not is_plugin and not any(a.HasField("g") for a in node.attribute):
            self._check(node)
            if by_hand and not node.domain:
                self._check_types(node)
        self._root._live.add(node)
        self._nodes.append(node)

    def _check(self, node: NodeProto) -> None:
        context = onnx.checker.C.CheckerContext()
        context.ir_version = IR_VERSION
        context.opset_imports = self._root._opsets
        onnx.checker.check_node(node, context)

    def _check_types(self, node: NodeProto) -> None:
        live = self._root._live
        wrong = refusal(node, self._root._opsets[""], lambda name: live.seen(name).elem_type)
        if wrong:
            raise ModelError(f"layer {node.name!r} ({node.op_type}): {wrong}")

    # -- names -------------------------------------------------------------------------------------

    def _claim(self, name: str) -> str:
        if not isinstance(name, str) or not name:
            raise ModelError(f"{name!r} is no name; give a text")
        if name in self._root._names:
            raise ModelError(f"the name {name!r} is taken; give another")
        self._root._names.add(name)
        return name

    def free(self, name: str) -> str:
        """The name, or one made of it, that nothing in the network has yet."""
        taken, made, count = self._root._names, name, 1
        while made in taken:
            count += 1
            made = f"{name}_{count}"
        return made

    def _unused(self, name: str) -> str:
        return self._claim(self.free(name))

    def _layer_name(self, name: str | None, type: str) -> str:
        """The name of a layer, which its first output has too, and its weights begin with."""
        if name is not None:
            if name in self._root._names:
                raise ModelError(f"the name {name!r} is taken; give the layer another")
            return name
        taken, count = self._root._names, 0
        base = type.lower()
        while f"{base}_{count}" in taken:
            count += 1
        return f"{base}_{count}"

    def _constant(self, array: np.ndarray, name: str | None) -> Tensor:
        made = self._unused(name or "constant_0")
        try:
            proto = numpy_helper.from_array(array, made)
            self._root._live.add(proto)
        except (ValueError, TypeError, KeyError, NotImplementedError) as error:
            self._root._names.discard(made)
            raise ModelError(f"constant {made!r} is of type {array.dtype}: {error}") from error
        self._root._constants[made] = proto
        return self._tensor(made)

    def _tensor(self, name: str) -> Tensor:
        return Tensor(self, name)  # type: ignore[arg-type]

    def _own(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, Tensor):
            raise ModelError(f"{tensor!r} is no tensor; use what layers give")
        if tensor.network._root is not self._root:
            raise ModelError(
                f"tensor {tensor.name!r} is of another network ({tensor.network.name!r})"
            )
        if not self.is_within(tensor.network):
            raise ModelError(
                f"tensor {tensor.name!r} is of {tensor.network.name!r} and not there in {self.name!r}: let the body return it, or add the "
                "layer to the body's network"
            )
        return tensor

    def is_within(self, other: Core) -> bool:
        """Whether this network is another one, or a body in it."""
        here: Core | None = self
        while here is not None and here is not other:
            here = here._around
        return here is not None

    # -- the model ---------------------------------------------------------------------------------

    def graph(self) -> GraphProto:
        """The nodes of this network or body, with the types of its outputs."""
        outputs = []
        for name in self._outputs:
            info = ValueInfoProto(name=name)
            info.type.CopyFrom(self._root._live.seen(name).proto)
            forget_open(info)
            outputs.append(info)
        constants = [] if self._around else [*self._constants.values()]
        return helper.make_graph(self._nodes, self.name, self._inputs, outputs, constants)

    def to_onnx(self) -> ModelProto:
        """The network as an ONNX model, without layers that no output depends on.  Raises ModelError if it has no outputs."""
        if self._around is not None:
            raise ModelError(f"{self.name!r} is the body of a layer; use the network around it")
        if not self._outputs:
            raise ModelError(f"network {self.name!r} has no outputs; mark one: network.output(y)")
        imports = [helper.make_opsetid(d, v) for d, v in self._opsets.items()]
        graph = self.graph()
        found = reachable_in(graph)
        read = [c for c in graph.initializer if c.name in found.names]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(found.nodes)
        graph.initializer.extend(read)
        model: ModelProto = helper.make_model(
            graph,
            opset_imports=imports,
            ir_version=IR_VERSION,
            producer_name="camshaft",
        )
        return model

    def save(self, path: str | Path) -> Path:
        """Write the network as an ONNX file, whole or not at all."""
        path = Path(path)
        write_atomically(path, self.to_onnx().SerializeToString())
        return path


def element_type(dtype: Any) -> int:
    """ONNX's number of an element type: its name, a NumPy type, or that number itself.  ValueError if there is none."""
    if isinstance(dtype, int) and not isinstance(dtype, bool):
        return dtype
    if isinstance(dtype, str) and dtype in _TYPES:
        return int(_TYPES[dtype])
    try:
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    except (TypeError, ValueError, KeyError):
        raise ValueError(
            f"{dtype!r} is no element type of ONNX; give a NumPy type, or one of {', '.join(_TYPES)}"
        ) from None


def _refusal(error: Exception, name: str, type: str) -> ModelError:
    if isinstance(error, ModelError):
        return error
    why = str(error).strip().splitlines()[0]
    return ModelError(f"layer {name!r} ({type}): {why}")
