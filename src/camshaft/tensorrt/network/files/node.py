"""A node of an ONNX file that is read, and parameters that hang on what its layer reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto

from camshaft.tensorrt.network.record import Late, Record
from camshaft.tensorrt.weights import Weights

Elements = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Read:
    """A node to read.  constants: name -> elements, of inputs that are constant.  opset: the version of its operators."""

    node: NodeProto
    attributes: dict[str, Any]
    constants: Elements
    opset: int

    def constant(self, index: int) -> np.ndarray[Any, Any] | None:
        """The elements of an input; None: it is none, or no constant."""
        inputs = self.node.input
        return self.constants.get(inputs[index]) if index < len(inputs) else None

    def listed(self, attribute: str, index: int) -> list[Any] | None:
        """Numbers that older operators have as an attribute, and newer ones as an input; None: not there, or no constant."""
        found = self.attributes.get(attribute, self.constant(index))
        return None if found is None else np.asarray(found).reshape(-1).tolist()

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def word(self, attribute: str, default: str) -> str:
        """A text among the attributes."""
        found: bytes = self.attributes.get(attribute, default.encode())
        return found.decode()


Reader = Callable[[Read], dict[str, Any]]


def weights(elements: np.ndarray[Any, Any] | None) -> Weights:
    """As Weights; none of types that it lacks."""
    try:
        return Weights() if elements is None else Weights(np.ascontiguousarray(elements))
    except ValueError:
        return Weights()


def shape_of(record: Record, index: int = 0) -> tuple[int, ...]:
    """The shape of an input, open extents -1.  AttributeError if it has none, since a layer cannot be."""
    source = record.inputs[index]
    shape = None if source is None else record.graph._shape_of(source)
    if shape is None:
        raise AttributeError(f"layer {record.name!r}: input {index} has no rank")
    return shape


def made_shape(record: Record) -> tuple[int, ...]:
    """The shape of the first output, open extents -1; empty if it has none."""
    return record.graph._shape_of(record.outputs[0]) or ()


def axis(index: int, more: int = 0) -> Late:
    """An axis counted from the first.  more: axes that the output has beyond the input."""
    return Late(lambda record: index % (len(shape_of(record)) + more))


def bit(index: int) -> Late:
    """The bit of an axis."""
    return Late(lambda record: 1 << index % len(shape_of(record)))


def bits(axes: Sequence[int]) -> Late:
    """The bits of axes; of none: those of all."""

    def read(record: Record) -> int:
        rank = len(shape_of(record))
        return sum({1 << axis % rank for axis in axes or range(rank)})

    return Late(read)


def bits_from(first: int) -> Late:
    """The bits of an axis, and of all behind it."""

    def read(record: Record) -> int:
        rank = len(shape_of(record))
        return sum(1 << axis for axis in range(first % rank, rank))

    return Late(read)


def made_type() -> Late:
    """The type of the first output."""
    return Late(lambda record: record.graph._type_of(record.outputs[0]))
