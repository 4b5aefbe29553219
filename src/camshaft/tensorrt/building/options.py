"""From a network and a configuration to the options of `camshaft.build`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, ValueInfoProto, helper

from camshaft.builder.halves import unable as unable_halves
from camshaft.errors import ConfigError
from camshaft.quant.placement import formless
from camshaft.tensorrt.building import config as settings
from camshaft.tensorrt.building.calibrators import BatchType
from camshaft.tensorrt.building.config import IBuilderConfig
from camshaft.tensorrt.building.debugging import hidden, left_unfused, with_outputs
from camshaft.tensorrt.building.formats import formats_of
from camshaft.tensorrt.building.fused import graphs_of, layers_left
from camshaft.tensorrt.building.pools import POOLS, WORKSPACE
from camshaft.tensorrt.building.ranges import in_floats, ranges_of_tensors
from camshaft.tensorrt.building.refits import REFITS, STRIP, refittable_weights
from camshaft.tensorrt.enums.builder import BuilderFlag, ProfilingVerbosity
from camshaft.tensorrt.enums.data import DeviceType
from camshaft.tensorrt.errors import Reports
from camshaft.tensorrt.inspection.parameters import parameters_of
from camshaft.tensorrt.kept import kept
from camshaft.tensorrt.network.definition import INetworkDefinition
from camshaft.tensorrt.network.layers.transformers.caches import IKVCacheUpdateLayer
from camshaft.tensorrt.network.lowered import Lowered
from camshaft.tensorrt.plan import Plan, Ranges, Triple

_INT8 = BuilderFlag.INT8
_PERMITTED = {BuilderFlag.FP16: "fp16", BuilderFlag.BF16: "bf16", _INT8: "int8"}
_UNUSED = (BuilderFlag.FP8, BuilderFlag.FP4, BuilderFlag.INT4)
_OBEY = (BuilderFlag.OBEY_PRECISION_CONSTRAINTS, BuilderFlag.STRICT_TYPES)
_PREFER = BuilderFlag.PREFER_PRECISION_CONSTRAINTS
_HEURISTIC = BuilderFlag.ENABLE_TACTIC_HEURISTIC
_NO_CACHE = BuilderFlag.DISABLE_TIMING_CACHE
_VERSIONS = BuilderFlag.VERSION_COMPATIBLE
_FROZEN = BuilderFlag.ERROR_ON_TIMING_CACHE_MISS
_SAFETY = BuilderFlag.SAFETY_SCOPE
_FALLBACK = BuilderFlag.GPU_FALLBACK
_DIRECT_IO = BuilderFlag.DIRECT_IO
_STREAMING = BuilderFlag.WEIGHT_STREAMING
_DLA = DeviceType.DLA
_DETAILED = ProfilingVerbosity.DETAILED
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
    model = with_outputs(lowered.model, network, hidden(lowered))
    inputs = inputs_of(model)
    profiles = tuple(p._ranges() for p in config._profiles) or (Ranges(),)
    _check_profiles(inputs, profiles)
    _pin(inputs, profiles)
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
        "portable": _is_portable(config, reports),
    }
    options |= _layer_types(model, lowered, config, precision, options, reports)
    if "int8" in precision and lowered.ranges:
        ranges = ranges_of_tensors(model, lowered, options, reports)
        if ranges or calibrates or explicit:
            options["dynamic_ranges"] = ranges
        else:
            options |= _without_int8(options)
    if "dynamic_ranges" in options and kept(config, "int8_calibrator", None) is None:
        options |= in_floats(model, options["dynamic_ranges"].keys(), options, reports)
    uses_cache = not config._has(_NO_CACHE)
    unfused = left_unfused(network, model, options) if network._shows_unfused else ()
    model = with_outputs(model, network, unfused)
    return Asked(
        model,
        options,
        _plan(network, lowered, config, inputs, profiles, unfused, reports),
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


def _pin(inputs: Sequence[ValueInfoProto], profiles: Sequence[Ranges]) -> None:
    """Fix the open extents of a model's inputs to which all profiles leave one and the same value, as TensorRT does.

    Engines show these extents as fixed; tools look at that to choose shapes.
    """
    for value in inputs:
        extents = value.type.tensor_type.shape.dim
        for axis, extent in enumerate(extents):
            if not extent.HasField("dim_value"):
                ranges = {(p.shapes[value.name][0][axis], p.shapes[value.name][2][axis]) for p in profiles}  # fmt: skip
                low, high = min(ranges)
                if len(ranges) == 1 and low == high:
                    extent.dim_value = low


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


def _without_int8(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a network all of whose ranges are of tensors within fused layers: there is nothing that INT8 could be."""
    asked = options.get("layer_precision", {})
    return {
        "precision": options["precision"] - {"int8"},
        "layer_precision": {layer: kind for layer, kind in asked.items() if kind != "int8"},
    }


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
    graphs = graphs_of(model, options) if any(wanted) else []
    known = layers_left(graphs)
    precisions, outputs = ({n: k for n, k in layers.items() if n in known} for layers in wanted)
    if orders:
        for graph in graphs[1::2]:
            here = {n: k for n, k in precisions.items() if n in layers_left([graph, graph])}
            for layer, why in {**unable_halves(graph, here), **formless(graph, here)}.items():
                asked = precisions.pop(layer)
                reports.info(f"layer {layer!r} is {asked} only as layers beside it are: {why}")
    constraints = "obey" if orders else "prefer" if config._has(_PREFER) else "fastest"
    return {
        "layer_precision": precisions,
        "layer_output_type": outputs,
        "precision_constraints": constraints,
    }


