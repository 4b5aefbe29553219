"""Attention: two products with a normalization between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.modes import AttentionIOForm, CausalMaskKind
from camshaft.tensorrt.enums.operations import AttentionNormalizationOp
from camshaft.tensorrt.errors import Reporting, reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.element_types import FLOAT
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.layers.transformers.attending import attended
from camshaft.tensorrt.network.params import Take, flag, member, text, whole
from camshaft.tensorrt.network.record import Record
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.objects import Result

_norm, _kind = member(AttentionNormalizationOp), member(CausalMaskKind)
_form, _type = member(AttentionIOForm), member(DataType)
_NONE, _UPPER_LEFT = CausalMaskKind.NONE, CausalMaskKind.UPPER_LEFT
_PADDED = AttentionIOForm.PADDED_BHND
_QUANTIZED = (DataType.INT8, DataType.FP8)
_INPUTS, _MASK, _SCALE, _QUERY_LENGTHS, _KEY_LENGTHS = 3, 3, 4, 5, 6


class _Option(property):
    """A property of an attention that says how it computes."""

    def __init__(self, take: Take, doc: str) -> None:
        self._take = take
        super().__init__(self._get, self._set, doc=doc)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def _get(self, attention: IAttention) -> Any:
        return attention._input.param(self._name)

    def _set(self, attention: IAttention, value: Any) -> None:
        attention._input.assign(self._name, self._take(value, self._name))


class _Input(property):
    """A property of an attention that is a tensor it may read, or None.

    needed: whether None cannot be assigned.
    """

    def __init__(self, index: int, doc: str, *, needed: bool = False) -> None:
        self._index, self._needed = index, needed
        super().__init__(self._get, self._set, doc=doc)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def _get(self, attention: IAttention) -> ITensor | None:
        inputs = attention._input.inputs
        return inputs[self._index] if self._index < len(inputs) else None

    def _set(self, attention: IAttention, value: ITensor | None) -> None:
        if not isinstance(value, ITensor) and (self._needed or value is not None):
            raise TypeError(f"{self._name}={value!r} must be an ITensor")
        attention._graph._rewire_optional(attention._input, self._index, value)


class IAttention(Result, Reporting):
    """normalize(query @ key.T + mask) @ value; nothing is scaled but what the network scales itself.

    query, key, value: [batch, heads, steps, size]; fewer heads of key and value are shared by several of the query.  Of packed ones
    [tokens, heads, size], the rows one behind the other.
    """

    _graph: Graph
    _input: Record
    _output: Record
    _name: str

    @classmethod
    def _made(cls, graph: Graph) -> IAttention:
        made = cls.__new__(cls)
        made._graph, made._reports, made._name = graph, graph._reports, ""
        return made

    mask = _Input(
        _MASK,
        "[batch, heads, steps, steps of keys], extents equal or 1: BOOL says what is looked at, floats are added; None: no mask.",
    )
    norm_op = _Option(_norm, "What happens between the products: SOFTMAX, or NONE.")
    decomposable = _Option(
        flag, "Kept: whether one kernel or several compute it is chosen by time."
    )
    causal_kind = _Option(
        _kind, "Which keys come later than a query, and are not looked at; NONE: no key."
    )
    normalization_quantize_scale = _Input(
        _SCALE, "The scale that the first product's normalized result is quantized by.", needed=True
    )
    query_form = _Option(_form, "Whether queries are padded, or packed.")
    key_value_form = _Option(_form, "Whether keys and values are padded, or packed.")
    query_lengths = _Input(
        _QUERY_LENGTHS, "Of packed queries, where rows begin and end: INT32 [batch + 1], from 0."
    )
    key_value_lengths = _Input(
        _KEY_LENGTHS,
        "Of padded keys how many each row has, INT32 [batch]; of packed ones where rows begin and end, [batch + 1].",
    )

    @property
    def causal(self) -> bool:
        """Whether later keys are not looked at; setting it makes `causal_kind` UPPER_LEFT or NONE."""
        return bool(self._input.param("causal_kind") != _NONE)

    @causal.setter
    def causal(self, causal: bool) -> None:
        self._input.assign("causal_kind", _UPPER_LEFT if flag(causal, "causal") else _NONE)

    @property
    def normalization_quantize_to_type(self) -> DataType:
        """Type that the normalized result is quantized to, INT8; FLOAT: none.  An error is logged for types other than INT8 and FP8."""
        kind: DataType = self._input.param("normalization_quantize_to_type")
        return kind

    @normalization_quantize_to_type.setter
    def normalization_quantize_to_type(self, kind: DataType) -> None:
        if _type(kind, "normalization_quantize_to_type") not in _QUANTIZED:
            self._graph._refuse(
                f"attention {self._name!r}: normalization_quantize_to_type={kind} must be INT8 or FP8"
            )
            return
        self._input.assign("normalization_quantize_to_type", kind)

    @property
    def name(self) -> str:
        """Name."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = text(name, "name")
        self._input.name, self._output.name = f"{name}_input", f"{name}_output"

    @property
    def metadata(self) -> str:
        """Text that inspectors show."""
        return self._input.metadata

    @metadata.setter
    def metadata(self, metadata: str) -> None:
        self._input.metadata = self._output.metadata = text(metadata, "metadata")

    @property
    def num_ranks(self) -> int:
        """Devices of the attention: 1."""
        return 1

    @num_ranks.setter
    def num_ranks(self, ranks: int) -> None:
        if whole(ranks, "num_ranks") != 1:
            self._reports.error(
                f"attention {self._name!r}: num_ranks={ranks}; there is one device, leave it at 1"
            )

    @property
    def num_inputs(self) -> int:
        """3: query, key, value."""
        return _INPUTS

    @property
    def num_outputs(self) -> int:
        """1."""
        return 1

    @reported(False)
    def set_input(self, index: int, tensor: ITensor) -> bool:
        """Another query (0), key (1) or value (2); False, and an error, if there is no such input."""
        if not 0 <= whole(index, "index") < _INPUTS:
            raise ModelError(
                f"attention {self._name!r} has no input {index}; it takes {_INPUTS}, and its mask by `mask`"
            )
        self._graph._rewire(self._input, index, tensor)
        return self._input.inputs[index] is tensor

    def get_input(self, index: int) -> ITensor | None:
        """Query, key or value; None: there is none of this index."""
        return self._input.inputs[index] if 0 <= whole(index, "index") < _INPUTS else None

    def get_output(self, index: int) -> ITensor | None:
        """What it gives, shaped as the query; None: there is none of this index."""
        return self._output.outputs[0] if whole(index, "index") == 0 else None


