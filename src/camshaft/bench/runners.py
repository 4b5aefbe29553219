"""One model in one runtime, ready to be timed: the same face for camshaft and its peers.

Every runner is set up for lowest latency at an exact number of threads, with inputs and outputs
bound beforehand, as a careful user of that runtime would.  A runtime whose idle threads keep
spinning takes a core from whoever is timed next; settings that stop this are used where they
cost no speed (ONNX Runtime), and `linger` says how long the others need to come to rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import ValueInfoProto

from camshaft.bench.peers import KNOWN_IR, peer_error, peer_errors, read_by_all
from camshaft.errors import BindingError, ConfigError
from camshaft.extras import require_package
from camshaft.runtime.engine import Engine
from camshaft.runtime.script.engine import ScriptEngine

Feeds = Mapping[str, np.ndarray]


class Runner(Protocol):
    """A model in a runtime, bound to its inputs.

    name: how reports call it.  linger: seconds its threads may go on spinning after a run.
    """

    name: str
    linger: float

    def run(self) -> None:
        """One inference: reads the bound inputs, leaves the outputs in memory."""
        ...

    def outputs(self) -> list[np.ndarray]:
        """Copies of the outputs of the last run, in the model's order."""
        ...


class CamshaftRunner:
    """A built engine: one execution context writing into arrays allocated once.  States among the feeds are what
    each run finds."""

    linger = 0.001

    def __init__(self, engine: Engine, feeds: Feeds, threads: int, name: str = "camshaft") -> None:
        self.name = name
        self._engine, self._threads = engine, threads
        self._context = engine.create_context(threads=threads)
        self._feeds = {n: np.asarray(feeds[n], order="C") for n in engine.inputs}
        self._found: dict[str, int] = {}  # every run finds states of these lengths
        if engine.states:
            self._context.states.take(feeds)
            self._found = self._context.states.lengths
        self._results = self._context.run(self._feeds)
        self._allocates = isinstance(engine, ScriptEngine)

    def another(self) -> CamshaftRunner:
        """One more, with a context and outputs of its own, of the same engine."""
        return CamshaftRunner(self._engine, self._feeds, self._threads, self.name)

    def run(self) -> None:
        if self._found:
            self._context.states.truncate(self._found)
        if self._allocates:  # the shapes of its results may hang on data
            self._results = self._context.run(self._feeds)
        else:
            self._context.run_into(self._feeds, self._results)

    def outputs(self) -> list[np.ndarray]:
        return [a.copy() for a in self._results.values()]


class OnnxRuntimeRunner:
    """ONNX Runtime's CPU provider: all graph optimizations, I/O binding, free extents fixed where it takes
    the model so (it refuses branches that the sizes do not fit, though no run takes them)."""

    linger = 0.001

    def __init__(
        self, model: Path, feeds: Feeds, threads: int, name: str = "onnxruntime", **config: str
    ) -> None:
        """config: session configuration entries, "." in a key written "__"."""
        self.name = name
        ort = require_package("onnxruntime", name)
        with peer_errors("onnxruntime", f"load {str(model)!r}"):
            fixed = _symbols(_inputs(model), feeds)
            try:
                options = _options(ort, threads, fixed, config)
                self._session = _session(ort, _prepared(model, feeds), options)
            except _refusals(ort):
                self._session = _session(ort, str(model), _options(ort, threads, {}, config))
            self._bind(feeds)

    def _bind(self, feeds: Feeds) -> None:
        self._feeds, self._binding = feeds, self._session.io_binding()
        for entry in self._session.get_inputs():
            self._binding.bind_cpu_input(entry.name, np.asarray(feeds[entry.name], order="C"))
        for entry in self._session.get_outputs():
            self._binding.bind_output(entry.name)

    def another(self) -> OnnxRuntimeRunner:
        """One more, with arrays of its own, of the same session."""
        made = copy(self)
        made._bind(self._feeds)
        return made

    def run(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # whatever it is, it is the peer's
            raise peer_error(self.name, "run the model", error) from error

    def outputs(self) -> list[np.ndarray]:
        return [np.array(a) for a in self._binding.copy_outputs_to_cpu()]


class OpenVinoRunner:
    """OpenVINO's CPU plugin: latency hint, one stream, shapes fixed, f32 unless the model is INT8.

    Core pinning stays off: in a process with other runtimes a thread should be free to leave a core
    that somebody else is using; runs in a row are equally fast without it (benchmarks/README.md).
    """

    linger = 0.003

    def __init__(
        self,
        model: Path,
        feeds: Feeds,
        threads: int,
        name: str = "openvino",
        precision: str = "f32",
        **config: object,
    ) -> None:
        """precision: what it may compute float layers in ("f32", "bf16").  config: further properties
        of the CPU plugin."""
        self.name = name
        ov = require_package("openvino", name)
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            **config,
        }
        with peer_errors("openvino", f"load {str(model)!r}"):
            core = ov.Core()
            network = core.read_model(str(model))
            network.reshape({n: list(a.shape) for n, a in feeds.items()})
            compiled = core.compile_model(network, "CPU", settings)
            self._request = compiled.create_infer_request()
            self._count = len(compiled.outputs)
            self._held = [ov.Tensor(np.asarray(a, order="C")) for a in feeds.values()]
            for input_name, tensor in zip(feeds, self._held, strict=True):
                self._request.set_tensor(input_name, tensor)

    def run(self) -> None:
        try:
            self._request.infer()
        except Exception as error:  # whatever it is, it is the peer's
            raise peer_error(self.name, "run the model", error) from error

    def outputs(self) -> list[np.ndarray]:
        return [np.array(self._request.get_output_tensor(i).data) for i in range(self._count)]


