"""`IExecutionContext`: runs an engine on memory at addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, SupportsInt

from camshaft.errors import CamshaftError, ConfigError
from camshaft.tensorrt.dims import Dims, extents
from camshaft.tensorrt.enums.base import Enumeration
from camshaft.tensorrt.enums.builder import ProfilingVerbosity
from camshaft.tensorrt.errors import Reporting, Reports, reported
from camshaft.tensorrt.kept import Kept, kept, one_of
from camshaft.tensorrt.network.params import flag, member, text, whole
from camshaft.tensorrt.objects import Result, common_enter, common_exit
from camshaft.tensorrt.running import context_bindings
from camshaft.tensorrt.running.allocators import (
    IDebugListener,
    IGpuAllocator,
    IOutputAllocator,
    IProfiler,
)
from camshaft.tensorrt.running.calls import Call
from camshaft.tensorrt.running.configs import IRuntimeConfig, strategy_of
from camshaft.tensorrt.running.device import address_of, stream_of
from camshaft.tensorrt.running.ends import End, most_bytes
from camshaft.tensorrt.running.preparing import elements_at, prepared
from camshaft.tensorrt.running.shapes import Shapes
from camshaft.tensorrt.running.watching import Watch

if TYPE_CHECKING:
    from camshaft.tensorrt.memory import Stream
    from camshaft.tensorrt.running.engine import ICudaEngine

_NAMES_ONLY = ProfilingVerbosity.LAYER_NAMES_ONLY


def _handle(value: SupportsInt, name: str) -> int:
    return int(value)


class IExecutionContext(Reporting, Result):
    """What runs an engine.  One thread at a time uses it; calls are done when they return."""

    _engine: ICudaEngine
    _kept: dict[str, Any]
    _addresses: dict[str, int]
    _allocators: dict[str, IOutputAllocator]
    _config: IRuntimeConfig
    _stream: int
    """Handle of the stream that calls go to, which is `_queue`."""
    _queue: Stream
    _shapes: Shapes
    _watch: Watch
    _call: Call | None
    _call_by_number: Call | None
    _numbers: list[int]

    __enter__ = common_enter
    __exit__ = common_exit

    @classmethod
    def _made(
        cls, engine: ICudaEngine, strategy: Enumeration | IRuntimeConfig
    ) -> IExecutionContext:
        made = cls.__new__(cls)
        made._reports = Reports(engine._reports.logger, engine._reports)
        made._engine, made._kept = engine, {}
        made._config = (
            strategy
            if isinstance(strategy, IRuntimeConfig)
            else IRuntimeConfig._made(strategy_of(strategy, "strategy"))
        )
        made._watch = Watch(engine)
        made._shapes = Shapes(engine)
        made._addresses, made._allocators = {}, {}
        made._choose(0)
        made._forget()
        return made

    def _forget(self) -> None:
        """Prepare the next call anew."""
        self._call = self._call_by_number = None
        self._numbers = []

    # -- addresses ---------------------------------------------------------------------------------

    def set_tensor_address(self, name: str, memory: SupportsInt) -> bool:
        """Say where an input or output lies; False, and an error, of other names."""
        address = address_of(memory, "memory")
        if self._end(name) is None:
            return False
        if self._addresses.get(name) != address:
            self._addresses[name] = address
            self._call = None
        return True

    def get_tensor_address(self, name: str) -> int:
        """The address; 0 if it is not set."""
        return self._addresses.get(name, 0)

    def set_output_allocator(self, name: str, output_allocator: IOutputAllocator | None) -> bool:
        """Let an output be given memory when its size is known; None: no more.  False, and an error, of what is no output."""
        taken = one_of(IOutputAllocator)(output_allocator, "output_allocator")
        end = self._end(name)
        if end is None or end.is_input:
            return False
        self._allocators.pop(name, None)
        if taken is not None:
            self._allocators[name] = taken
        self._forget()
        return True

    def get_output_allocator(self, name: str) -> IOutputAllocator | None:
        """The allocator of an output; None: it has none."""
        return self._allocators.get(name)

    # -- shapes ------------------------------------------------------------------------------------

    def set_input_shape(self, name: str, shape: Sequence[SupportsIndex]) -> bool:
        """Set the shape of an input; False, and an error, where the profile does not allow it."""
        return self._shapes.is_set(name, shape) or self._reshape(name, shape)

    @reported(False)
    def _reshape(self, name: str, shape: Sequence[SupportsIndex]) -> bool:
        if self._shapes.set(name, extents(shape, "shape")):
            self._forget()
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        """Extents, -1 for those that are not known; none, and an error, of other names."""
        end = self._end(name)
        if end is None:
            return Dims(())
        return Dims(self._shapes.of(name) if end.is_input else self._output_shape(end))

    def _output_shape(self, end: End) -> tuple[int, ...]:
        if self._shapes.missing():
            return end.shape
        elements = elements_at(self._engine, self._shapes, self._addresses)
        if elements is None:
            return end.shape
        try:
            return self._shapes.outputs(elements)[end.name]
        except CamshaftError as error:
            self._reports.failure(error)
            return end.shape

    def get_tensor_strides(self, name: str) -> Dims:
        """Elements from one index to the next along each axis."""
        end = self._end(name)
        return Dims(()) if end is None else Dims(end.strides(tuple(self.get_tensor_shape(name))))

    def infer_shapes(self) -> list[str]:
        """Inputs whose shapes, or elements where these say shapes, are missing.  RuntimeError for shapes that the engine does
        not take together."""
        missing = self._shapes.missing()
        says = [e.name for e in self._engine._ends.values() if e.says_shapes]
        known = {*self._addresses, *self._shapes.values}
        missing += [name for name in says if name not in known and name not in missing]
        if not missing:
            try:
                elements = elements_at(self._engine, self._shapes, self._addresses)
                self._shapes.outputs(elements or {})
            except CamshaftError as error:
                self._reports.failure(error)
                raise RuntimeError(str(error)) from error
        return missing

    def get_max_output_size(self, name: str) -> int:
        """Bytes that an output can have for these input shapes; -1 where there is no bound."""
        end = self._end(name)
        return -1 if end is None else most_bytes(end, self._output_shape(end))

    @property
    def all_binding_shapes_specified(self) -> bool:
        """Whether all shapes of inputs are set."""
        return not self._shapes.missing()

    @property
    def all_shape_inputs_specified(self) -> bool:
        """Whether the elements of all inputs that say shapes are set."""
        says = [e.name for e in self._engine._ends.values() if e.says_shapes and not e.is_fixed]
        return all(name in self._shapes.values or name in self._addresses for name in says)

    # -- profiles ----------------------------------------------------------------------------------

    @property
    def active_optimization_profile(self) -> int:
        """The index of the profile."""
        return self._shapes.profile

    @active_optimization_profile.setter
    def active_optimization_profile(self, profile: int) -> None:
        self._select(whole(profile, "active_optimization_profile"))

    def set_optimization_profile_async(
        self, profile_index: int, stream_handle: SupportsInt
    ) -> bool:
        """Go to another profile, and forget shapes; False, and an error, if there is none of this index."""
        return self._select(whole(profile_index, "profile_index"))

    @reported(False)
    def _select(self, profile: int) -> bool:
        if profile != self._shapes.profile:
            self._shapes.select(profile)
            self._forget()
        return True

    # -- runs --------------------------------------------------------------------------------------

    def execute_async_v3(self, stream_handle: SupportsInt) -> bool:
        """Run on the addresses that were set, in a stream's order.  False, and an error, if that fails, or for shapes or
        addresses that are missing."""
        call, handle = self._call, int(stream_handle)
        if call is None or handle != self._stream:
            return self._run_anew(handle)
        self._queue.enqueue(call)
        return not call.failed

    @reported(False)
    def _run_anew(self, handle: int) -> bool:
        self._choose(handle)
        call, is_lasting = prepared(self, self._addresses)
        self._call = call if is_lasting else None
        self._queue.enqueue(call)
        return not call.failed

    def execute_v2(self, bindings: Sequence[SupportsInt]) -> bool:
        """Run on addresses in the order of the bindings.  False, and an error, if that fails, or for shapes that are missing."""
        return self._run_numbers([*map(int, bindings)], 0)

    def _run_numbers(self, numbers: list[int], handle: int) -> bool:
        call = self._call_by_number
        if call is None or numbers != self._numbers or handle != self._stream:
            return self._run_numbers_anew(numbers, handle)
        self._queue.enqueue(call)
        return not call.failed

    @reported(False)
    def _run_numbers_anew(self, numbers: list[int], handle: int) -> bool:
        self._choose(handle)
        call, is_lasting = prepared(self, context_bindings.by_name(self, numbers))
        self._call_by_number, self._numbers = call if is_lasting else None, numbers
        self._queue.enqueue(call)
        return not call.failed

    def _choose(self, handle: int) -> None:
        """Enqueue calls in this stream from now on.  BindingError for a handle that is none."""
        self._queue, self._stream = stream_of(handle), handle

    # -- what watches ------------------------------------------------------------------------------

    @property
    def profiler(self) -> IProfiler | None:
        """Is told how long each layer ran."""
        return self._watch.profiler

    @profiler.setter
    def profiler(self, profiler: IProfiler | None) -> None:
        self._watch.set_profiler(one_of(IProfiler)(profiler, "profiler"))
        self._forget()

    @property
    def enqueue_emits_profile(self) -> bool:
        """Whether the profiler is told behind each run, or by `report_to_profiler`."""
        return self._watch.emits

    @enqueue_emits_profile.setter
    def enqueue_emits_profile(self, value: bool) -> None:
        self._watch.emits = flag(value, "enqueue_emits_profile")

    def report_to_profiler(self) -> bool:
        """Tell the profiler of the last run; whether there is one of which it was not told."""
        return self._watch.report()

    def set_debug_listener(self, listener: IDebugListener | None) -> bool:
        """Show debug tensors to a listener; True."""
        self._watch.listener = one_of(IDebugListener)(listener, "listener")
        self._forget()
        return True

    def get_debug_listener(self) -> IDebugListener | None:
        """The listener."""
        return self._watch.listener

    @reported(False)
    def set_tensor_debug_state(self, name: str, flag: bool) -> bool:
        """Whether a debug tensor is shown; False, and an error, of a tensor that is none."""
        if name not in self._engine._plan.debug:
            raise ConfigError(f"tensor {name!r} is no debug tensor; call network.mark_debug")
        return self._show([name], flag)

    def set_all_tensors_debug_state(self, flag: bool) -> bool:
        """Whether debug tensors are shown, those between fused layers too; True."""
        self._watch.shows_unfused = bool(flag)
        return self._show(self._engine._plan.debug, flag)

    def _show(self, names: Sequence[str], on: bool) -> bool:
        self._watch.show(names, on)
        self._forget()
        return True

    def get_debug_state(self, name: str) -> bool:
        """Whether a debug tensor is shown."""
        return name in self._watch.shown

    @property
    def unfused_tensors_debug_state(self) -> bool:
        """Whether tensors between fused layers are shown, of networks that marked them."""
        return self._watch.shows_unfused

    @unfused_tensors_debug_state.setter
    def unfused_tensors_debug_state(self, state: bool) -> None:
        self._watch.shows_unfused = flag(state, "unfused_tensors_debug_state")
        self._forget()

    # -- what is kept ------------------------------------------------------------------------------

    @property
    def engine(self) -> ICudaEngine:
        """The engine."""
        return self._engine

    def get_runtime_config(self) -> IRuntimeConfig:
        """Options that the context was created with."""
        return self._config

    name = Kept(text, "", "Name.")
    debug_sync = Kept(flag, False, "Kept: each call is done when it returns.")
    device_memory = Kept(_handle, 0, "Kept: contexts have their own memory.")
    temporary_allocator = Kept(one_of(IGpuAllocator), None, "Kept.")
    persistent_cache_limit = Kept(whole, 0, "Kept.")
    nvtx_verbosity = Kept(member(ProfilingVerbosity), _NAMES_ONLY, "Kept.")

    def set_device_memory(self, memory: SupportsInt, size: int) -> None:
        """Kept: contexts have their own memory."""
        self._kept["device_memory"] = int(memory)

    def update_device_memory_size_for_shapes(self) -> int:
        """Bytes that the context needs."""
        return self._engine._memory

    def set_input_consumed_event(self, event: SupportsInt) -> bool:
        """Keep the handle of an event: inputs are read when a call returns.  True."""
        self._kept["event"] = int(event)
        return True

    def get_input_consumed_event(self) -> int:
        """The handle; 0: there is none."""
        return kept(self, "event", 0)

    def set_aux_streams(self, aux_streams: Sequence[SupportsInt]) -> None:
        """Kept: nothing runs in other streams."""
        self._kept["aux_streams"] = [int(s) for s in aux_streams]

    @reported(False)
    def set_communicator(self, communicator: Any) -> bool:
        """False, and an error: there is one device."""
        raise ConfigError("set_communicator: engines run on one device; leave it out")

    def _end(self, name: str) -> End | None:
        end: End | None = self._engine._end(name)
        return end

    # -- bindings by number, until TensorRT 9 ------------------------------------------------------

    execute = context_bindings.execute
    execute_async = context_bindings.execute_async
    execute_async_v2 = context_bindings.execute_async_v2
    set_binding_shape = context_bindings.set_binding_shape
    get_binding_shape = context_bindings.get_binding_shape
    get_strides = context_bindings.get_strides
    set_shape_input = context_bindings.set_shape_input
    get_shape = context_bindings.get_shape
