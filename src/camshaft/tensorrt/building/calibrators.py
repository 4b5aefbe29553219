"""Calibrators of scripts: batches by their addresses, and ranges that are kept between builds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from camshaft.errors import CalibrationError, CamshaftError
from camshaft.quant.calibration.cache import HIGH, LOW, read_cache
from camshaft.quant.calibration.calibrators import Calibrator
from camshaft.tensorrt.enums.builder import CalibrationAlgoType
from camshaft.tensorrt.errors import Reports
from camshaft.tensorrt.running.device import array_at

T = TypeVar("T")
_MOST_SHOWN = 80
"""Characters of a value that messages show."""
_LEGACY = CalibrationAlgoType.LEGACY_CALIBRATION
_ENTROPY = CalibrationAlgoType.ENTROPY_CALIBRATION
_ENTROPY_2 = CalibrationAlgoType.ENTROPY_CALIBRATION_2
_MINMAX = CalibrationAlgoType.MINMAX_CALIBRATION
_ALGORITHMS = {
    _LEGACY: "percentile",
    _ENTROPY: "entropy",
    _ENTROPY_2: "entropy2",
    _MINMAX: "minmax",
}


class IInt8Calibrator:
    """Base of calibrators: a subclass overrides all methods.  NotImplementedError, a RuntimeError, of those it does not."""

    def get_batch_size(self) -> int:
        """How many examples a batch has."""
        raise self._missing("get_batch_size")

    def get_algorithm(self) -> CalibrationAlgoType:
        """How ranges follow from the values seen."""
        raise self._missing("get_algorithm")

    def get_batch(self, names: list[str]) -> list[int] | None:
        """Addresses of the next batch, one for each name of an input; None at the end."""
        raise self._missing("get_batch")

    def read_calibration_cache(self) -> Any:
        """The bytes that `write_calibration_cache` was given before; None: calibrate."""
        raise self._missing("read_calibration_cache")

    def write_calibration_cache(self, cache: memoryview) -> None:
        """Keep the ranges that were found."""
        raise self._missing("write_calibration_cache")

    def _missing(self, method: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} must override {method}")


def _algorithm(kind: CalibrationAlgoType) -> Callable[[IInt8Calibrator], CalibrationAlgoType]:
    def get_algorithm(self: IInt8Calibrator) -> CalibrationAlgoType:
        """How ranges follow from the values seen."""
        return kind

    return get_algorithm


class IInt8LegacyCalibrator(IInt8Calibrator):
    """A quantile of magnitudes."""

    get_algorithm = _algorithm(_LEGACY)
    get_batch_size = IInt8Calibrator.get_batch_size
    get_batch = IInt8Calibrator.get_batch
    read_calibration_cache = IInt8Calibrator.read_calibration_cache
    write_calibration_cache = IInt8Calibrator.write_calibration_cache

    def get_quantile(self) -> float:
        """The share of magnitudes, from 0 to 1, that ranges hold."""
        return 0.9999

    def get_regression_cutoff(self) -> float:
        """Asked for by TensorRT alone."""
        return 1.0


class IInt8EntropyCalibrator(IInt8Calibrator):
    """Ranges of least divergence, of every tensor that may be quantized."""

    get_algorithm = _algorithm(_ENTROPY)
    get_batch_size = IInt8Calibrator.get_batch_size
    get_batch = IInt8Calibrator.get_batch
    read_calibration_cache = IInt8Calibrator.read_calibration_cache
    write_calibration_cache = IInt8Calibrator.write_calibration_cache


class IInt8EntropyCalibrator2(IInt8Calibrator):
    """Ranges of least divergence."""

    get_algorithm = _algorithm(_ENTROPY_2)
    get_batch_size = IInt8Calibrator.get_batch_size
    get_batch = IInt8Calibrator.get_batch
    read_calibration_cache = IInt8Calibrator.read_calibration_cache
    write_calibration_cache = IInt8Calibrator.write_calibration_cache


class IInt8MinMaxCalibrator(IInt8Calibrator):
    """Ranges of all values seen."""

    get_algorithm = _algorithm(_MINMAX)
    get_batch_size = IInt8Calibrator.get_batch_size
    get_batch = IInt8Calibrator.get_batch
    read_calibration_cache = IInt8Calibrator.read_calibration_cache
    write_calibration_cache = IInt8Calibrator.write_calibration_cache


class BatchType(NamedTuple):
    """What lies at an address of a batch."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def completed(cache: bytes, left: Mapping[str, str]) -> bytes:
    """A cache with ranges of tensors that it knows by other names: TensorRT's are of the network's.

    left: name of a tensor -> name of the network's with the same elements.
    """
    try:
        _, *lines = cache.decode().split("\n")
    except UnicodeDecodeError:
        return cache  # who reads it says so
    known = {name: digits for name, _, digits in (line.rpartition(":") for line in lines)}
    added = [
        f"{name}{bound}:{known[of + bound]}"
        for name, of in left.items()
        if name not in known
        for bound in ("", LOW, HIGH)
        if of + bound in known
    ]
    return (
        cache.rstrip(b"\n") + "".join(f"\n{line}" for line in added).encode() + b"\n"
        if added
        else cache
    )


