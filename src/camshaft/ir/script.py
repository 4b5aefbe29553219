"""Scripts: what decides at run time which graphs run, and on which values.

A graph has no branches, no loops, and no extents that hang on its data.  A model that has them becomes
a script: steps in order, each of which takes and gives *values* by name.  `Run` runs one of the
model's graphs, in generated code; `Call` an operator in Python whose results have shapes that only
the data say, or that are no tensors at all; `If`, `Loop` and `Scan` run scripts of their own.

Values are NumPy arrays; lists for ONNX's sequences; dictionaries for its maps; None for an empty optional;
arrays of objects for strings.  Names are unique in a whole script, inner scripts included, and inner scripts see the values
around them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import DType, TensorType

SIZES = "sizes"
"""What the input of a graph is called (or begins with) that holds sizes which no other input says."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """What a value is that no graph can take: of no known rank, a sequence, an optional, strings, a map.

    text: the type, for people.  kind: "tensor", "sequence", "optional", "strings" or "map".
    dtype: element type of all arrays in it, of a map's values.  holds: the kind of what an optional holds, or
    "map" for a sequence of maps.  dims: the extents of strings, or of the tensor in an optional, as far as they
    are declared (None: an open one).  keys: the type of maps' keys, None where there are no maps.
    """

    kind: str
    dtype: DType
    text: str
    holds: str = ""
    dims: tuple[int | None, ...] | None = None
    keys: DType | None = None

    def __post_init__(self) -> None:
        """ModelError for a map without a type of keys, or such a type without a map."""
        if (self.keys is not None) != ("map" in (self.kind, self.holds)):
            raise ModelError(f"{self.text}: maps, and only they, have keys")

    def __repr__(self) -> str:
        return self.text


ValueType = TensorType | Opaque


@dataclass(frozen=True, slots=True)
class Size:
    """Where a size is read: extent number `at` of value `name`, or element `at` if `of_elements`."""

    symbol: str
    name: str
    at: int
    of_elements: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Run graph number `graph` on these values.

    sizes: sizes that the graph takes as an array of i64, its last input.  needs: why it takes no more
    than it does, for messages.
    """

    graph: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: tuple[Size, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """Run an operator in Python.

    name: the node it comes from.  op: its operator.  executor: "module:function" that makes of the payload
    a callable `f(inputs: Sequence[value]) -> Sequence[value]`.
    inputs: None stands for an absent optional operand.  outputs: None for a result nobody reads.
    reason: why it is no part of a graph, in words.
    """

    name: str
    op: str
    executor: str
    payload: bytes
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class If:
    """Run `then` if `condition`, one bool, holds, else `otherwise`; outputs are theirs, in order."""

    name: str
    condition: str
    then: Script
    otherwise: Script
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """Run `body` again and again (ONNX's Loop).

    count: most iterations, None for no limit.  condition: whether there is a first one, None for yes.
    body.inputs: number of the iteration, whether it goes on (True), what is carried.
    body.outputs: whether it goes on, what is carried, then what is collected.
    outputs: what is carried in the end, then what was collected, stacked along a new first axis.
    collected: the types of what is collected, for loops that do not run at all; sizes: where those of their
    sizes are read that are known before.
    """

    name: str
    count: str | None
    condition: str | None
    carried: tuple[str, ...]
    body: Script
    outputs: tuple[str, ...]
    collected: tuple[ValueType, ...] = ()
    sizes: tuple[Size, ...] = ()


@dataclass(frozen=True, slots=True)
class Scan:
    """Run `body` for each element of `sequences` (ONNX's Scan).

    carried: first states.  axes, backward: of each sequence, along what and whether from its end.
    output_axes, output_backward: the same of each thing collected.  collected, sizes: as of `Loop`.
    body.inputs: states, elements.  body.outputs: states, what is collected.
    batched: the form of opset 8: everything has a batch axis in front, each batch is scanned by itself,
    and `lengths` (None: all) says how many elements it has.
    """

    name: str
    carried: tuple[str, ...]
    sequences: tuple[str, ...]
    body: Script
    outputs: tuple[str, ...]
    axes: tuple[int, ...]
    backward: tuple[bool, ...]
    output_axes: tuple[int, ...]
    output_backward: tuple[bool, ...]
    collected: tuple[ValueType, ...] = ()
    batched: bool = False
    lengths: str | None = None
    sizes: tuple[Size, ...] = ()


Step = Run | Call | If | Loop | Scan


@dataclass(frozen=True, slots=True)
class Script:
    """Steps in order.  inputs: values that it is given.  outputs: values that it gives."""

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]

    def walk(self) -> Iterator[Step]:
        """All steps, those of inner scripts behind the step they belong to."""
        for step in self.steps:
            yield step
            for inner in inner_scripts(step):
                yield from inner.walk()


def inner_scripts(step: Step) -> tuple[Script, ...]:
    """The scripts that a step runs."""
    if isinstance(step, If):
        return step.then, step.otherwise
    return (step.body,) if isinstance(step, Loop | Scan) else ()


@dataclass(frozen=True, slots=True)
class End:
    """An input or output of a model with a script: its name, the value's name and type."""

    name: str
    value: str
    type: ValueType
    values: tuple[Extent, ...] = ()
