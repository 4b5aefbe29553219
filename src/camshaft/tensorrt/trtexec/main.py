"""The command `trtexec`: exit code 0 and `&&&& PASSED`, or 1 and `&&&& FAILED`."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from camshaft.atomic import check_writable, same_file
from camshaft.errors import CamshaftError
from camshaft.ir.plugins.modules import import_plugins
from camshaft.tensorrt.eras import CURRENT
from camshaft.tensorrt.running.engine import ICudaEngine
from camshaft.tensorrt.running.runtime import Runtime
from camshaft.tensorrt.trtexec.building import Failed, engine_for
from camshaft.tensorrt.trtexec.debugging import watch
from camshaft.tensorrt.trtexec.flags import Effect, help_text
from camshaft.tensorrt.trtexec.inference import Runner, run, runners_for
from camshaft.tensorrt.trtexec.log import Log, outcome
from camshaft.tensorrt.trtexec.parsing import Options, UsageError, parsed
from camshaft.tensorrt.trtexec.references import check_outputs
from camshaft.tensorrt.trtexec.refits import refit
from camshaft.tensorrt.trtexec.reports import described, exports
from camshaft.tensorrt.trtexec.reports.summary import report
from camshaft.version import VERSION

_READ = ("onnx", "loadEngine", "refitFromOnnx", "calib")
_WRITTEN = ("saveEngine", "exportTimes", "exportOutput", "exportProfile", "exportLayerInfo")
_PLUGINS = ("plugins", "staticPlugins", "dynamicPlugins")
_DESERIALIZATIONS = 20
_INTERRUPTED = 130
"""The exit code of a process that was interrupted, by the shell's custom."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run trtexec.  arguments: without the command's name; None: those of this process.  The exit code."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    command = shlex.join(["trtexec", *given])
    log = Log()
    outcome("RUNNING", command)
    try:
        options = parsed(given or ["--help"])
        if options["help"]:
            print(help_text())
        else:
            _work(options, log)
    except UsageError as error:
        print(help_text())
        return _failed(error, command, log)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (Failed, CamshaftError, ValueError, RuntimeError, OSError, MemoryError) as error:
        return _failed(error, command, log)
    outcome("PASSED", command)
    return 0


def _failed(error: Exception, command: str, log: Log) -> int:
    log.error(str(error) or type(error).__name__)
    outcome("FAILED", command)
    return 1


def _work(options: Options, log: Log) -> None:
    """Failed, and what else `main` reports."""
    log.verbose = options["verbose"]
    _check_files(options)
    log.info(described.sections(options))
    log.info(described.device())
    log.info()
    log.info(f"TensorRT version: {CURRENT.version} (camshaft {VERSION})")
    for flag in options.given():
        if flag.effect is Effect.KEPT:
            log.info(f"{flag.name} has no effect: {flag.help}")
    for name, why in options.idle.items():
        log.warning(f"{name} has no effect: {why}")
    for name in _PLUGINS:
        for path in options[name] or ():
            import_plugins(path, f"--{name}")
            log.info(f"Loaded plugins of {path}")
    engine = engine_for(options, log)
    if options["getPlanVersionOnly"]:
        # Engines of other versions cannot be loaded, and their error names the version.
        log.info(f"Plan was created with camshaft version {VERSION}")
        return
    refit(engine, options, log)
    if options["skipInference"]:
        _tell(engine, options, log)
        log.info("Skipped inference phase since --skipInference is added.")
    elif options["timeDeserialize"]:
        _time_deserialization(engine, log)
    else:
        _infer(engine, options, log)


