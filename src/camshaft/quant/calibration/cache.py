"""The calibration cache: ranges kept in a file, in TensorRT's text format; ranges set by hand.

Stands beside calibration: with a cache, a model is quantized again without its data.  The format:

    TRT-8601-EntropyCalibration2
    data: 3c010a14

A header that names version and calibrator, then one line for each tensor: its name (which may
hold colons), a colon and the bits of the float32 scale = amax / 127 as big-endian hex.

TensorRT knows symmetric ranges only.  For an interval [low, high] camshaft writes the line that
TensorRT expects, with the larger of |low| and |high|, and two more under names no tensor has,
whose hex are the bits of the bounds themselves, so that an interval comes back to the bit:

    conv1 [low]: be8e9132
    conv1 [high]: 40ed0000
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

from camshaft.atomic import write_atomically
from camshaft.errors import CalibrationError
from camshaft.quant.scheme import SMALLEST_SCALE

Range = float | tuple[float, float]  # amax, or (low, high)

# Our calibrators as TensorRT spells them.  It has no MSE; its Legacy calibrator is the quantile, which "auto"
# takes but for products of rows.
ALGORITHMS = {
    "auto": "LegacyCalibration",
    "entropy2": "EntropyCalibration2",
    "entropy": "EntropyCalibration",
    "minmax": "MinMaxCalibration",
    "percentile": "LegacyCalibration",
    "mse": "EntropyCalibration2",
}
_VERSION = 8601
_HEADER = re.compile(r"TRT-\d+-(" + "|".join(sorted(set(ALGORITHMS.values()))) + ")")
_HEX = re.compile(r"[0-9a-fA-F]{1,8}")
LOW, HIGH = " [low]", " [high]"
"""What lines of bounds have behind a tensor's name."""
_LARGEST = 3.4028234663852886e38  # of float32, which scales are made of


@dataclass(frozen=True)
class CalibrationCache:
    """What a cache file holds.

    algorithm: as the header has it, e.g. "EntropyCalibration2".
    ranges: tensor name -> amax, or (low, high) where camshaft wrote an interval.
    """

    algorithm: str
    ranges: Mapping[str, Range]


# --- reading ----------------------------------------------------------------------------------


def read_cache(path: str | os.PathLike[str]) -> CalibrationCache:
    """Read a calibration cache; CalibrationError names the file and the line at fault."""
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise CalibrationError(f"calibration cache {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CalibrationError(f"calibration cache {path} is not a text file: {error}") from None
    lines = text.split("\n")  # not splitlines: names may hold what it takes for line ends
    header = _HEADER.fullmatch(lines[0].rstrip("\r"))
    if header is None:
        raise CalibrationError(
            f"calibration cache {path} line 1: {_shown(lines[0])} is no known header, such as "
            f"TRT-{_VERSION}-EntropyCalibration2; delete the file and calibrate again"
        )
    if len(lines) == 1:  # what is left may be a shorter calibrator's name
        raise CalibrationError(f"calibration cache {path} line 1: no line end{_cut(last=True)}")
    entries: dict[str, float] = {}
    for number, line in enumerate(lines[1:], start=2):
        where = f"calibration cache {path} line {number}"
        entry = _entry(line.rstrip("\r"), where, last=number == len(lines))
        if entry is None:
            continue
        if entry[0] in entries:
            raise CalibrationError(f"{where}: tensor {entry[0]!r} occurs twice; keep one")
        entries[entry[0]] = entry[1]
    return CalibrationCache(header[1], _ranges(entries, path))


def _entry(line: str, where: str, last: bool) -> tuple[str, float] | None:
    """(name, value of the float) of one line; None for a blank one."""
    if not line.strip():
        return None
    name, colon, digits = line.rpartition(":")
    digits = digits.strip()
    if not (colon and name and _HEX.fullmatch(digits)):
        raise CalibrationError(f"{where}: {_shown(line)} is not 'name: hex'{_cut(last)}")
    if last and len(digits) < 8:
        # Leading zeros may be missing, but a line that also lacks its end was cut short.
        raise CalibrationError(f"{where}: {_shown(line)} ends inside the number{_cut(last)}")
    (value,) = struct.unpack(">f", bytes.fromhex(digits.zfill(8)))
    bound = name.endswith((LOW, HIGH))
    if not math.isfinite(value) or (not bound and math.copysign(1.0, value) < 0):
        raise CalibrationError(
            f"{where}: {name!r} has scale {value}, must be finite and not negative"
        )
    return name, value


def _ranges(entries: Mapping[str, float], path: object) -> dict[str, Range]:
    ranges: dict[str, Range] = {}
    for name, value in entries.items():
        if name.endswith((LOW, HIGH)):
            base = name.removesuffix(LOW).removesuffix(HIGH)
            missing = {base, base + LOW, base + HIGH} - set(entries)
            if missing:
                raise CalibrationError(
                    f"calibration cache {path}: {name!r} is there without {sorted(missing)}; "
                    "the file was cut or edited, calibrate again"
                )
            continue
        ranges[name] = value * 127.0
        if name + LOW in entries and name + HIGH in entries:
            low, high = entries[name + LOW], entries[name + HIGH]
            if low > high:
                raise CalibrationError(f"calibration cache {path}: {name!r} has low > high")
            ranges[name] = (low, high)
    return ranges


def _cut(last: bool) -> str:
    return "; the file seems to be cut short, calibrate again" if last else ""


def _shown(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:60] + "...")


