"""Other weights in the engine before it runs, and what is told of them."""

from __future__ import annotations

import time

from camshaft.tensorrt.enums.data import WeightsRole
from camshaft.tensorrt.refit.onnx_refitter import OnnxParserRefitter
from camshaft.tensorrt.refit.refitter import Refitter
from camshaft.tensorrt.running.engine import ICudaEngine
from camshaft.tensorrt.trtexec.building import Failed
from camshaft.tensorrt.trtexec.flags.values import every
from camshaft.tensorrt.trtexec.log import Log
from camshaft.tensorrt.trtexec.parsing import Options

_ROLES = {
    every(WeightsRole, "KERNEL"): "Kernel",
    every(WeightsRole, "BIAS"): "Bias",
    every(WeightsRole, "SHIFT"): "Shift",
    every(WeightsRole, "SCALE"): "Scale",
    every(WeightsRole, "CONSTANT"): "Constant",
}
_THREADS = 10
"""Threads that trtexec gives a refit with --threads."""
_TIMED = 10


def refit(engine: ICudaEngine, options: Options, log: Log) -> None:
    """Do what --dumpRefit, --timeRefit and --refitFromOnnx say, and give an engine its weights that was built without them.

    Failed for an engine that cannot be refitted from the model, or would run without weights.
    """
    model = options["refitFromOnnx"]
    if not engine.refittable:
        if model is not None:
            raise Failed(f"--refitFromOnnx: {_not_refittable(options)}")
        for flag in ("dumpRefit", "timeRefit"):
            if options[flag]:
                log.warning(f"--{flag} is skipped: {_not_refittable(options)}")
        return
    if options["dumpRefit"]:
        _dump(engine, log)
    # Timed first: the engine then runs with the weights of --refitFromOnnx, not with those that were timed.
    if options["timeRefit"]:
        _time(engine, options, log)
    if model is not None:
        _from_onnx(engine, model, options, log)
    elif not (options["skipInference"] or options["timeDeserialize"]) and _lacks(engine, log):
        _fill(engine, options, log)


def _not_refittable(options: Options) -> str:
    if options["loadEngine"] is not None:
        return f"the engine of --loadEngine={options['loadEngine']} was built without --refit"
    return "the engine is built without --refit; add it"


def _dump(engine: ICudaEngine, log: Log) -> None:
    for layer, role in zip(*Refitter(engine, log).get_all(), strict=True):
        log.info(f"{layer} {_ROLES.get(role, 'Unknown')}")


def _lacks(engine: ICudaEngine, log: Log) -> bool:
    return bool(Refitter(engine, log).get_missing_weights())


def _refitter(engine: ICudaEngine, model: str, options: Options, log: Log) -> Refitter | None:
    """One that has the model's weights; None, and an error, if they are not those of the engine."""
    refitter = Refitter(engine, log)
    if options["threads"]:
        refitter.max_threads = _THREADS
    return refitter if OnnxParserRefitter(refitter, log).refit_from_file(model) else None


def _from_onnx(engine: ICudaEngine, model: str, options: Options, log: Log) -> None:
    log.info(f"Refitting engine from ONNX model {model}")
    refitter = _refitter(engine, model, options, log)
    if refitter is None or not refitter.refit_cuda_engine():
        raise Failed("Engine refit from ONNX model failed.")
    log.info(f"Engine successfully refitted from ONNX model {model}")


def _fill(engine: ICudaEngine, options: Options, log: Log) -> None:
    """Let an engine that was built without its weights run.  Failed where nothing says which they are."""
    if options["onnx"] is None:
        raise Failed(
            f"the engine of --loadEngine={options['loadEngine']} holds no weights; give --refitFromOnnx=<file>, or --skipInference"
        )
    log.info("The engine holds no weights: for the inference it takes those of --onnx")
    _from_onnx(engine, options["onnx"], options, log)


def _time(engine: ICudaEngine, options: Options, log: Log) -> None:
    """Print how long a refit with the weights of --onnx takes.  Failed if it cannot be."""
    if options["onnx"] is None:
        log.warning("Network not available, skipped timing refit.")
        return
    refitter = _refitter(engine, options["onnx"], options, log)
    if refitter is not None and hasattr(refitter, "weights_validation"):  # 8.6 has none.
        refitter.weights_validation = False  # They are those that the engine was built with.
    if refitter is None or not refitter.refit_cuda_engine():
        raise Failed("Engine refit failed.")
    begin = time.perf_counter()
    for _ in range(_TIMED):
        if not refitter.refit_cuda_engine():
            raise Failed("Engine refit failed.")
    ms = 1000 * (time.perf_counter() - begin) / _TIMED
    log.info(f"Engine refitted in {ms:g} ms.")
