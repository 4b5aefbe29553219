"""A model to an engine: the network and the configuration as flags say them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camshaft.atomic import write_atomically
from camshaft.tensorrt.building.builder import Builder
from camshaft.tensorrt.building.config import IBuilderConfig
from camshaft.tensorrt.building.profile import IOptimizationProfile
from camshaft.tensorrt.enums.builder import (
    BuilderFlag,
    HardwareCompatibilityLevel,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
)
from camshaft.tensorrt.enums.data import DeviceType
from camshaft.tensorrt.network.definition import INetworkDefinition
from camshaft.tensorrt.parser import OnnxParser
from camshaft.tensorrt.running.engine import ICudaEngine
from camshaft.tensorrt.running.runtime import Runtime
from camshaft.tensorrt.trtexec.flags.spelling import BUILDER_FLAGS, CONSTRAINTS
from camshaft.tensorrt.trtexec.flags.values import MIB, every
from camshaft.tensorrt.trtexec.layers import CacheCalibrator, make_up_ranges, set_ends, set_layers
from camshaft.tensorrt.trtexec.log import Log
from camshaft.tensorrt.trtexec.parsing import Options
from camshaft.tensorrt.trtexec.shapes import Profile, found, said, unused

_VERBOSITY = {
    "detailed": "DETAILED",
    "verbose": "DETAILED",
    "none": "NONE",
    "layer_names_only": "LAYER_NAMES_ONLY",
    "default": "LAYER_NAMES_ONLY",
}
_COMPATIBILITY = {
    "none": "NONE",
    "ampere+": "AMPERE_PLUS",
    "sameComputeCapability": "SAME_COMPUTE_CAPABILITY",
}
_POOLS = {
    "workspace": "WORKSPACE",
    "dlaSRAM": "DLA_MANAGED_SRAM",
    "dlaLocalDRAM": "DLA_LOCAL_DRAM",
    "dlaGlobalDRAM": "DLA_GLOBAL_DRAM",
    "tacticSharedMem": "TACTIC_SHARED_MEMORY",
}


class Failed(Exception):
    """A phase that cannot go on; the message says which, and the lines before it why."""


def engine_for(options: Options, log: Log) -> ICudaEngine:
    """The engine that is loaded or built, and saved where that is asked.  Failed, ValueError, OSError."""
    path = options["loadEngine"]
    plan = _built(options, log) if path is None else Path(path).read_bytes()
    begin = time.perf_counter()
    engine = Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        where = "" if path is None else f": --loadEngine={path} is no engine that can be read here"
        raise Failed(f"Engine deserialization failed{where}")
    log.info(f"Engine deserialized in {time.perf_counter() - begin:g} sec.")
    if path is not None:
        log.info(f"Engine loaded from {path}, of {len(plan) / MIB:g} MiB")
    return engine


def _built(options: Options, log: Log) -> bytes:
    """The plan.  Failed, ValueError, OSError."""
    builder = Builder(log)
    network = _network(builder, options, log)
    config = builder.create_builder_config()
    _configure(config, options)
    for profile in _profiles(builder, network, options, log):
        config.add_optimization_profile(profile)
    calibrator = _quantize(builder, network, config, options, log)
    _check_names(network, options)
    cache = _timing_cache(config, options, log)
    begin = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        if calibrator is not None and calibrator.is_refused:
            log.error(f"--calib={options['calib']} is no calibration cache of this model")
        raise Failed("Engine could not be created from network")
    log.info(f"Engine built in {time.perf_counter() - begin:g} sec.")
    log.info(f"Created engine with size: {len(plan) / MIB:g} MiB")
    if cache is not None:
        write_atomically(options["timingCacheFile"], cache.serialize())
    if options["saveEngine"] is not None:
        write_atomically(options["saveEngine"], plan)
        log.info(f"Engine saved to {options['saveEngine']}")
    return plan


def _network(builder: Builder, options: Options, log: Log) -> INetworkDefinition:
    flags = 0
    if options["stronglyTyped"]:
        flags |= 1 << int(every(NetworkDefinitionCreationFlag, "STRONGLY_TYPED"))
    network = builder.create_network(flags)
    log.info("Start parsing network model.")
    begin = time.perf_counter()
    parser = OnnxParser(network, log)
    path = Path(options["onnx"]).expanduser()
    if not parser.parse_from_file(str(path)):
        raise Failed(f"Failed to parse onnx file {path}")
    log.info(f"Finished parsing network model. Parse time: {time.perf_counter() - begin:g}")
    set_ends(network, options, log)
    set_layers(network, options, log)
    _mark_debug(network, options["markDebug"] or ())
    if options["markUnfusedTensorsAsDebugTensors"]:
        network.mark_unfused_tensors_as_debug_tensors()
    return network


def _mark_debug(network: INetworkDefinition, names: Any) -> None:
    layers = [*network]
    tensors = [
        t for layer in layers for n in range(layer.num_outputs) if (t := layer.get_output(n))
    ]
    by_name = {tensor.name: tensor for tensor in tensors}
    for name in names:
        if name not in by_name:
            raise ValueError(f"--markDebug: the network has no tensor {name!r}")
        network.mark_debug(by_name[name])


def _configure(config: IBuilderConfig, options: Options) -> None:
    for name, members in BUILDER_FLAGS.items():
        if options[name]:
            for member in members:
                config.set_flag(every(BuilderFlag, member))
    if options["sparsity"] == "enable":
        config.set_flag(every(BuilderFlag, "SPARSE_WEIGHTS"))
    if options["precisionConstraints"] in CONSTRAINTS:
        config.set_flag(every(BuilderFlag, CONSTRAINTS[options["precisionConstraints"]]))
    verbosity = _VERBOSITY[options["nvtxMode"] or options["profilingVerbosity"]]
    config.profiling_verbosity = every(ProfilingVerbosity, verbosity)
    config.builder_optimization_level = options["builderOptimizationLevel"]
    if options["hardwareCompatibilityLevel"] != "none":
        level = every(
            HardwareCompatibilityLevel, _COMPATIBILITY[options["hardwareCompatibilityLevel"]]
        )
        config.hardware_compatibility_level = level
    pools = dict(options["memPoolSize"] or {})
    if options["workspace"] is not None:
        pools["workspace"] = options["workspace"]
    if "dlaSRAM" in pools:  # It must be a power of 2, which trtexec rounds to.
        pools["dlaSRAM"] = 1 << min(max(pools["dlaSRAM"].bit_length() - 1, 0), 30)
    for pool, limit in pools.items():
        config.set_memory_pool_limit(every(MemoryPoolType, _POOLS[pool]), limit)
    if options["useDLACore"] not in (None, -1):
        config.default_device_type = every(DeviceType, "DLA")
        config.DLA_core = options["useDLACore"]


# -- sizes -----------------------------------------------------------------------------------------


def _profiles(
    builder: Builder, network: INetworkDefinition, options: Options, log: Log
) -> list[IOptimizationProfile]:
    """What is asked for, or one of each extent 1 where that is open; none if none is."""
    inputs = [t for n in range(network.num_inputs) if (t := network.get_input(n))]
    names = [tensor.name for tensor in inputs]
    given = list(options.profiles)
    for name in dict.fromkeys(n for profile in given for n in unused(profile, names)):
        raise ValueError(
            f"shapes are given of {name!r}, and the model has the inputs {', '.join(names)}"
        )
    for tensor in inputs:
        _check_shapes(tensor, given)
    is_open = any(-1 in tuple(t.shape) or t.is_shape_tensor for t in inputs)
    if not given and is_open:
        given = [{}]
    return [_profile(builder, inputs, profile, log) for profile in given] if is_open else []


def _check_shapes(tensor: Any, profiles: Sequence[Profile]) -> None:
    """ValueError for shapes that the model does not let an input have."""
    if tensor.is_shape_tensor:
        return
    own = tuple(tensor.shape)
    for shape in (s for profile in profiles for s in found(profile, tensor.name) or ()):
        fits = len(shape) == len(own) and all(e in (-1, n) for e, n in zip(own, shape, strict=True))
        if not fits:
            raise ValueError(
                f"shapes of flags: input {tensor.name} cannot have the shape {said(shape)}: in the model it is {said(own)}"
            )


def _profile(builder: Builder, inputs: Any, asked: Profile, log: Log) -> IOptimizationProfile:
    profile = builder.create_optimization_profile()
    for tensor in inputs:
        shape, triple = tuple(tensor.shape), found(asked, tensor.name)
        if tensor.is_shape_tensor:
            if triple is not None:
                profile.set_shape_input(tensor.name, *triple)
            if -1 not in shape:
                continue
            triple = None  # What was said are its elements.
        if -1 not in shape:
            continue
        if triple is None:
            guess = tuple(1 if extent < 0 else extent for extent in shape)
            log.warning(
                f"Dynamic dimensions required for input: {tensor.name}, but no shapes were provided. "
                f"Automatically overriding shape to: {said(guess)}"
            )
            triple = (guess, guess, guess)
        profile.set_shape(tensor.name, *triple)
        low, typical, high = map(said, triple)
        log.info(f"Set shape of input tensor {tensor.name} to: MIN={low} OPT={typical} MAX={high}")
    return profile


def _check_names(network: INetworkDefinition, options: Options) -> None:
    """ValueError for what the inference would not find, before the build."""
    sides = (
        ("loadInputs", "input", network.num_inputs, network.get_input),
        ("loadRefOutputs", "output", network.num_outputs, network.get_output),
    )
    for flag, side, number, tensor_of in sides:
        names = [t.name for n in range(number) if (t := tensor_of(n))]
        for name in unused(options[flag] or {}, names):
            raise ValueError(
                f"--{flag}: the engine has no {side} {name!r}; it has {', '.join(names)}"
            )


# -- INT8 ------------------------------------------------------------------------------------------


def _quantize(
    builder: Builder,
    network: INetworkDefinition,
    config: IBuilderConfig,
    options: Options,
    log: Log,
) -> CacheCalibrator | None:
    """Where INT8's ranges come from; the calibrator, if it is from a cache.  OSError for a cache that cannot be read."""
    if not (options["int8"] or options["best"]):
        return None
    if options["calib"] is None:
        if make_up_ranges(network):
            log.warning(
                "INT8 ranges are made up, since there is neither --calib nor a Q/DQ layer: "
                "times are right, and outputs are not"
            )
        return None
    calibrator = CacheCalibrator(Path(options["calib"]).read_bytes())
    config.int8_calibrator = calibrator
    shapes = options["optShapesCalib"] or options["minShapesCalib"] or options["maxShapesCalib"]
    if options["calibProfile"] is not None:
        shapes = {n: t[1] for n, t in options.profiles[options["calibProfile"]].items()}
    if shapes:
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, shape, shape, shape)
        config.set_calibration_profile(profile)
    return calibrator


def _timing_cache(config: IBuilderConfig, options: Options, log: Log) -> Any:
    """The cache that the build adds to; None: it is in no file.  Failed for a file that is none."""
    path = options["timingCacheFile"]
    if path is None or options["noBuilderCache"]:
        return None
    data = Path(path).read_bytes() if Path(path).exists() else b""
    cache = config.create_timing_cache(data)
    if cache is None:
        raise Failed(
            f"--timingCacheFile={path} is no timing cache; delete it, or name another file"
        )
    config.set_timing_cache(cache, False)
    log.info(f"Timing cache: {len(data)} bytes read from {path}")
    return cache