# --- writing ----------------------------------------------------------------------------------


def write_cache(
    path: str | os.PathLike[str], ranges: Mapping[str, Range], calibrator: str = "entropy2"
) -> None:
    """Write a calibration cache that TensorRT and `read_cache` can read, in one step.

    ranges: tensor name -> amax, or (low, high); written in this order.
    calibrator: a name in ALGORITHMS, for the header.
    CalibrationError for a name or range that cannot be written, or if the file cannot be; a file
    that was there stays whole.
    """
    if calibrator not in ALGORITHMS:
        raise CalibrationError(f"calibrator {calibrator!r} is unknown; there is {list(ALGORITHMS)}")
    lines = [f"TRT-{_VERSION}-{ALGORITHMS[calibrator]}"]
    for name, value in ranges.items():
        if not name or "\n" in name or name.endswith((LOW, HIGH)):
            raise CalibrationError(f"a calibration cache cannot hold a tensor named {name!r}")
        amax = amax_of(name, value)
        scale = max(amax / 127.0, SMALLEST_SCALE) if amax else 0.0
        lines.append(f"{name}: {_hex(scale)}")
        if isinstance(value, tuple):
            lines += [f"{name}{LOW}: {_hex(value[0])}", f"{name}{HIGH}: {_hex(value[1])}"]
    try:
        write_atomically(path, ("\n".join(lines) + "\n").encode(), durable=True)
    except OSError as error:
        raise unwritable_cache(path, error) from error


def unwritable_cache(path: str | os.PathLike[str], error: OSError) -> CalibrationError:
    """The error for a cache file that cannot be written."""
    return CalibrationError(
        f"calibration cache {os.fspath(path)!r} cannot be written: {error.strerror or error}; "
        "choose a directory that exists, is writable and has room"
    )


def _hex(value: float) -> str:
    return struct.pack(">f", value + 0.0).hex()


# --- by hand ----------------------------------------------------------------------------------


def dynamic_ranges(given: Mapping[str, Range]) -> dict[str, float]:
    """Ranges set by hand: tensor name -> amax = max(|min|, |max|), as TensorRT takes them.

    given: tensor name -> amax or (min, max).  CalibrationError names a tensor whose range is not
    one: not finite, negative, min > max, or nothing but zero.
    """
    result = {}
    for name, value in given.items():
        result[name] = amax_of(name, value)
        if result[name] == 0:
            raise CalibrationError(f"dynamic range of {name!r} is {value!r}: it holds only zero")
    return result


def amax_of(name: str, value: Range) -> float:
    """max(|min|, |max|) of a range of tensor `name`; CalibrationError if it is not a range."""
    pair = isinstance(value, tuple | list)
    parts = tuple(value) if isinstance(value, tuple | list) else (value,)
    numbers = all(isinstance(p, Real) and not isinstance(p, bool) for p in parts)
    if not numbers or len(parts) != (2 if pair else 1):
        raise CalibrationError(f"range of {name!r} is {value!r}, must be a number or (min, max)")
    low, high = (float(p) for p in (parts if pair else (-parts[0], parts[0])))
    if not (-_LARGEST <= low <= high <= _LARGEST):
        raise CalibrationError(
            f"range of {name!r} is {value!r}: give a finite amax >= 0, or (min, max), min <= max"
        )
    return max(abs(low), abs(high))