PEERS: dict[str, Callable[[Path, Feeds, int], Runner]] = {
    "onnxruntime": OnnxRuntimeRunner,
    "openvino": OpenVinoRunner,
}
"""Runtime name -> runner of an ONNX file."""


def open_peer(name: str, model: Path, feeds: Feeds, threads: int) -> Runner:
    """The runner of `model` in the runtime called `name`, after one run.

    ConfigError if it is not known or there, PeerError if it cannot load or run the model.
    """
    if name not in PEERS:
        raise ConfigError(f"no runtime {name!r} to measure against; known: {', '.join(PEERS)}")
    runner = PEERS[name](model, feeds, threads)
    runner.run()
    return runner


def _options(ort: Any, threads: int, fixed: Mapping[str, int], config: Mapping[str, str]) -> Any:
    """ONNX Runtime's options.  fixed: named extents."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Its pool spins for 40 ms after a run otherwise; the speed of runs in a row is the same.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    for key, value in config.items():
        options.add_session_config_entry(key.replace("__", "."), value)
    for symbol, extent in fixed.items():
        options.add_free_dimension_override_by_name(symbol, extent)
    return options


def _session(ort: Any, model: str | bytes, options: Any) -> Any:
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _refusals(ort: Any) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises of a model that it does not take."""
    state = ort.capi.onnxruntime_pybind11_state
    return (state.Fail, state.InvalidGraph, state.RuntimeException, state.InvalidArgument)


def _prepared(model: Path, feeds: Feeds) -> str | bytes:
    """The model as ONNX Runtime gets it: a path, or bytes where the file has to be changed.

    Files of IR version 3 list weights among the inputs; ONNX Runtime then folds none of them.  Open
    extents are fixed by name (`_symbols`) where that can be done, and else in the model: some have
    no name, and some exporters give one name to extents that differ.
    """
    proto = onnx.load(str(model), load_external_data=False)
    weights = {w.name for w in proto.graph.initializer}
    listed = weights & {i.name for i in proto.graph.input}
    inputs = _inputs(model)
    fixed = _symbols(inputs, feeds)
    open_ = [d for d, _ in _extents(inputs, feeds) if not d.dim_value and not _by_name(d, fixed)]
    if not listed and proto.ir_version <= KNOWN_IR and not open_:
        return str(model)
    whole = onnx.load(str(model))
    inputs = [i for i in whole.graph.input if i.name not in weights]
    for dim, extent in _extents(inputs, feeds):
        if not _by_name(dim, fixed):
            dim.dim_value = extent  # which clears its name
    for value in (*whole.graph.output, *whole.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param and dim.dim_param not in fixed:
                dim.Clear()
    del whole.graph.input[:]
    whole.graph.input.extend(inputs)
    whole.ir_version = max(whole.ir_version, 4)
    read_by_all(whole)
    content: bytes = whole.SerializeToString()
    return content


def _inputs(model: Path) -> list[ValueInfoProto]:
    """Declarations of the model's inputs, without weights that are listed among them."""
    graph = onnx.load(str(model), load_external_data=False).graph
    weights = {w.name for w in graph.initializer}
    return [i for i in graph.input if i.name not in weights]


def _by_name(dim: Any, fixed: Mapping[str, int]) -> bool:
    return bool(dim.dim_param) and dim.dim_param in fixed


def _extents(inputs: Sequence[ValueInfoProto], feeds: Feeds) -> Iterator[tuple[Any, int]]:
    """Every extent of the model's inputs: the dimension's proto and its value."""
    for entry in inputs:
        if entry.name not in feeds:
            raise BindingError(f"the model's input {entry.name!r} got no array")
        dims, shape = entry.type.tensor_type.shape.dim, feeds[entry.name].shape
        if len(dims) != len(shape):
            raise BindingError(
                f"the model's input {entry.name!r} has rank {len(dims)}, its array {len(shape)}"
            )
        yield from zip(dims, shape, strict=True)


def _symbols(inputs: Sequence[ValueInfoProto], feeds: Feeds) -> dict[str, int]:
    """Named extents of the inputs and their values in the feeds, without names that have two
    values."""
    found: dict[str, set[int]] = {}
    for dim, extent in _extents(inputs, feeds):
        if dim.dim_param:
            found.setdefault(dim.dim_param, set()).add(extent)
    return {name: values.pop() for name, values in found.items() if len(values) == 1}
