"""Plugins of the second generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.objects import Result
from camshaft.tensorrt.plugins.expressions import DimsExprs, IExprBuilder
from camshaft.tensorrt.plugins.interfaces import missing
from camshaft.tensorrt.plugins.stored import Stored


class IPluginV2(Result):
    """What plugins of the second generation have in common."""

    num_outputs = Stored("How many outputs there are.", 1)
    plugin_type = Stored("Type, by which the creator is found.")
    plugin_version = Stored("Version, likewise.")
    plugin_namespace = Stored("Namespace, likewise.", "")

    @property
    def tensorrt_version(self) -> int:
        """Version of the API that it was written for."""
        return 8601

    @property
    def serialization_size(self) -> int:
        """Bytes of `serialize`."""
        return len(self.serialize())

    def get_output_shape(self, index: int, input_shapes: Any) -> Any:
        """Of networks without batches, which there are none of."""
        raise missing(self, "get_output_shape")

    def supports_format(self, dtype: Any, format: Any) -> bool:
        """Of networks without batches, which there are none of."""
        raise missing(self, "supports_format")

    def configure_with_format(
        self, input_shapes: Any, output_shapes: Any, dtype: Any, format: Any, max_batch_size: int
    ) -> None:
        """Of networks without batches, which there are none of."""
        raise missing(self, "configure_with_format")

    def initialize(self) -> Any:
        """Called before it runs."""

    def terminate(self) -> None:
        """Called after it has run."""

    def get_workspace_size(self, max_batch_size: int) -> int:
        """Of networks without batches, which there are none of."""
        return 0

    def execute_async(
        self, batch_size: int, inputs: Any, outputs: Any, workspace: Any, stream_handle: Any
    ) -> Any:
        """Of networks without batches, which there are none of."""
        raise missing(self, "execute_async")

    def serialize(self) -> Any:
        """The bytes of which its creator makes it again."""
        return b""

    def destroy(self) -> None:
        """Called when it is not needed any more."""

    def clone(self) -> Any:
        """A copy."""
        raise missing(self, "clone")


class IPluginV2Ext(IPluginV2):
    """Of networks without batches, which there are none of."""

    def get_output_data_type(self, index: int, input_types: Any) -> DataType:
        """Type of an output."""
        raise missing(self, "get_output_data_type")

    def configure_plugin(self, *args: Any) -> None:
        """Called before it runs."""

    def attach_to_context(self, cudnn: Any, cublas: Any, allocator: Any) -> None:
        """Not called: there is no GPU."""

    def detach_from_context(self) -> None:
        """Not called: there is no GPU."""

    def clone(self) -> Any:
        """A copy."""
        raise missing(self, "clone")


class IPluginV2DynamicExtBase(IPluginV2):
    """Base of `IPluginV2DynamicExt`."""


class IPluginV2DynamicExt(IPluginV2DynamicExtBase):
    """A plugin of the second generation: scripts override its methods."""

    FORMAT_COMBINATION_LIMIT: Final = 100

    def __init__(self, plugin: Any = None) -> None:
        """plugin: whose properties it takes."""
        if plugin is not None:
            self.__dict__.update(plugin.__dict__)

    def initialize(self) -> Any:
        """Called before it runs."""

    def terminate(self) -> None:
        """Called after it has run."""

    def serialize(self) -> Any:
        """The bytes, or the text, of which its creator makes it again."""
        return b""

    def get_output_datatype(self, index: int, input_types: Sequence[DataType]) -> DataType:
        """Type of an output."""
        raise missing(self, "get_output_datatype")

    def destroy(self) -> None:
        """Called when it is not needed any more."""

    def get_serialization_size(self) -> int:
        """Bytes of `serialize`."""
        return len(self.serialize())

    def get_output_dimensions(
        self, output_index: int, inputs: Sequence[DimsExprs], expr_builder: IExprBuilder
    ) -> DimsExprs:
        """Shape of an output."""
        raise missing(self, "get_output_dimensions")

    def get_workspace_size(self, in_: Any, out: Any) -> int:  # type: ignore[override]
        """Bytes of scratch memory."""
        return 0

    def configure_plugin(self, pos: Any, in_out: Any) -> None:
        """Called with the inputs' and the outputs' descriptions when shapes are set."""

    def supports_format_combination(self, pos: int, in_out: Any, num_inputs: int) -> bool:
        """Whether it takes tensor `pos` so, those before it as they are."""
        raise missing(self, "supports_format_combination")

    def enqueue(
        self,
        input_desc: Any,
        output_desc: Any,
        inputs: Sequence[int],
        outputs: Sequence[int],
        workspace: int,
        stream: int,
    ) -> Any:
        """Compute.  inputs, outputs: addresses."""
        raise missing(self, "enqueue")

    def clone(self) -> Any:
        """A copy."""
        raise missing(self, "clone")
