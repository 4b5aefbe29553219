"""The methods of both generations of plugins, called alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from camshaft.errors import ModelError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import TensorType
from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.plugins import PluginCapabilityType
from camshaft.tensorrt.plugins.descriptions import DynamicPluginTensorDesc, description
from camshaft.tensorrt.plugins.expressions import DimsExprs, IDimensionExpr, IExprBuilder, constant
from camshaft.tensorrt.plugins.interfaces import IPluginResourceContext

_MOST = (1 << 31) - 1
Shape = Sequence[Extent | None]


class Generation(ABC):
    """A plugin, whatever its generation.  shape_inputs: values of inputs that say shapes, the last ones."""

    def __init__(self, plugin: Any, shape_inputs: Sequence[Sequence[int]]) -> None:
        self.plugin, self.shape_inputs = plugin, shape_inputs

    @property
    @abstractmethod
    def runtime(self) -> Any:
        """What has `enqueue`."""

    @property
    @abstractmethod
    def build(self) -> Any:
        """What has `supports_format_combination`."""

    @abstractmethod
    def types(self, inputs: Sequence[DataType]) -> list[DataType]:
        """Types of the outputs."""

    @abstractmethod
    def shapes(
        self, inputs: Sequence[TensorType], builder: IExprBuilder
    ) -> list[Sequence[IDimensionExpr]]:
        """Shapes of the outputs."""

    @abstractmethod
    def supports(
        self, at: int, kinds: Sequence[DataType], shapes: Sequence[Shape], inputs: int
    ) -> bool:
        """Whether tensor `at` can be of its type, those before it of theirs."""

    @abstractmethod
    def shaped(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Tell the plugin the shapes of a run.  inputs, outputs: PluginTensorDesc."""

    def configured(self, kinds: Sequence[DataType], shapes: Sequence[Shape], inputs: int) -> None:
        """Tell the plugin what a network gives it."""
        made = [dynamic(k, s) for k, s in zip(kinds, shapes, strict=True)]
        self.build.configure_plugin(made[:inputs], made[inputs:])

    def workspace(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Bytes of scratch memory for a run.  inputs, outputs: PluginTensorDesc."""
        return int(self.build.get_workspace_size(inputs, outputs) or 0)

    def aliased(self, output: int) -> int:
        """The input whose memory an output is; -1: it has its own."""
        ask = getattr(self.build, "get_aliased_input", None)
        return -1 if ask is None else int(ask(output))


class SecondGeneration(Generation):
    """An IPluginV2DynamicExt."""

    def __init__(self, plugin: Any, shape_inputs: Sequence[Sequence[int]]) -> None:
        super().__init__(plugin, shape_inputs)
        plugin.initialize()

    @property
    def runtime(self) -> Any:
        """The plugin."""
        return self.plugin

    @property
    def build(self) -> Any:
        """The plugin."""
        return self.plugin

    def types(self, inputs: Sequence[DataType]) -> list[DataType]:
        """Types of the outputs."""
        return [
            self.plugin.get_output_datatype(i, [*inputs]) for i in range(self.plugin.num_outputs)
        ]

    def shapes(
        self, inputs: Sequence[TensorType], builder: IExprBuilder
    ) -> list[Sequence[IDimensionExpr]]:
        """Shapes of the outputs."""
        given = [_dims(t.shape) for t in inputs]
        ask = self.plugin.get_output_dimensions
        return [[*ask(i, given, builder)] for i in range(self.plugin.num_outputs)]

    def supports(
        self, at: int, kinds: Sequence[DataType], shapes: Sequence[Shape], inputs: int
    ) -> bool:
        """Whether tensor `at` can be of its type, those before it of theirs."""
        made = [description(k, _open(s)) for k, s in zip(kinds, shapes, strict=True)]
        return bool(self.plugin.supports_format_combination(at, made, inputs))

    def shaped(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Tell the plugin the shapes of a run."""
        made = [[dynamic(d.type, tuple(d.dims)) for d in some] for some in (inputs, outputs)]
        self.plugin.configure_plugin(*made)


class ThirdGeneration(Generation):
    """An IPluginV3."""

    def __init__(self, plugin: Any, shape_inputs: Sequence[Sequence[int]]) -> None:
        super().__init__(plugin, shape_inputs)
        self._build = part(plugin, PluginCapabilityType.BUILD)
        self._runtime: Any = None

    @property
    def runtime(self) -> Any:
        """What runs, attached to a context."""
        if self._runtime is None:
            runtime = part(self.plugin, PluginCapabilityType.RUNTIME)
            attached = runtime.attach_to_context(IPluginResourceContext._made())
            self._runtime = part(attached, PluginCapabilityType.RUNTIME)
            tactics = self._build.get_valid_tactics()
            if tactics is not None and len(tactics):
                self._runtime.set_tactic(int(tactics[0]))
        return self._runtime

    @property
    def build(self) -> Any:
        """The part that a build asks."""
        return self._build

    def types(self, inputs: Sequence[DataType]) -> list[DataType]:
        """Types of the outputs."""
        return [*self._build.get_output_data_types([*inputs])]

    def shapes(
        self, inputs: Sequence[TensorType], builder: IExprBuilder
    ) -> list[Sequence[IDimensionExpr]]:
        """Shapes of the outputs."""
        data = inputs[: len(inputs) - len(self.shape_inputs)]
        said = [DimsExprs([constant(v) for v in values]) for values in self.shape_inputs]
        made = self._build.get_output_shapes([_dims(t.shape) for t in data], said, builder)
        return [[*dims] for dims in made]

    def supports(
        self, at: int, kinds: Sequence[DataType], shapes: Sequence[Shape], inputs: int
    ) -> bool:
        """Whether tensor `at` can be of its type, those before it of theirs."""
        made = [dynamic(k, s) for k, s in zip(kinds, shapes, strict=True)]
        return bool(self._build.supports_format_combination(at, made, inputs))

    def shaped(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Tell the plugin the shapes of a run."""
        self.runtime.on_shape_change([*inputs], [*outputs])


def part(plugin: Any, kind: PluginCapabilityType) -> Any:
    """A part of an IPluginV3.  ModelError if it has none."""
    found = plugin.get_capability_interface(kind)
    if found is None:
        raise ModelError(
            f"{type(plugin).__name__}.get_capability_interface gives nothing for {kind.name}"
        )
    return found


def dynamic(kind: DataType, shape: Shape) -> DynamicPluginTensorDesc:
    """A tensor whose extents may be open."""
    made = DynamicPluginTensorDesc()
    made.desc = description(kind, _open(shape))
    made.min = Dims(tuple(_bound(d, 0) for d in shape))
    made.opt = Dims(tuple(-1 if d is None else min(typical(d), _MOST) for d in shape))
    made.max = Dims(tuple(_bound(d, 1) for d in shape))
    return made


def _bound(d: Extent | None, side: int) -> int:
    return -1 if d is None else int(min(bounds(d)[side], _MOST))


def _open(shape: Shape) -> tuple[int, ...]:
    return tuple(d if isinstance(d, int) else -1 for d in shape)


def _dims(shape: Sequence[Extent]) -> DimsExprs:
    return DimsExprs([constant(d) for d in shape])
