"""`Runtime`: bytes to engines."""

from __future__ import annotations

import tempfile
from typing import Any

from camshaft.runtime.loading import loaded
from camshaft.tensorrt.enums.runtime import TempfileControlFlag
from camshaft.tensorrt.errors import Reporting, Reports, reported
from camshaft.tensorrt.kept import Kept, one_of
from camshaft.tensorrt.logger import ILogger
from camshaft.tensorrt.network.params import flag, text, whole
from camshaft.tensorrt.objects import common_enter, common_exit
from camshaft.tensorrt.plan import plan_of
from camshaft.tensorrt.running.allocators import IGpuAllocator
from camshaft.tensorrt.running.engine import ICudaEngine
from camshaft.tensorrt.running.streams import IStreamReader, IStreamReaderV2

_READERS = (IStreamReader, IStreamReaderV2)
_ALL_FILES = sum(1 << int(member) for member in TempfileControlFlag.__members__.values())


class Runtime(Reporting):
    """Loads engines."""

    __enter__ = common_enter
    __exit__ = common_exit

    def __init__(self, logger: ILogger) -> None:
        """logger: gets what the runtime and its engines report.  TypeError if it is no ILogger."""
        self._reports = Reports(logger)
        self._kept: dict[str, Any] = {}

    @property
    def logger(self) -> ILogger:
        """The logger."""
        return self._reports.logger

    @reported(None)
    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine:
        """The engine that bytes, an IStreamReader or an IStreamReaderV2 hold.  None, and an error in the log, if they hold none."""
        if isinstance(serialized_engine, _READERS):
            data = serialized_engine._all()
        else:
            data = bytes(memoryview(serialized_engine))
        engine, remark = loaded(data)
        if remark:
            self._reports.warning(remark)
        return ICudaEngine._made(self._reports, engine, plan_of(engine))

    DLA_core = Kept(whole, -1, "Kept: there is no DLA.")
    max_threads = Kept(whole, 1, "Kept: contexts use as many threads as the engine was built for.")
    gpu_allocator = Kept(one_of(IGpuAllocator), None, "Kept: memory is the process's own.")
    temporary_directory = Kept(text, tempfile.gettempdir(), "Kept: engines need no files.")
    tempfile_control_flags = Kept(whole, _ALL_FILES, "A bit for each TempfileControlFlag; kept.")
    engine_host_code_allowed = Kept(flag, False, "Kept: all engines hold code of the host.")

    @property
    def num_DLA_cores(self) -> int:
        """0: there is no DLA."""
        return 0

    def get_plugin_registry(self) -> Any:
        """None, and a warning: there are no plugins."""
        self._reports.warning("there is no plugin registry", True)
        return None

    def load_runtime(self, path: str) -> Runtime | None:
        """None, and an error: there are no runtimes of other versions."""
        self._reports.error(f"load_runtime({path!r}): there is no other runtime; use this one")
        return None
