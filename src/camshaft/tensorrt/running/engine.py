"""`ICudaEngine`: an engine of camshaft with the names of TensorRT."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from camshaft.errors import RefitError
from camshaft.refitting.exchange import stripped_bytes
from camshaft.runtime.engine import Engine
from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.builder import (
    EngineCapability,
    HardwareCompatibilityLevel,
    ProfilingVerbosity,
)
from camshaft.tensorrt.enums.data import DataType, TensorFormat, TensorIOMode, TensorLocation
from camshaft.tensorrt.enums.runtime import EngineStat, ExecutionContextAllocationStrategy
from camshaft.tensorrt.errors import Reporting, Reports, reported
from camshaft.tensorrt.formats import words
from camshaft.tensorrt.host_memory import IHostMemory
from camshaft.tensorrt.kept import one_of
from camshaft.tensorrt.network.params import member, whole
from camshaft.tensorrt.objects import Result, common_enter, common_exit
from camshaft.tensorrt.plan import Plan, Ranges, Triple
from camshaft.tensorrt.running import bindings
from camshaft.tensorrt.running.configs import (
    EXCLUDE_WEIGHTS,
    STATIC,
    IRuntimeConfig,
    ISerializationConfig,
)
from camshaft.tensorrt.running.context import IExecutionContext
from camshaft.tensorrt.running.ends import End, ends_of, profiles_of
from camshaft.tensorrt.running.inspector import EngineInspector

_INPUT, _OUTPUT, _NEITHER = TensorIOMode.INPUT, TensorIOMode.OUTPUT, TensorIOMode.NONE
_DEVICE, _HOST = TensorLocation.DEVICE, TensorLocation.HOST
_LINEAR = TensorFormat.LINEAR
_FLOAT = DataType.FLOAT
_STANDARD = EngineCapability.STANDARD
_stat = member(EngineStat)


class ICudaEngine(Reporting, Result):
    """An engine."""

    _engine: Engine
    _plan: Plan
    _kept: dict[str, Any]
    _all: dict[str, End]
    _ends: dict[str, End]
    """Without those that only debug listeners see."""
    _profiles: tuple[Ranges, ...]
    _names: tuple[str, ...]
    _budget: int

    __enter__ = common_enter
    __exit__ = common_exit

    @classmethod
    def _made(cls, parent: Reports, engine: Engine, plan: Plan) -> ICudaEngine:
        """EngineFileError for an engine whose inputs or outputs TensorRT has no types for."""
        made = cls.__new__(cls)
        made._reports = Reports(parent.logger, parent)
        made._engine, made._plan, made._kept = engine, plan, {}
        made._all = ends_of(engine, plan)
        made._ends = {name: end for name, end in made._all.items() if name not in plan.hidden}
        made._profiles = profiles_of(engine, plan, made._ends)
        made._names = tuple(made._ends)
        made._budget = made._streamable
        return made

    # -- inputs and outputs ------------------------------------------------------------------------

    @property
    def num_io_tensors(self) -> int:
        """How many inputs and outputs there are."""
        return len(self._names)

    @reported(None)
    def get_tensor_name(self, index: int) -> str | None:
        """The name of an input or output, inputs first; None, and an error, of a number that is none."""
        count = len(self._names)
        if 0 <= whole(index, "index") < count:
            return self._names[index]
        self._reports.error(f"get_tensor_name({index}): the engine has {count} tensors")
        return None

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        """INPUT or OUTPUT; NONE of other names."""
        end = self._ends.get(name)
        return _NEITHER if end is None else _INPUT if end.is_input else _OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        """Type of the elements; FLOAT, and an error, of other names."""
        end = self._end(name)
        return _FLOAT if end is None else end.kind

    def get_tensor_shape(self, name: str) -> Dims:
        """Extents, -1 for open ones; none, and an error, of other names."""
        end = self._end(name)
        return Dims(() if end is None else end.shape)

    def get_tensor_location(self, name: str) -> TensorLocation:
        """HOST of inputs that say shapes, else DEVICE."""
        end = self._end(name)
        return _HOST if end is not None and end.says_shapes else _DEVICE

    def is_shape_inference_io(self, name: str) -> bool:
        """Whether the elements of an input say shapes."""
        end = self._end(name)
        return end is not None and end.says_shapes

    def get_tensor_format(self, name: str, profile_index: int = 0) -> TensorFormat:
        """LINEAR, or one with channels last that the network asks for."""
        end = self._end(name)
        return _LINEAR if end is None else end.format

    def get_tensor_format_desc(self, name: str, profile_index: int = 0) -> str:
        """The layout in words."""
        return words(self.get_tensor_format(name))

    def get_tensor_bytes_per_component(self, name: str, profile_index: int = 0) -> int:
        """Bytes of an element; -1, and an error, of other names."""
        end = self._end(name)
        return -1 if end is None else end.dtype.itemsize

    def get_tensor_components_per_element(self, name: str, profile_index: int = 0) -> int:
        """-1: elements do not come in vectors."""
        self._end(name)
        return -1

    def get_tensor_vectorized_dim(self, name: str, profile_index: int = 0) -> int:
        """-1: elements do not come in vectors."""
        self._end(name)
        return -1

    def get_aliased_input_tensor(self, name: str) -> str | None:
        """The cache that an output is the next state of, and may have the memory of; None: of other outputs."""
        self._end(name)
        return self._plan.aliases.get(name)

    def is_debug_tensor(self, name: str) -> bool:
        """Whether debug listeners are shown a tensor."""
        return name in self._plan.debug

    def _end(self, name: str) -> End | None:
        """An input or output; None, and an error, of other names."""
        end = self._ends.get(name)
        if end is None:
            self._reports.error(
                f"tensor {name!r} is no input or output of the engine; there is {', '.join(self._names)}"
            )
        return end

    # -- profiles ----------------------------------------------------------------------------------

    @property
    def num_optimization_profiles(self) -> int:
        """How many profiles there are, 1 at least."""
        return len(self._profiles)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        """[min, opt, max] of an input; three shapes without extents, and an error, of what is none."""
        triple = self._triple(name, profile_index, values=False)
        return [Dims(shape) for shape in triple or ((),) * 3]

    def get_tensor_profile_values(
        self, name: int | str, profile_index: int | str
    ) -> list[list[int]]:
        """[min, opt, max] of the elements of an input that says shapes; [] of others.  Both orders of the arguments do."""
        index, tensor = (name, profile_index) if isinstance(name, int) else (profile_index, name)
        triple = self._triple(str(tensor), int(index), values=True)
        return [] if triple is None else [list(values) for values in triple]

    def _triple(self, name: str, index: int, *, values: bool) -> Triple | None:
        end = self._end(name)
        if end is None:
            return None
        if not end.is_input or not 0 <= index < len(self._profiles):
            self._reports.error(
                f"profile {index} of {name!r}: there are {len(self._profiles)} profiles, of inputs"
            )
            return None
        profile = self._profiles[index]
        return (profile.values if values else profile.shapes).get(name)

    # -- what it is --------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The network's name."""
        return self._plan.name

    @cached_property
    def _inspected(self) -> dict[str, Any]:
        return self._engine.inspect()

    @property
    def num_layers(self) -> int:
        """How many steps a call has."""
        return len(self._inspected["steps"])

    @property
    def refittable(self) -> bool:
        """Whether it was built with a flag for refits: REFIT, REFIT_IDENTICAL, REFIT_INDIVIDUAL or STRIP_PLAN."""
        return self._plan.refittable or bool(self._engine.refittable)

    @property
    def engine_capability(self) -> EngineCapability:
        """STANDARD."""
        return _STANDARD

    @property
    def profiling_verbosity(self) -> ProfilingVerbosity:
        """How much it tells of its layers."""
        return ProfilingVerbosity(self._plan.verbosity)

    @property
    def hardware_compatibility_level(self) -> HardwareCompatibilityLevel:
        """As it was built with."""
        return HardwareCompatibilityLevel(self._plan.compatibility)

    @property
    def tactic_sources(self) -> int:
        """As it was built with."""
        return self._plan.tactic_sources

    @property
    def num_aux_streams(self) -> int:
        """0."""
        return 0

    @property
    def has_implicit_batch_dimension(self) -> bool:
        """False."""
        return False

    @reported(None)
    def get_engine_stat(self, stat: EngineStat = EngineStat.TOTAL_WEIGHTS_SIZE) -> int:
        """Bytes of weights that the engine holds, or of those that STRIP_PLAN left out; -1 if it was built without that."""
        if _stat(stat, "stat") == _TOTAL:
            return int(self._inspected["weight_bytes"])
        return stripped_bytes(self._engine) if self._plan.stripped else -1

    # -- memory ------------------------------------------------------------------------------------

    @property
    def _memory(self) -> int:
        arena = self._inspected["arena"]
        return int(arena["typical"] if arena["most"] is None else arena["most"])

    @property
    def device_memory_size(self) -> int:
        """Bytes that a context needs, at most where sizes are bounded, else typically."""
        return self._memory

    @property
    def device_memory_size_v2(self) -> int:
        """As `device_memory_size`."""
        return self._memory

    def get_device_memory_size_for_profile(self, profile_index: int) -> int:
        """As `device_memory_size`, of every profile."""
        return self._memory

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        """As `device_memory_size`, of every profile."""
        return self._memory

    @property
    def _streamable(self) -> int:
        return int(self._inspected["weight_bytes"]) if self._plan.streams_weights else 0

    @property
    def streamable_weights_size(self) -> int:
        """Bytes of weights, if it was built with BuilderFlag.WEIGHT_STREAMING."""
        return self._streamable

    @property
    def weight_streaming_budget(self) -> int:
        """Kept: weights stay in memory."""
        return self._budget

    @weight_streaming_budget.setter
    def weight_streaming_budget(self, budget: int) -> None:
        self._set_budget(budget)

    @property
    def weight_streaming_budget_v2(self) -> int:
        """Kept: weights stay in memory."""
        return self._budget

    @weight_streaming_budget_v2.setter
    def weight_streaming_budget_v2(self, budget: int) -> None:
        self._set_budget(budget)

    def _set_budget(self, budget: int) -> None:
        if not 0 <= whole(budget, "budget") <= self._streamable:
            self._reports.error(
                f"weight streaming budget {budget} must be from 0 to {self._streamable}"
            )
            return
        self._budget = budget

    @property
    def minimum_weight_streaming_budget(self) -> int:
        """0."""
        return 0

    @property
    def weight_streaming_scratch_memory_size(self) -> int:
        """0."""
        return 0

    def get_weight_streaming_automatic_budget(self) -> int:
        """All weights."""
        return self._streamable

    # -- what it makes -----------------------------------------------------------------------------

    @reported(None)
    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy | IRuntimeConfig = STATIC
    ) -> IExecutionContext:
        """A context.  strategy: kept, as is a runtime configuration."""
        return IExecutionContext._made(self, strategy)

    @reported(None)
    def create_execution_context_without_device_memory(self) -> IExecutionContext:
        """A context, which has its own memory whatever it is given."""
        return IExecutionContext._made(self, STATIC)

    def create_runtime_config(self) -> IRuntimeConfig:
        """Options of a context."""
        return IRuntimeConfig._made()

    def create_engine_inspector(self) -> EngineInspector:
        """What tells of the engine's layers."""
        return EngineInspector._made(self)

    def serialize(self) -> IHostMemory:
        """The engine as bytes; one that lacks weights without them."""
        return IHostMemory._made(self._engine.to_bytes())

    def create_serialization_config(self) -> ISerializationConfig:
        """Options of `serialize_with_config`."""
        return ISerializationConfig._made()

    @reported(None)
    def serialize_with_config(self, config: ISerializationConfig) -> IHostMemory:
        """The engine as bytes.  None, and an error, for EXCLUDE_WEIGHTS of an engine that is not refittable.

        EXCLUDE_WEIGHTS leaves out what a Refitter can set; INCLUDE_REFIT and EXCLUDE_LEAN_RUNTIME change nothing: engines stay
        refittable, and hold no runtime.
        """
        one_of(ISerializationConfig, optional=False)(config, "config")
        if not config._has(EXCLUDE_WEIGHTS):
            return IHostMemory._made(self._engine.to_bytes())
        if not self.refittable:
            raise RefitError(
                "EXCLUDE_WEIGHTS: the engine is not refittable; build it with BuilderFlag.REFIT"
            )
        holds_any = bool(self._engine.refittable)
        return IHostMemory._made(self._engine.to_bytes(strip_weights=holds_any))

    # -- bindings by number, until TensorRT 9 ------------------------------------------------------

    num_bindings = property(bindings.num_bindings)
    max_batch_size = property(bindings.max_batch_size)
    __len__ = bindings.num_bindings
    __getitem__ = bindings.item
    get_binding_name = bindings.get_binding_name
    get_binding_index = bindings.get_binding_index
    binding_is_input = bindings.binding_is_input
    get_binding_shape = bindings.get_binding_shape
    get_binding_dtype = bindings.get_binding_dtype
    get_location = bindings.get_location
    get_profile_shape = bindings.get_profile_shape
    get_profile_shape_input = bindings.get_profile_shape_input
    is_shape_binding = bindings.is_shape_binding
    is_execution_binding = bindings.is_execution_binding
    get_binding_bytes_per_component = bindings.get_binding_bytes_per_component
    get_binding_components_per_element = bindings.get_binding_components_per_element
    get_binding_format = bindings.get_binding_format
    get_binding_format_desc = bindings.get_binding_format_desc
    get_binding_vectorized_dim = bindings.get_binding_vectorized_dim

    def __bool__(self) -> bool:
        """True."""
        return True

    def _context(self) -> Any:
        """A context of camshaft, with as many threads as the engine was built for.  RefitError for an engine that lacks weights."""
        if self._engine.lacks_weights:
            raise RefitError(
                "the engine holds no weights: give it those of its model, by Refitter and OnnxParserRefitter, before it runs"
            )
        return self._engine.create_context(self._engine.threads)


_TOTAL = EngineStat.TOTAL_WEIGHTS_SIZE