def as_networks(cache: bytes, left: Mapping[str, str]) -> bytes:
    """A cache under the names of the network's tensors, as far as one line is of each.  left: as for `completed`."""
    header, *lines = cache.decode().split("\n")
    known = {line.rpartition(":")[0] for line in lines}
    for i, line in enumerate(lines):
        name, colon, digits = line.rpartition(":")
        tensor = name.removesuffix(LOW).removesuffix(HIGH)
        of = left.get(tensor, tensor)
        if of != tensor and of not in known:
            lines[i] = f"{of}{name.removeprefix(tensor)}{colon}{digits}"
    return "\n".join([header, *lines]).encode()


class Adapter(Calibrator):
    """A script's calibrator as camshaft asks it.

    Methods are called in TensorRT's order: the cache is read; without one come the batch size, batches until there are no more, and
    the cache is written.
    """

    @classmethod
    def of(
        cls,
        theirs: IInt8Calibrator,
        inputs: Mapping[str, BatchType],
        left: Callable[[], Mapping[str, str]],
        reports: Reports,
    ) -> Adapter:
        """One whose class is called as the script's, which messages name.  Arguments as of the class."""
        named: type[Adapter] = type(type(theirs).__name__, (cls,), {})
        return named(theirs, inputs, left, reports)

    def __init__(
        self,
        theirs: IInt8Calibrator,
        inputs: Mapping[str, BatchType],
        left: Callable[[], Mapping[str, str]],
        reports: Reports,
    ) -> None:
        """inputs: in the network's order.  left: gives names of tensors that kernels pass on -> names of the network's with their elements."""
        self._theirs, self._inputs, self._left, self._reports = theirs, inputs, left, reports
        self.without_cache = False
        self.has_cache = self.has_batches = False
        self._cache = b""
        self._begun = False

    def get_algorithm(self) -> str:
        """CalibrationError for what is no CalibrationAlgoType."""
        kind = self._asked("get_algorithm", self._theirs.get_algorithm)
        if kind not in _ALGORITHMS:
            raise CalibrationError(
                f"{self._name}.get_algorithm gave {kind!r}; give a member of CalibrationAlgoType"
            )
        return _ALGORITHMS[kind]

    def get_percentile(self) -> float | None:
        """The quantile of a legacy calibrator in per cent."""
        if not isinstance(self._theirs, IInt8LegacyCalibrator):
            return None
        return 100 * float(self._asked("get_quantile", self._theirs.get_quantile))

    def get_batch(self, names: Sequence[str]) -> Mapping[str, np.ndarray] | None:
        """The arrays at a batch's addresses, copied: scripts use the memory again."""
        if not self._begun:
            self._begun = True
            self._asked("get_batch_size", self._theirs.get_batch_size)
        wanted = [*self._inputs]
        given = self._listed(self._asked("get_batch", lambda: self._theirs.get_batch(wanted)))
        if not given:
            if not self.has_batches:
                raise CalibrationError(f"{self._name}.get_batch gave no batch; give some, then None (or make a new object)")  # fmt: skip
            return None
        if len(given) != len(wanted):
            raise CalibrationError(
                f"{self._name}.get_batch gave {len(given)} addresses; the network has {len(wanted)} inputs: "
                f"{', '.join(wanted)}"
            )
        self.has_batches = True
        batch = {}
        for (name, (shape, dtype)), address in zip(self._inputs.items(), given, strict=True):
            what = f"input {name!r} of {self._name}.get_batch"
            batch[name] = array_at(_address(address, what), shape, dtype, what).copy()
        self._reports.verbose(f"calibrating on a batch of {self._name}")
        return batch

    def read_calibration_cache(self) -> bytes | None:
        """The ranges of an earlier build, but after `without_cache` was set."""
        if self.without_cache:
            return None
        cache = self._asked("read_calibration_cache", self._theirs.read_calibration_cache)
        try:
            found = None if cache is None else bytes(memoryview(cache))
        except TypeError:
            raise CalibrationError(
                f"{self._name}.read_calibration_cache gave {_short(cache)}; give bytes, or None"
            ) from None
        found = completed(found, self._left()) if found else found
        self.has_cache, self._cache = bool(found), found or b""
        return found

    def cached_tensors(self) -> set[str]:
        """The tensors that the cache which was read has ranges of; none if it is no cache."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ranges.cache"
            path.write_bytes(self._cache)
            try:
                return set(read_cache(path).ranges)
            except CalibrationError:
                return set()

    def write_calibration_cache(self, cache: bytes) -> None:
        """Hand the ranges over, under the network's names."""
        named = as_networks(cache, self._left())
        self._asked(
            "write_calibration_cache",
            lambda: self._theirs.write_calibration_cache(memoryview(named)),
        )

    def _listed(self, given: Any) -> list[Any]:
        """The addresses of a batch; none at the end."""
        if isinstance(given, str | bytes) or not isinstance(given, Iterable | None):
            raise CalibrationError(
                f"{self._name}.get_batch gave {_short(given)}; give a list of addresses, or None"
            )
        return [] if given is None else [*given]

    @property
    def _name(self) -> str:
        return type(self._theirs).__name__

    def _asked(self, method: str, call: Callable[[], T]) -> T:
        """What a method of the script's answers; CalibrationError for what it raises."""
        try:
            return call()
        except CamshaftError:
            raise
        except Exception as error:  # whatever a script does
            raise CalibrationError(
                f"{self._name}.{method} raised {type(error).__name__}: {error}"
            ) from error


def _address(value: Any, what: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise CalibrationError(f"{what} is {_short(value)}, must be an address") from None


def _short(value: Any) -> str:
    """A value as messages show it."""
    said = repr(value)
    return said if len(said) <= _MOST_SHOWN else f"a {type(value).__name__}"
