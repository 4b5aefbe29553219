"""Plugins of the third generation: an object and its parts, which scripts override."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.plugins.expressions import DimsExprs, IExprBuilder
from camshaft.tensorrt.plugins.fields import PluginFieldCollection
from camshaft.tensorrt.plugins.interfaces import IPluginCapability, missing
from camshaft.tensorrt.plugins.stored import Stored
from camshaft.tensorrt.running.allocators import IVersionedInterface


class IPluginV3(IVersionedInterface):
    """A plugin of the third generation."""

    def __init__(self, plugin: Any = None) -> None:
        """plugin: whose properties it takes."""
        if plugin is not None:
            self.__dict__.update(plugin.__dict__)

    def get_capability_interface(self, type: Any) -> Any:
        """The part of this PluginCapabilityType."""
        raise missing(self, "get_capability_interface")

    def clone(self) -> Any:
        """A copy."""
        raise missing(self, "clone")

    def destroy(self) -> None:
        """Called when it is not needed any more."""


class IPluginV3OneCore(IPluginCapability):
    """What a plugin is called."""

    def __init__(self, plugin: Any = None) -> None:
        """plugin: whose properties it takes."""
        if plugin is not None:
            self.__dict__.update(plugin.__dict__)

    plugin_name = Stored("Type, by which the creator is found.")
    plugin_version = Stored("Version, likewise.")
    plugin_namespace = Stored("Namespace, likewise.", "")


class IPluginV3OneBuild(IPluginCapability):
    """What a build asks of a plugin."""

    DEFAULT_FORMAT_COMBINATION_LIMIT: Final = 100

    def __init__(self, plugin: Any = None) -> None:
        """plugin: whose properties it takes."""
        if plugin is not None:
            self.__dict__.update(plugin.__dict__)

    num_outputs = Stored("How many outputs there are.", 1)
    format_combination_limit = Stored("Kept: all combinations are tried.", 100)
    metadata_string = Stored("Text that inspectors show.", None)
    timing_cache_id = Stored("Kept: what is timed is no plugin.", None)

    def get_output_data_types(self, input_types: Sequence[DataType]) -> Sequence[DataType]:
        """Types of the outputs."""
        raise missing(self, "get_output_data_types")

    def get_output_shapes(
        self,
        inputs: Sequence[DimsExprs],
        shape_inputs: Sequence[DimsExprs],
        expr_builder: IExprBuilder,
    ) -> Sequence[DimsExprs]:
        """Shapes of the outputs."""
        raise missing(self, "get_output_shapes")

    def get_workspace_size(self, in_: Any, out: Any) -> int:
        """Bytes of scratch memory."""
        return 0

    def configure_plugin(self, in_: Any, out: Any) -> None:
        """Called with the inputs' and the outputs' descriptions, while a network is built."""

    def supports_format_combination(self, pos: int, in_out: Any, num_inputs: int) -> bool:
        """Whether it takes tensor `pos` so, those before it as they are."""
        raise missing(self, "supports_format_combination")

    def get_valid_tactics(self) -> Sequence[int]:
        """Numbers of ways to compute; the first is taken."""
        return []


class IPluginV3OneBuildV2(IPluginV3OneBuild):
    """What a build asks of a plugin that may write to its inputs."""

    def __init__(self, plugin: Any = None) -> None:
        """plugin: whose properties it takes."""
        IPluginV3OneBuild.__init__(self, plugin)

    def get_aliased_input(self, output_index: int) -> int:
        """The input whose memory an output is; -1: it has its own."""
        return -1


class IPluginV3OneRuntime(IPluginCapability):
    """How a plugin runs."""

    def __init__(self, plugin: Any = None) -> None:
        """plugin: whose properties it takes."""
        if plugin is not None:
            self.__dict__.update(plugin.__dict__)

    def on_shape_change(self, in_: Any, out: Any) -> None:
        """Called with the inputs' and the outputs' descriptions when shapes are set."""

    def set_tactic(self, tactic: int) -> Any:
        """Take the way to compute of this number."""

    def get_fields_to_serialize(self) -> PluginFieldCollection:
        """The fields of which its creator makes it again."""
        raise missing(self, "get_fields_to_serialize")

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

    def attach_to_context(self, resource_context: Any) -> Any:
        """The copy that runs in an execution context."""
        raise missing(self, "attach_to_context")


class IPluginV3QuickCore(IPluginCapability):
    """What a plugin of decorated functions is called."""

    def __init__(self) -> None:
        pass

    plugin_name = Stored("Type.")
    plugin_version = Stored("Version.")
    plugin_namespace = Stored("Namespace.", "")


class IPluginV3QuickBuild(IPluginCapability):
    """What a build asks of a plugin of decorated functions."""

    def __init__(self) -> None:
        pass


class IPluginV3QuickAOTBuild(IPluginV3QuickBuild):
    """What a build asks of a plugin whose CUDA kernels are compiled ahead: there is no GPU to run them."""

    def __init__(self) -> None:
        pass


class IPluginV3QuickRuntime(IPluginCapability):
    """How a plugin of decorated functions runs."""

    def __init__(self) -> None:
        pass
