"""From a network and a configuration to the options of `camshaft.build`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, ValueInfoProto, helper

from camshaft.builder.halves import unable as unable_halves
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.ir.graph import Graph
from camshaft.passes.pipeline import optimize
from camshaft.session import BuildSession
from camshaft.tensorrt.building import config as settings
from camshaft.tensorrt.building.calibrators import BatchType
from camshaft.tensorrt.building.config import IBuilderConfig
from camshaft.tensorrt.building.pools import POOLS, WORKSPACE
from camshaft.tensorrt.building.refits import REFITS, STRIP, refittable_weights
from camshaft.tensorrt.enums.builder import BuilderFlag
from camshaft.tensorrt.enums.data import DeviceType, TensorFormat
from camshaft.tensorrt.errors import Reports
from camshaft.tensorrt.kept import kept
from camshaft.tensorrt.network.definition import INetworkDefinition
from camshaft.tensorrt.network.element_types import onnx_type
from camshaft.tensorrt.network.lowered import Lowered
from camshaft.tensorrt.plan import Plan, Ranges, Triple

_INT8 = BuilderFlag.INT8
_PERMITTED = {BuilderFlag.FP16: "fp16", BuilderFlag.BF16: "bf16", _INT8: "int8"}
_UNUSED = (BuilderFlag.FP8, BuilderFlag.FP4, BuilderFlag.INT4)
_OBEY = (BuilderFlag.OBEY_PRECISION_CONSTRAINTS, BuilderFlag.STRICT_TYPES)
_PREFER = BuilderFlag.PREFER_PRECISION_CONSTRAINTS
_HEURISTIC = BuilderFlag.ENABLE_TACTIC_HEURISTIC
_NO_CACHE = BuilderFlag.DISABLE_TIMING_CACHE
_FROZEN = BuilderFlag.ERROR_ON_TIMING_CACHE_MISS
_SAFETY = BuilderFlag.SAFETY_SCOPE
_FALLBACK = BuilderFlag.GPU_FALLBACK
_DIRECT_IO = BuilderFlag.DIRECT_IO
_STREAMING = BuilderFlag.WEIGHT_STREAMING
_DLA = DeviceType.DLA
_LINEAR = 1 << int(TensorFormat.LINEAR)
_QUANTIZERS = frozenset(["QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"])
_HEURISTIC_LEVEL = 2


@dataclass(frozen=True)
class Asked:
    """What a build is asked for.

    options: of `camshaft.build`, without those of files and progress.  calibrates: whether ranges come from the configuration's
    calibrator.  batches: what it gives, by input.  uses_cache, frozen: of the timing cache.
    """

    model: ModelProto
    options: Mapping[str, Any]
    plan: Plan
    calibrates: bool
    batches: Mapping[str, BatchType]
    uses_cache: bool
    frozen: bool


def asked(
    network: INetworkDefinition, lowered: Lowered, config: IBuilderConfig, reports: Reports
) -> Asked:
    """ConfigError names what cannot be, or what is missing."""
    _refuse(network, config, reports)
    model = _with_debug_outputs(network, lowered)
    inputs = inputs_of(model)
    profiles = tuple(p._ranges() for p in config._profiles) or (Ranges(),)
    _check_profiles(inputs, profiles)
    explicit = any(node.op_type in _QUANTIZERS for node in _nodes(model.graph))
    precision = _precision(lowered, config, reports, explicit)
    calibrator = kept(config, "int8_calibrator", None)
    calibrates = "int8" in precision and calibrator is not None and not explicit
    options = {
        "optimization_level": _level(config),
        "workspace_limit": _workspace(config),
        **_sizes(inputs, profiles),
        **_types(lowered, config, precision, reports),
        "refittable": refittable_weights(network, lowered, config),
    }
    if "int8" in precision and lowered.ranges:
        options["dynamic_ranges"] = dict(lowered.ranges)
    options = {**options, **_layer_types(model, lowered, config, precision, options, reports)}
    uses_cache = not config._has(_NO_CACHE)
    return Asked(
        model,
        options,
        _plan(network, lowered, config, inputs, profiles),
        calibrates,
        _batches(inputs, config, profiles) if calibrates else {},
        uses_cache,
        uses_cache and config._has(_FROZEN),
    )


# -- what cannot be --------------------------------------------------------------------------------


def _refuse(network: INetworkDefinition, config: IBuilderConfig, reports: Reports) -> None:
    """ConfigError for what there is no way to build; warnings for what has no effect."""
    capability = kept(config, "engine_capability", settings.STANDARD)
    if capability != settings.STANDARD:
        raise ConfigError(f"engine_capability={capability} cannot be built for; use STANDARD")
    if config._has(_SAFETY):
        raise ConfigError("BuilderFlag.SAFETY_SCOPE cannot be built for; clear the flag")
    platform = kept(config, "runtime_platform", settings.SAME_PLATFORM)
    if platform != settings.SAME_PLATFORM:
        raise ConfigError(f"runtime_platform={platform} cannot be built for; use SAME_AS_BUILD")
    devices = [kept(config, "default_device_type", settings.GPU), *config._devices.values()]
    if _DLA in devices:
        if not config._has(_FALLBACK):
            raise ConfigError(
                "layers are placed on a DLA, and there is none; set BuilderFlag.GPU_FALLBACK"
            )
        reports.warning("there is no DLA: all layers run on the CPU", True)
    if kept(config, "algorithm_selector", None) is not None:
        reports.warning("algorithm_selector is not asked: kernels are chosen by time", True)
    for tensor in (*network._inputs, *network._outputs):
        if not tensor._formats & _LINEAR:
            said = f"tensor {tensor._name!r} allows no TensorFormat.LINEAR"
            if config._has(_DIRECT_IO):
                raise ConfigError(f"{said}, the only format there is; allow it")
            reports.warning(f"{said}; it is linear", True)


# -- sizes -----------------------------------------------------------------------------------------


def inputs_of(model: ModelProto) -> list[ValueInfoProto]:
    """The inputs of a model that calls bring."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def shape_of(value: ValueInfoProto) -> tuple[int, ...]:
    """The shape that a model declares, -1 where it is open."""
    extents = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else -1 for d in extents)


