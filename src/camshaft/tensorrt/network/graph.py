"""What a network is, below the methods that scripts call: its layers, its ends, and what is known of its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from camshaft.errors import ModelError
from camshaft.network.core import OPSET
from camshaft.network.live import Seen
from camshaft.tensorrt.enums.builder import NetworkDefinitionCreationFlag
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.errors import Reporting, Reports
from camshaft.tensorrt.network.element_types import FLOAT, FLOATS, data_type
from camshaft.tensorrt.network.emission import Emission, Failed
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.record import Parsed, Record, default_name
from camshaft.tensorrt.network.tensor import ITensor, tensor
from camshaft.tensorrt.weights import Weights

L = TypeVar("L", bound=ILayer)
STRONGLY_TYPED = 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _place(weights: Weights) -> tuple[int, int, int]:
    """What tells weights from others: address, type, count."""
    return weights._elements.ctypes.data, int(weights.dtype), weights.size


class Graph(Reporting):
    """Layers and tensors."""

    _name: str
    _flags: int

    def _begin(self, reports: Reports, flags: int) -> None:
        self._reports = Reports(reports.logger, reports)
        self._name, self._flags = "Unnamed Network 0", flags
        self._records: list[Record] = []
        self._inputs: list[ITensor] = []
        self._outputs: list[ITensor] = []
        self._debug: list[ITensor] = []
        self._names: dict[tuple[int, int, int], tuple[Weights, str]] = {}
        self._refittable: set[str] = set()
        self._domains: dict[str, int] = {}
        self._parsed_opset: int | None = None
        self._by_hand = False
        self._draft: Emission | None = None

    @property
    def _strongly_typed(self) -> bool:
        return bool(self._flags & STRONGLY_TYPED)

    # -- layers ------------------------------------------------------------------------------------

    def _add(
        self,
        cls: type[L],
        inputs: Sequence[ITensor],
        outputs: int = 1,
        owner: Any = None,
        **params: Any,
    ) -> L:
        """A new layer.  TypeError if an input is no tensor, ModelError if it is of another network."""
        for i, given in enumerate(inputs):
            if tensor(given, f"input {i}")._graph is not self:
                raise ModelError(f"tensor {given.name!r} is of another network")
        kind = cls._kind.name
        name = f"(Unnamed Layer* {len(self._records)}) [{kind.replace('_', ' ').title()}]"
        record = Record(self, cls, name, list(inputs), params, owner=owner)
        suffixes = ["" if i == 0 else f"_{i}" for i in range(outputs)]
        record.outputs = [ITensor._made(self, f"{name}_output{s}", record) for s in suffixes]
        self._records.append(record)
        self._wrote_by_hand(record)
        return cls._made(record)  # type: ignore[return-value]

    def _add_parsed(
        self,
        cls: type[ILayer],
        name: str,
        parsed: Parsed,
        inputs: Sequence[ITensor | None],
        outputs: Sequence[str],
        params: dict[str, Any],
    ) -> Record:
        record = Record(self, cls, name, list(inputs), params, parsed=parsed)
        record.metadata = f"[ONNX Layer: {name}]"
        record.outputs = [ITensor._made(self, o, record) for o in outputs]
        self._records.append(record)
        return record

    def _wrote_by_hand(self, record: Record) -> None:
        """Note a layer that is no node of a file: then all nodes are brought to one opset."""
        if not record.cls._any_opset and not self._by_hand:
            self._by_hand = True
            if self._parsed_opset not in (None, OPSET):
                self._restart()

    def _opset(self) -> int:
        """The version of ONNX's operators for nodes of this network."""
        return OPSET if self._by_hand else self._parsed_opset or OPSET

    def _rewire(self, record: Record, index: int, given: ITensor) -> None:
        most = record.cls._most if record.parsed is None else None
        if index < 0 or (most is not None and index >= most):
            self._refuse(f"layer {record.name!r} has no input {index}; it takes {most}")
            return
        if tensor(given, "tensor")._graph is not self:
            self._refuse(f"tensor {given.name!r} is of another network")
            return
        record.rewire(index, given)

    def _rewire_optional(self, record: Record, index: int, given: ITensor | None) -> None:
        """As `_rewire`; None: an input that is not set."""
        if given is not None:
            self._rewire(record, index, given)
        elif index < len(record.inputs) and record.inputs[index] is not None:
            record.inputs[index] = None
            self._changed(record)

    def _may_set_types(self, record: Record, what: str) -> bool:
        if self._strongly_typed:
            self._refuse(
                f"layer {record.name!r}: {what} cannot be set, since the network is strongly typed; use add_cast"
            )
        return not self._strongly_typed

    def _refuse(self, message: str) -> None:
        self._reports.failure(ModelError(message))

    # -- what is known -----------------------------------------------------------------------------

    def _restart(self) -> None:
        """Forget what is known of all tensors."""
        self._draft = None

    def _changed(self, record: Record) -> None:
        """Forget what is known of a layer's results, and of all that hangs on them."""
        if record.parsed is None:
            self._wrote_by_hand(record)
        draft = self._draft
        if draft is None:
            return
        is_known = record in draft.failed or any(t in draft.values for t in record.outputs)
        if record.owner is not None:
            self._restart()
        elif is_known and any(-1 in t._shape for t in self._inputs):
            self._restart()  # what the layer taught of open extents is not known apart from the rest
        elif is_known:
            draft.forget(self._behind(record))

    def _behind(self, record: Record) -> set[Record]:
        """A layer and those that depend on it."""
        readers: dict[ITensor, list[Record]] = {}
        for each in self._records:
            for read in each.needed():
                readers.setdefault(read, []).append(each)
        found, waiting = {record}, [record]
        while waiting:
            for made in waiting.pop().outputs:
                fresh = [r for r in readers.get(made, ()) if r not in found]
                found.update(fresh)
                waiting += fresh
        return found

    def _seen(self, tensor: ITensor) -> Seen | None:
        """What is known of a tensor; None, and an error for each layer, if its layer or one before cannot be."""
        if self._draft is None:
            self._draft = Emission(self, draft=True)
        try:
            return self._draft.net.type_of(self._draft.value(tensor))
        except Failed:
            return None
        except ModelError as error:
            self._reports.failure(error)
            return None

    def _shape_of(self, tensor: ITensor) -> tuple[int, ...] | None:
        if tensor._producer is None:
            return tensor._shape
        seen = self._seen(tensor)
        if seen is None or seen.shape is None:
            return None
        return tuple(d if isinstance(d, int) else -1 for d in seen.shape)

    def _type_of(self, tensor: ITensor) -> DataType:
        producer = tensor._producer
        if tensor._dtype is not None or producer is None:
            return tensor._dtype or tensor._declared
        asked = producer.output_types.get(producer.outputs.index(tensor))
        is_end = tensor in self._outputs and not producer.cls._casts
        if asked is not None and (asked in FLOATS or not is_end):
            return asked
        seen = self._seen(tensor)
        return FLOAT if seen is None else data_type(seen.elem_type)

    def _shape_tensors(self) -> set[ITensor]:
        """Tensors on whose elements shapes depend; no inputs of floats, of which a profile can say nothing."""
        found: set[ITensor] = set()
        waiting = [t for r in self._records for t in r.shape_inputs()]
        while waiting:
            here = waiting.pop()
            if here is None or here in found:
                continue
            if here._producer is None and here._declared in FLOATS:
                continue
            found.add(here)
            producer = here._producer
            if producer is not None and not producer.reads_shapes_only():
                waiting += producer.needed()
        return found

    # -- ends --------------------------------------------------------------------------------------

    def _rename(self, tensor: ITensor, name: str) -> None:
        if any(t.name == name and t is not tensor for t in (*self._inputs, *self._outputs)):
            self._refuse(f"an input or output is called {name!r} already; give another name")
            return
        tensor._name = name
        if tensor._producer is None:
            self._restart()

    def _reshape_input(self, tensor: ITensor, shape: tuple[int, ...]) -> None:
        if tensor not in self._inputs:
            self._refuse(f"tensor {tensor.name!r} is no input: its layer says its shape")
            return
        tensor._shape = shape
        self._restart()

    def _name_weights(self, weights: Weights, name: str) -> None:
        """Let weights of the same memory have a name."""
        self._names[_place(weights)] = (weights, name)

    def _weights_names(self) -> set[str]:
        """The names of the weights of all layers."""
        return {
            self._weights_name(weights) or default_name(record.name, param)
            for record in self._records
            for param, weights in record.held().items()
        }

    def _weights_name(self, weights: Weights) -> str | None:
        """The name that `set_weights_name` gave to weights of the same memory."""
        found = self._names.get(_place(weights))
        return None if found is None else found[1]
