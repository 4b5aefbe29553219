"""`INetworkDefinition`: a network that a script writes, or a parser fills."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from camshaft.errors import ModelError
from camshaft.tensorrt.dims import extents
from camshaft.tensorrt.enums.builder import NetworkDefinitionCreationFlag
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.errors import Reporting, Reports, reported
from camshaft.tensorrt.network import refused
from camshaft.tensorrt.network.element_types import onnx_type
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.layers import (
    conditionals,
    elementwise,
    images,
    indexing,
    loops,
    movement,
    normalization,
    products,
    quantization,
    recurrent,
    reduction,
    sources,
    windows,
)
from camshaft.tensorrt.network.layers.transformers import attention, caches, experts, rotary
from camshaft.tensorrt.network.lowered import Lowered
from camshaft.tensorrt.network.lowering import lower
from camshaft.tensorrt.network.params import member, text, whole
from camshaft.tensorrt.network.tensor import ITensor, tensor
from camshaft.tensorrt.objects import Result, common_enter, common_exit
from camshaft.tensorrt.plugins import layers as plugin_layers
from camshaft.tensorrt.weights import weights_of

_flag, _type = member(NetworkDefinitionCreationFlag), member(DataType)
_EXPLICIT_PRECISION = 1 << int(NetworkDefinitionCreationFlag.EXPLICIT_PRECISION)


class INetworkDefinition(Graph, Result):
    """Layers, and the tensors that they give and take."""

    __enter__ = common_enter
    __exit__ = common_exit

    add_activation = elementwise.add_activation
    add_assertion = sources.add_assertion
    add_attention = attention.add_attention
    add_attention_v2 = attention.add_attention_v2
    add_cast = elementwise.add_cast
    add_concatenation = movement.add_concatenation
    add_constant = sources.add_constant
    add_convolution = windows.add_convolution
    add_convolution_nd = windows.add_convolution_nd
    add_cumulative = reduction.add_cumulative
    add_deconvolution = windows.add_deconvolution
    add_deconvolution_nd = windows.add_deconvolution_nd
    add_dequantize = quantization.add_dequantize
    add_dist_collective = refused.add_dist_collective
    add_dynamic_quantize = quantization.add_dynamic_quantize
    add_dynamic_quantize_v2 = quantization.add_dynamic_quantize_v2
    add_einsum = products.add_einsum
    add_elementwise = elementwise.add_elementwise
    add_fill = sources.add_fill
    add_fully_connected = products.add_fully_connected
    add_gather = indexing.add_gather
    add_gather_v2 = indexing.add_gather_v2
    add_grid_sample = images.add_grid_sample
    add_identity = elementwise.add_identity
    add_if_conditional = conditionals.add_if_conditional
    add_kv_cache_update = caches.add_kv_cache_update
    add_loop = loops.add_loop
    add_lrn = images.add_lrn
    add_matrix_multiply = products.add_matrix_multiply
    add_moe = experts.add_moe
    add_nms = indexing.add_nms
    add_non_zero = indexing.add_non_zero
    add_normalization = normalization.add_normalization
    add_normalization_v2 = normalization.add_normalization_v2
    add_one_hot = indexing.add_one_hot
    add_padding = images.add_padding
    add_padding_nd = images.add_padding_nd
    add_parametric_relu = elementwise.add_parametric_relu
    add_plugin = plugin_layers.add_plugin
    add_plugin_v2 = plugin_layers.add_plugin_v2
    add_plugin_v3 = plugin_layers.add_plugin_v3
    add_pooling = windows.add_pooling
    add_pooling_nd = windows.add_pooling_nd
    add_quantize = quantization.add_quantize
    add_ragged_softmax = reduction.add_ragged_softmax
    add_reduce = reduction.add_reduce
    add_resize = images.add_resize
    add_reverse_sequence = indexing.add_reverse_sequence
    add_rnn_v2 = recurrent.add_rnn_v2
    add_rotary_embedding = rotary.add_rotary_embedding
    add_scale = elementwise.add_scale
    add_scale_nd = elementwise.add_scale_nd
    add_scatter = indexing.add_scatter
    add_select = elementwise.add_select
    add_shape = sources.add_shape
    add_shuffle = movement.add_shuffle
    add_slice = movement.add_slice
    add_softmax = reduction.add_softmax
    add_squeeze = movement.add_squeeze
    add_topk = reduction.add_topk
    add_unary = elementwise.add_unary
    add_unsqueeze = movement.add_unsqueeze
    serialize = refused.serialize

    @classmethod
    def _made(cls, reports: Reports, flags: int, builder: Any = None) -> INetworkDefinition:
        """flags: a bit for each NetworkDefinitionCreationFlag.  builder: what `builder` answers."""
        made = cls.__new__(cls)
        made._begin(reports, flags)
        made._builder, made._shows_unfused = builder, False
        return made

    def _lowered(self) -> Lowered:
        """What a build needs to know.  ModelError says which layer cannot be."""
        return lower(self)

    # -- the network -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = text(name, "name")

    @property
    def builder(self) -> Any:
        """The builder that made the network."""
        return self._builder

    @property
    def flags(self) -> int:
        """A bit for each NetworkDefinitionCreationFlag."""
        return self._flags

    def get_flag(self, flag: NetworkDefinitionCreationFlag) -> bool:
        """Whether a flag is set."""
        return bool(self._flags >> int(_flag(flag, "flag")) & 1)

    @property
    def has_implicit_batch_dimension(self) -> bool:
        """False: all networks say their batches."""
        return False

    @property
    def has_explicit_precision(self) -> bool:
        """Whether the network was made with EXPLICIT_PRECISION."""
        return bool(self._flags & _EXPLICIT_PRECISION)

    error_recorder = Reporting.error_recorder

    # -- layers ------------------------------------------------------------------------------------

    @property
    def num_layers(self) -> int:
        """How many layers there are."""
        return len(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __bool__(self) -> bool:
        """True, without layers as well, so that `if network:` asks whether there is one."""
        return True

    def __getitem__(self, index: int) -> ILayer:
        return ILayer._made(self._records[whole(index, "index")])

    def __iter__(self) -> Iterator[ILayer]:
        return (ILayer._made(record) for record in self._records)

    def get_layer(self, index: int) -> ILayer | None:
        """A layer; None: there is none of this index."""
        return self[index] if 0 <= whole(index, "index") < len(self._records) else None

    # -- ends --------------------------------------------------------------------------------------

    @property
    def num_inputs(self) -> int:
        """How many inputs there are."""
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        """How many outputs there are."""
        return len(self._outputs)

    def get_input(self, index: int) -> ITensor | None:
        """An input; None: there is none of this index."""
        return self._inputs[index] if 0 <= whole(index, "index") < len(self._inputs) else None

    def get_output(self, index: int) -> ITensor | None:
        """An output; None: there is none of this index."""
        return self._outputs[index] if 0 <= whole(index, "index") < len(self._outputs) else None

    @reported(None)
    def add_input(self, name: str, dtype: DataType, shape: Sequence[int]) -> ITensor:
        """An input.  shape: -1 for an open extent.  ModelError, logged, for a name that is empty or taken, and for other negative extents."""
        if not text(name, "name"):
            raise ModelError("name is empty; give the input one")
        if any(t.name == text(name, "name") for t in self._inputs):
            raise ModelError(f"an input is called {name!r} already; give another name")
        kind, extent = _type(dtype, "dtype"), extents(shape, "shape")
        onnx_type(kind)
        if any(d < -1 for d in extent):
            raise ModelError(
                f"input {name!r}: shape {extent} has extents below -1; -1 is an open one"
            )
        made = ITensor._made(self, name, None)
        made._declared, made._shape = kind, extent
        self._inputs.append(made)
        return made

    def mark_output(self, tensor: ITensor) -> None:
        """Make a tensor an output, after those that are marked."""
        found = self._own(tensor)
        if found is None:
            return
        if found in self._outputs:
            self._refuse(f"tensor {found.name!r} is an output already")
        elif found in self._inputs:
            self._refuse(f"tensor {found.name!r} is an input; mark the output of add_identity")
        else:
            self._outputs.append(found)

    def unmark_output(self, tensor: ITensor) -> None:
        """Make a tensor no output."""
        found = self._own(tensor)
        if found is not None and found in self._outputs:
            self._outputs.remove(found)
        elif found is not None:
            self._refuse(f"tensor {found.name!r} is no output; mark_output makes it one")

    def mark_output_for_shapes(self, tensor: ITensor) -> bool:
        """As `mark_output`; whether it could be."""
        before = len(self._outputs)
        self.mark_output(tensor)
        return len(self._outputs) > before

    def unmark_output_for_shapes(self, tensor: ITensor) -> bool:
        """As `unmark_output`; whether it was one."""
        before = len(self._outputs)
        self.unmark_output(tensor)
        return len(self._outputs) < before

    def remove_tensor(self, tensor: ITensor) -> None:
        """Take an input or an output off the network's ends.  An error is logged if a layer reads the input."""
        found = self._own(tensor)
        if found is None:
            return
        readers = [r.name for r in self._records if found in r.needed()]
        if found in self._inputs and readers:
            self._refuse(f"layer {readers[0]!r} reads input {found.name!r}; rewire it first")
            return
        for ends in (self._inputs, self._outputs, self._debug):
            if found in ends:
                ends.remove(found)
        self._restart()

    # -- weights and debugging ---------------------------------------------------------------------

    def set_weights_name(self, weights: Any, name: str) -> bool:
        """Name weights for refits: those of the same memory, type and count as an array or Weights that layers take."""
        self._name_weights(weights_of(weights, "weights"), text(name, "name"))
        return True

    def mark_weights_refittable(self, name: str) -> bool:
        """Let weights be refitted in engines of BuilderFlag.REFIT_INDIVIDUAL; False, and an error, if there are none of this name."""
        if text(name, "name") not in self._weights_names():
            self._refuse(
                f"no weights of the network are called {name!r}; set_weights_name names them"
            )
            return False
        self._refittable.add(name)
        return True

    def are_weights_marked_refittable(self, name: str) -> bool:
        """Whether weights are marked."""
        return name in self._refittable

    def unmark_weights_refittable(self, name: str) -> bool:
        """Take the mark off; whether there was one."""
        was = name in self._refittable
        self._refittable.discard(name)
        return was

    def mark_debug(self, tensor: ITensor) -> bool:
        """Show a tensor to debug listeners; whether it could be."""
        found = self._own(tensor)
        if found is not None and found not in self._debug:
            self._debug.append(found)
        return found is not None

    def unmark_debug(self, tensor: ITensor) -> bool:
        """Do not show a tensor; whether it is one of the network."""
        found = self._own(tensor)
        if found is not None and found in self._debug:
            self._debug.remove(found)
        return found is not None

    def is_debug_tensor(self, tensor: ITensor) -> bool:
        """Whether debug listeners are shown a tensor."""
        return tensor in self._debug

    def mark_unfused_tensors_as_debug_tensors(self) -> bool:
        """Show tensors that a build leaves between fused layers to debug listeners; True."""
        self._shows_unfused = True
        return True

    def unmark_unfused_tensors_as_debug_tensors(self) -> bool:
        """The opposite of `mark_unfused_tensors_as_debug_tensors`; True."""
        self._shows_unfused = False
        return True

    def _own(self, given: ITensor) -> ITensor | None:
        """A tensor of this network; None, and an error, for one of another."""
        if tensor(given, "tensor")._graph is self:
            return given
        self._refuse(f"tensor {given.name!r} is of another network")
        return None

    _builder: Any
    _shows_unfused: bool