def _check_profiles(inputs: Sequence[ValueInfoProto], profiles: Sequence[Ranges]) -> None:
    """ConfigError for open inputs without a profile, unknown names, and shapes of another rank."""
    shapes = {value.name: shape_of(value) for value in inputs}
    for number, profile in enumerate(profiles):
        for name, (low, _, high) in profile.shapes.items():
            where = f"optimization profile {number}, input {name!r}"
            if name not in shapes:
                raise ConfigError(f"{where}: there is no such input; there is {', '.join(shapes)}")
            declared = shapes[name]
            if len(declared) != len(low) or any(
                d not in (-1, a) or (d != -1 and a != b)
                for d, a, b in zip(declared, low, high, strict=True)
            ):
                raise ConfigError(f"{where}: shapes {low} to {high} are none of {declared}")
        for name in profile.values:
            if name not in shapes:
                raise ConfigError(
                    f"optimization profile {number}: there is no input {name!r} to set values of"
                )
        for name, declared in shapes.items():
            if -1 in declared and name not in profile.shapes:
                raise ConfigError(
                    f"input {name!r} has the open shape {declared}, and optimization profile {number} does not say it; "
                    "call profile.set_shape and config.add_optimization_profile"
                )


def _sizes(inputs: Sequence[ValueInfoProto], profiles: Sequence[Ranges]) -> dict[str, Any]:
    shapes = {value.name: shape_of(value) for value in inputs}
    found = [
        {name: triple for name, triple in profile.shapes.items() if -1 in shapes[name]}
        for profile in profiles
    ]
    names = {name for profile in profiles for name in profile.values}
    values = {
        name: _joined([p.values[name] for p in profiles if name in p.values], shapes[name])
        for name in names
    }
    options: dict[str, Any] = {"values": values} if values else {}
    if any(found):
        options["profiles"] = found
    return options


