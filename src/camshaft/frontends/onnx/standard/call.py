"""What the emitters of ops share: the node at hand, its operands, and its epilogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.frontends.onnx.standard.expressions import Elementwise
from camshaft.frontends.onnx.standard.extents import Extents
from camshaft.frontends.onnx.standard.writer import Writer
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Node, Tensor
from camshaft.ir.op import NO_EPILOGUE
from camshaft.ir.types import DType, TensorType, broadcast_shapes


@dataclass(frozen=True)
class Call:
    """A canonical node that is written as standard nodes, one behind the other."""

    node: Node
    w: Writer
    extents: Extents

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The attributes."""
        return self.node.attrs

    def value(self, index: int) -> str:
        """The name of an input."""
        return self.w.value(self.node.args[index])

    def type(self, index: int) -> TensorType:
        """The type of an input."""
        return self.node.args[index].type

    @property
    def output(self) -> str:
        """The name of the only output."""
        return self.w.made(self.node.output)

    def emit(self, op_type: str, *inputs: str, **attrs: Any) -> str:
        """A node on the way."""
        return self.w.node(op_type, inputs, **attrs)

    def finish(self, op_type: str, *inputs: str, **attrs: Any) -> None:
        """The node that makes the output, with its epilogue behind it where there is one."""
        epilogue = self.attrs.get("epilogue", NO_EPILOGUE)
        if epilogue == NO_EPILOGUE:
            self.w.node(op_type, inputs, self.output, **attrs)
        else:
            self.behind(self.emit(op_type, *inputs, **attrs), epilogue)

    def behind(self, anchor: str, epilogue: Expr, done: Expr = NO_EPILOGUE) -> None:
        """The epilogue of a result.  done: the part of it whose value `anchor` is."""
        node = self.node
        own = node.op.own_inputs(node.attrs) or 0
        (plain,) = node.op.anchor_types([t.type for t in node.args], node.attrs)
        self.expression(epilogue, [anchor], [plain], list(node.args[own:]), done)

    def expression(
        self,
        e: Expr,
        first: list[str],
        types: list[TensorType],
        operands: list[Tensor],
        done: Expr = NO_EPILOGUE,
    ) -> None:
        """An expression of values that exist and of operands becomes the output."""
        read = [*types, *(t.type for t in operands)]
        written = Elementwise(self.w, self.extents, [*first, *operands], [t.dtype for t in read])
        if done != NO_EPILOGUE:
            written.put(done, first[0])
        used = E.used_inputs(e)
        shape = broadcast_shapes(*(read[i].shape for i in used)) if used else ()
        if shape == self.node.output.shape:
            written.write(e, self.output)
            return
        small = written.value(e)
        wanted = self.extents.vector(self.node.output.shape, "shape")
        self.w.node("Expand", [small, wanted], self.output)

    def constant(self, value: float, dtype: DType, name: str = "constant") -> str:
        """A scalar."""
        return self.w.constant(np.asarray(value, dtype.numpy), name)


Emitter = Callable[[Call], None]