class IAttentionBoundaryLayer(ILayer):
    """A layer that belongs to an attention."""

    @property
    def attention(self) -> IAttention:
        """The attention."""
        owner: IAttention = self._record.owner
        return owner


class IAttentionInputLayer(IAttentionBoundaryLayer):
    """What goes into an attention; its result is the attention's."""

    _kind = LayerType.ATTENTION_INPUT
    _most = 7

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        return [attended(call)]


class IAttentionOutputLayer(IAttentionBoundaryLayer):
    """What comes out of an attention."""

    _kind = LayerType.ATTENTION_OUTPUT

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        return [call.input(0)]


@reported(None)
def add_attention(
    self: Graph,
    query: ITensor,
    key: ITensor,
    value: ITensor,
    norm_op: AttentionNormalizationOp,
    causal: bool,
) -> IAttention:
    """An attention.  causal: as `CausalMaskKind.UPPER_LEFT`."""
    kind = _UPPER_LEFT if flag(causal, "causal") else _NONE
    return _attention(self, [query, key, value], _norm(norm_op, "norm_op"), kind)


@reported(None)
def add_attention_v2(
    self: Graph,
    query: ITensor,
    key: ITensor,
    value: ITensor,
    norm_op: AttentionNormalizationOp,
    causal_kind: CausalMaskKind,
) -> IAttention:
    """An attention that says which keys come later than a query."""
    kind = _kind(causal_kind, "causal_kind")
    return _attention(self, [query, key, value], _norm(norm_op, "norm_op"), kind)


def _attention(graph: Graph, inputs: list[ITensor], norm_op: Any, kind: Any) -> IAttention:
    made = IAttention._made(graph)
    params = {"norm_op": norm_op, "causal_kind": kind, "decomposable": False}
    forms = {
        "query_form": _PADDED,
        "key_value_form": _PADDED,
        "normalization_quantize_to_type": FLOAT,
    }
    made._input = graph._add(IAttentionInputLayer, inputs, 1, made, **params, **forms)._record
    made._output = graph._add(IAttentionOutputLayer, made._input.outputs, 1, made)._record
    return made