def _joined(triples: Sequence[Triple], shape: tuple[int, ...]) -> Any:
    """One range for the elements of an input that says shapes, of those in all profiles."""
    low = tuple(map(min, zip(*(t[0] for t in triples), strict=True)))
    high = tuple(map(max, zip(*(t[2] for t in triples), strict=True)))
    typical = triples[0][1]
    said = tuple(
        a if a == c else f"{a}..{b}..{c}" for a, b, c in zip(low, typical, high, strict=True)
    )
    return said if shape else said[0]


def _batches(
    inputs: Sequence[ValueInfoProto], config: IBuilderConfig, profiles: Sequence[Ranges]
) -> dict[str, BatchType]:
    """What lies at the addresses of a calibrator's batches."""
    chosen = config._calibration_profile
    ranges = profiles[0] if chosen is None else chosen._ranges()
    found = {}
    for value in inputs:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        shape = shape_of(value)
        if value.name in ranges.shapes:
            shape = ranges.shapes[value.name][1]
        elif value.name in profiles[0].shapes:
            shape = profiles[0].shapes[value.name][1]
        found[value.name] = BatchType(shape, dtype)
    return found


# -- precision -------------------------------------------------------------------------------------


def _precision(
    lowered: Lowered, config: IBuilderConfig, reports: Reports, explicit: bool
) -> set[str]:
    """What is permitted.  ConfigError for permissions beside strong types."""
    permitted = {name for flag, name in _PERMITTED.items() if config._has(flag)}
    if lowered.strongly_typed:
        if permitted:
            raise ConfigError(
                f"the network is strongly typed, and BuilderFlag {', '.join(sorted(permitted)).upper()} set beside; "
                "clear the flag, or cast tensors in the network"
            )
        return set()
    if config._has(*_UNUSED):
        reports.warning("FP8, FP4 and INT4 kernels do not exist; other types are used", True)
    if explicit:
        if kept(config, "int8_calibrator", None) is not None and "int8" in permitted:
            reports.warning("the network has Q/DQ layers; its calibrator is not asked", True)
        return permitted | {"int8"}
    has_ranges = kept(config, "int8_calibrator", None) is not None or bool(lowered.ranges)
    if "int8" in permitted and not has_ranges:
        reports.warning(
            "INT8 is permitted, and there are no ranges: no calibrator, no dynamic ranges, no Q/DQ layers; "
            "the engine is built without INT8"
        )
        permitted.discard("int8")
    return permitted


def _types(
    lowered: Lowered, config: IBuilderConfig, precision: set[str], reports: Reports
) -> dict[str, Any]:
    if lowered.strongly_typed:
        return {"strongly_typed": True}
    return {"precision": precision}


def _layer_types(
    model: ModelProto,
    lowered: Lowered,
    config: IBuilderConfig,
    precision: set[str],
    options: Mapping[str, Any],
    reports: Reports,
) -> dict[str, Any]:
    """What is asked of single layers.  ConfigError for an order of a type that is not permitted."""
    if lowered.strongly_typed or not (lowered.precision or lowered.output_type):
        return {}
    orders = config._has(*_OBEY)
    permitted = {"fp32", *precision}
    wanted = (
        dict(lowered.precision),
        {layer: kind for layer, kind in lowered.output_type.items() if kind != "int8"},
    )
    for layers in wanted:
        for layer, kind in [*layers.items()]:
            if kind not in permitted:
                if orders and kind != "int8":
                    raise ConfigError(
                        f"layer {layer!r} is to be {kind}, which is not permitted; set BuilderFlag.{kind.upper()}"
                    )
                reports.warning(f"layer {layer!r} is to be {kind}, which is not permitted", True)
                del layers[layer]
    graphs = _graphs(model, options) if any(wanted) else []
    known = _layers_left(graphs)
    precisions, outputs = ({n: k for n, k in layers.items() if n in known} for layers in wanted)
    if orders:
        for graph in graphs[1::2]:
            here = {n: k for n, k in precisions.items() if n in _layers_left([graph, graph])}
            for layer, why in unable_halves(graph, here).items():
                reports.info(f"layer {layer!r} is more exact than {precisions.pop(layer)}: {why}")
    constraints = "obey" if orders else "prefer" if config._has(_PREFER) else "fastest"
    return {
        "layer_precision": precisions,
        "layer_output_type": outputs,
        "precision_constraints": constraints,
    }