def _is_portable(config: IBuilderConfig, reports: Reports) -> bool:
    """Whether the plan is to run on other devices or versions, and a build can be repeated from it; a warning if it cannot."""
    level = kept(config, "hardware_compatibility_level", settings.NO_COMPATIBILITY)
    asked = config._has(_VERSIONS) or level != settings.NO_COMPATIBILITY
    selects = kept(config, "algorithm_selector", None) is not None
    if asked and (selects or config._has(STRIP)):
        beside = "an algorithm selector" if selects else "a plan without weights"
        reports.warning(
            f"the plan is for this version and kind of processor alone: VERSION_COMPATIBLE and hardware_compatibility_level "
            f"have no effect beside {beside}"
        )
        return False
    return asked


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
    unfused: tuple[str, ...],
    reports: Reports,
) -> Plan:
    shapes = {value.name: shape_of(value) for value in inputs}
    static = {name: (shape,) * 3 for name, shape in shapes.items() if -1 not in shape}
    whole = tuple(Ranges({**static, **p.shapes}, p.values) for p in profiles)
    verbosity = kept(config, "profiling_verbosity", settings.NAMES_ONLY)
    return Plan(
        name=network._name,
        shapes=shapes,
        profiles=whole,
        aliases=_aliases(network),
        debug=lowered.debug,
        assertions=lowered.assertions,
        unfused=unfused,
        hidden=(*hidden(lowered), *unfused),
        origins=dict(lowered.origins),
        parameters=parameters_of(lowered.model) if verbosity == _DETAILED else {},
        formats=formats_of(network, config._has(_DIRECT_IO), reports),
        verbosity=int(verbosity),
        compatibility=int(kept(config, "hardware_compatibility_level", settings.NO_COMPATIBILITY)),
        tactic_sources=config._sources,
        refittable=config._has(*REFITS),
        stripped=config._has(STRIP),
        held=lowered.held,
        streams_weights=config._has(_STREAMING),
    )


def _aliases(network: INetworkDefinition) -> dict[str, str]:
    """Outputs that are caches with new steps -> the inputs that bring these caches."""
    found = {}
    for tensor in network._outputs:
        record = tensor._producer
        cache = (
            record.inputs[0] if record is not None and record.cls is IKVCacheUpdateLayer else None
        )
        if cache is not None and cache in network._inputs:
            found[tensor._name] = cache._name
    return found


def _nodes(graph: GraphProto) -> Iterator[Any]:
    """All nodes, of inner graphs as well."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _nodes(attribute.g)