def _infer(engine: ICudaEngine, options: Options, log: Log) -> None:
    runners = runners_for(engine, options, log, transfers=described.transfers(options))
    debugged = watch(runners[0].context, options, log)
    _tell(engine, options, log)
    wants_profile = options["dumpProfile"] or options["exportProfile"] is not None
    is_separate = options["separateProfileRun"]
    if wants_profile and not is_separate:
        runners[0].profile()
    log.info("Starting inference")
    done = run(runners, options)
    if debugged is not None:
        debugged.finish()
    if wants_profile and not is_separate:
        log.info(
            "The e2e network timing is not reported since it is inaccurate while the profiler is enabled."
        )
        log.info(
            "To show it, add --separateProfileRun, or remove --dumpProfile and --exportProfile."
        )
    else:
        report(done, options, log)
    if options["exportTimes"] is not None:
        exports.write_times(options["exportTimes"], done.traces)
    tensors = runners[0].tensors
    if options["dumpOutput"]:
        exports.dump_outputs(tensors, log)
    if options["dumpRawBindingsToFile"]:
        exports.write_raw(tensors, log)
    if options["exportOutput"] is not None:
        exports.write_outputs(options["exportOutput"], tensors)
    check_outputs(tensors, options, log)
    if wants_profile:
        _profile(runners, options, log)


def _profile(runners: Sequence[Runner], options: Options, log: Log) -> None:
    """Print or write times of layers, of a second run where that is asked."""
    times = runners[0].layer_times
    if times is None:
        times = runners[0].profile()
        run(runners[:1], options)
    if options["dumpProfile"]:
        log.info()
        log.info(times.table())
        log.info()
    if options["exportProfile"] is not None:
        exports.write_profile(options["exportProfile"], times)


def _tell(engine: ICudaEngine, options: Options, log: Log) -> None:
    exports.tell_layers(engine, options, log)
    if options["dumpOptimizationProfile"]:
        exports.tell_profiles(engine, log)


def _time_deserialization(engine: ICudaEngine, log: Log) -> None:
    plan = engine.serialize()
    times = []
    for _ in range(_DESERIALIZATIONS):
        begin = time.perf_counter()
        if Runtime(log).deserialize_cuda_engine(plan) is None:
            raise Failed("Engine deserialization failed")
        times.append(1000 * (time.perf_counter() - begin))
    total = sum(times)
    log.info(f"First deserialization time = {times[0]:g} milliseconds")
    log.info(
        f"Total deserialization time = {total:g} milliseconds in {len(times)} iterations, "
        f"average time = {total / len(times):g} milliseconds, first time = {times[0]:g} milliseconds."
    )
    log.info(f"Deserialization Bandwidth = {1e-6 * len(plan) * len(times) / total:g} GB/s")


# -- files -----------------------------------------------------------------------------------------


def _check_files(options: Options) -> None:
    """OSError for files that are not there, or certainly cannot be written; ValueError for one that would be written over another."""
    read = [*_named(options, _READ)]
    read += [(f"--loadInputs {n}", p) for n, p in (options["loadInputs"] or {}).items()]
    read += [(f"--loadRefOutputs {n}", p) for n, p in (options["loadRefOutputs"] or {}).items()]
    written = [*_named(options, _WRITTEN)]
    written += [
        (f"--saveDebugTensors {n}", p) for n, p in (options["saveDebugTensors"] or {}).items()
    ]
    for flag, path in read:
        if not Path(path).expanduser().is_file():
            raise FileNotFoundError(f"{flag}: there is no file {path}")
    if options["timingCacheFile"] is not None:
        _check_writable("--timingCacheFile", options["timingCacheFile"])
        read.append(("--timingCacheFile", options["timingCacheFile"]))
    for number, (flag, path) in enumerate(written):
        _check_writable(flag, path)
        for other, taken in (*read, *written[:number]):
            if same_file(path, os.path.expanduser(taken)):
                raise ValueError(f"{flag}={path} is the file of {other}; name another file")


def _check_writable(flag: str, path: str) -> None:
    try:
        check_writable(path)
    except OSError as error:
        raise OSError(f"{flag}={path} cannot be written: {error.strerror}") from error


def _named(options: Options, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((f"--{name}", options[name]) for name in names if options[name] is not None)