def _graphs(model: ModelProto, options: Mapping[str, Any]) -> list[Graph]:
    """Each of the model's graphs as imported, then as optimized."""
    session = BuildSession(model, BuildConfig(**options))
    session.import_model()
    level = options["optimization_level"]
    return [g for graph in session.imported_graphs for g in (graph, optimize(graph, level=level))]


def _layers_left(graphs: Sequence[Graph]) -> set[str]:
    """Names of layers that are left when what needs no kernel is folded.  graphs: as `_graphs` gives them."""
    names = [{o for node in graph.nodes for o in node.origin} for graph in graphs]
    return set().union(*names[::2]) & set().union(*names[1::2])


# -- the rest --------------------------------------------------------------------------------------


def _level(config: IBuilderConfig) -> int:
    level = kept(config, "builder_optimization_level", settings.LEVEL)
    return min(level, _HEURISTIC_LEVEL) if config._has(_HEURISTIC) else level


def _workspace(config: IBuilderConfig) -> int | None:
    """None: nothing was said."""
    limit = config._pools[WORKSPACE]
    return None if limit == POOLS[WORKSPACE] else limit


def _plan(
    network: INetworkDefinition,
    lowered: Lowered,
    config: IBuilderConfig,
    inputs: Sequence[ValueInfoProto],
    profiles: tuple[Ranges, ...],
) -> Plan:
    shapes = {value.name: shape_of(value) for value in inputs}
    static = {name: (shape,) * 3 for name, shape in shapes.items() if -1 not in shape}
    whole = tuple(Ranges({**static, **p.shapes}, p.values) for p in profiles)
    return Plan(
        name=network._name,
        shapes=shapes,
        profiles=whole,
        debug=lowered.debug,
        hidden=_hidden(lowered),
        origins=dict(lowered.origins),
        verbosity=int(kept(config, "profiling_verbosity", settings.NAMES_ONLY)),
        compatibility=int(kept(config, "hardware_compatibility_level", settings.NO_COMPATIBILITY)),
        tactic_sources=config._sources,
        refittable=config._has(*REFITS),
        stripped=config._has(STRIP),
        held=lowered.held,
        streams_weights=config._has(_STREAMING),
    )


def _hidden(lowered: Lowered) -> tuple[str, ...]:
    """Debug tensors that are no outputs anyway."""
    shown = {v.name for v in (*lowered.model.graph.output, *lowered.model.graph.input)}
    return tuple(name for name in lowered.debug if name not in shown)


def _with_debug_outputs(network: INetworkDefinition, lowered: Lowered) -> ModelProto:
    """The model, which also gives the tensors that debug listeners see."""
    hidden = _hidden(lowered)
    if not hidden:
        return lowered.model
    model = ModelProto()
    model.CopyFrom(lowered.model)
    kinds = {tensor._name: network._type_of(tensor) for tensor in network._debug}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, onnx_type(kinds[name]), None) for name in hidden
    )
    return model


def _nodes(graph: GraphProto) -> Iterator[Any]:
    """All nodes, of inner graphs as well."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _nodes(attribute.g)
