"""Arrays from files: inputs of a run, and batches of calibration data."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from camshaft.cli.shapes import typed_float
from camshaft.errors import BindingError, CalibrationError, CamshaftError, ConfigError
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.types import Shape, TensorType

Arrays = dict[str, np.ndarray]
Types = Mapping[str, TensorType]


def read_arrays(path: Path, fault: type[CamshaftError]) -> np.ndarray | Arrays:
    """What an .npy (an array) or .npz file (arrays by name) holds; raises `fault` naming the file."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise fault(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError):
        raise fault(
            f"{str(path)!r} is no .npy or .npz file of plain arrays, or it is damaged; write it "
            "with numpy.save or numpy.savez"
        ) from None


@dataclass(frozen=True)
class Given:
    """What the command line says of the inputs of a run.

    files: NAME=FILE.npy each, or just FILE.npy where there is one input; NAME=NUMBER for an input
    that is a scalar.  archive: an .npz of all.
    """

    files: Sequence[str] | None = None
    archive: Path | None = None

    def arrays(self, types: Types) -> Arrays | None:
        """The arrays by name, None if none are given; BindingError for what cannot be read."""
        if self.files and self.archive:
            raise ConfigError("--input and --inputs exclude each other")
        if self.archive:
            held = read_arrays(self.archive, BindingError)
            return held if isinstance(held, dict) else _only(types, held, self.archive)
        return _from_files(self.files, types) if self.files else None


def _from_files(files: Sequence[str], types: Types) -> Arrays:
    found: Arrays = {}
    for text in files:
        name, equals, file = text.partition("=")
        number = _number(file, types.get(name))
        if number is not None:
            found[name] = number
            continue
        path = Path(file if equals else text)
        if name in types and not types[name].shape and not os.path.exists(path):
            raise BindingError(
                f"{text[:80]!r}: {file[:80]!r} is neither a file nor a {types[name].dtype}"
            )
        held = read_arrays(path, BindingError)
        if isinstance(held, dict):
            raise BindingError(f"{str(path)!r} is an .npz archive; give it with --inputs")
        found.update({name: held} if equals else _only(types, held, path))
    return found


def _number(text: str, type_: TensorType | None) -> np.ndarray | None:
    """A scalar input's value as an array, None if the input is no scalar or the text no number."""
    if type_ is None or type_.shape:
        return None
    words = {"true": True, "false": False}
    try:
        if type_.dtype.kind == "b":
            value: float = words[text.lower()]
        else:
            value = int(text) if type_.dtype.is_int else typed_float(text)
    except (KeyError, ValueError):
        return None
    return np.asarray(value, type_.dtype.numpy) if type_.dtype.takes(value) else None


def _only(types: Types, array: np.ndarray, path: Path) -> Arrays:
    if len(types) != 1:
        raise BindingError(
            f"{str(path)!r} names no input, and there are {len(types)}: {', '.join(types)}; "
            "say which with --input NAME=FILE"
        )
    return {next(iter(types)): array}


def calibration_batches(
    source: Path, types: Types, fixed: Mapping[str, np.ndarray] | None = None
) -> Iterator[Arrays]:
    """Batches from a file, or from all .npz and .npy files of a folder in the order of their names.

    An array may hold several batches: it is then cut along its first axis, where the input's shape is
    fixed, or stacked with one axis more than the input has.  fixed: inputs that the build was given
    values of, which files may hold too.  CalibrationError names the file at fault.
    """
    for path in array_files(source):
        yield from batches_in(path, read_arrays(path, CalibrationError), types, fixed)


def batches_in(
    path: Path,
    held: np.ndarray | Arrays,
    types: Types,
    fixed: Mapping[str, np.ndarray] | None = None,
) -> Iterator[Arrays]:
    """The batches that one file holds; as `calibration_batches`."""
    if not isinstance(held, dict):
        if len(types) != 1:
            raise CalibrationError(
                f"{str(path)!r} holds one array, and the model has the inputs "
                f"{', '.join(types)}; give .npz files that name them"
            )
        held = {next(iter(types)): held}
    held = _without_fixed(path, held, fixed or {})
    unknown, missing = sorted(set(held) - set(types)), sorted(set(types) - set(held))
    if unknown or missing:
        told = "; arrays of labels are for --evaluate" if "labels" in unknown else ""
        raise CalibrationError(
            f"{str(path)!r} holds {', '.join(sorted(held))}; the model's inputs are {', '.join(sorted(types))}{told}"
        )
    pieces = {name: _pieces(path, name, a, types[name]) for name, a in held.items()}
    counts = {name: len(p) for name, p in pieces.items()}
    if len(set(counts.values())) > 1:
        raise CalibrationError(f"{str(path)!r} has different numbers of batches: {counts}")
    for batch in zip(*pieces.values(), strict=True):
        yield dict(zip(pieces, batch, strict=True))


def _without_fixed(path: Path, held: Arrays, fixed: Mapping[str, np.ndarray]) -> Arrays:
    for name, value in fixed.items():
        if name in held and not np.all(held[name] == value):
            raise CalibrationError(
                f"{str(path)!r} holds other values of {name!r} than the build was given (--values)"
            )
    return {name: array for name, array in held.items() if name not in fixed}


def array_files(source: Path) -> list[Path]:
    """A file, or all .npz and .npy files of a folder in the order of their names; CalibrationError where it has none."""
    if not source.is_dir():
        return [source]
    files = sorted(p for p in source.iterdir() if p.suffix in (".npz", ".npy"))
    if not files:
        raise CalibrationError(
            f"the folder {str(source)!r} holds no .npz or .npy file; calibration data are arrays "
            "as the model takes them, so convert pictures first"
        )
    return files


def _pieces(path: Path, name: str, array: np.ndarray, want: TensorType) -> np.ndarray:
    """The array with one axis more in front: its batches."""
    shape = want.shape
    if _fits(array.shape, shape):
        return array[None]
    if _fits(array.shape[1:], shape):
        return array
    if is_static(shape) and shape and array.shape[1:] == shape[1:] and not len(array) % shape[0]:
        return array.reshape(-1, *shape)
    raise CalibrationError(
        f"{str(path)!r}: {name!r} has the shape {list(array.shape)}, the model takes {want}"
    )


def _fits(shape: tuple[int, ...], want: Shape) -> bool:
    """Whether an array of this shape is one of the type's, open extents of any size."""
    return len(shape) == len(want) and all(
        a == b or not isinstance(b, int) for a, b in zip(shape, want, strict=True)
    )
