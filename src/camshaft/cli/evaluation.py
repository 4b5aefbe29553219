"""What accuracy is, from the command line: labelled arrays in files, or functions of a user's modules."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from camshaft.accuracy.judges.judge import Run
from camshaft.cli.arrays import Arrays, Types, array_files, batches_in, read_arrays
from camshaft.errors import CalibrationError, CamshaftError, ConfigError

LABELS = "labels"
BOXES = "boxes"
OF_BOXES = ("iscrowd", "area")
"""Names of arrays of labels in an .npz file, unless the model has inputs of these names: classes; of a detector also boxes and what COCO
says of them."""


def evaluation_of(
    text: str, types: Types, fixed: Mapping[str, np.ndarray]
) -> Callable[[Run], float] | list[Any]:
    """What `--evaluate` says: a function, pairs (inputs, labels), or inputs.

    types, fixed: of the model's inputs, as for calibration data.
    """
    if _names_function(text):
        return function_of(
            "--evaluate",
            text,
            "`run` (inputs by name -> outputs by name) and returns a number, larger is better",
        )
    samples: list[Any] = []
    for path in array_files(Path(text)):
        held = read_arrays(path, CalibrationError)
        labels: Arrays = {}
        if isinstance(held, dict) and LABELS in held:
            names = {LABELS, BOXES, *(OF_BOXES if BOXES in held else ())} - set(types)
            labels = {n: held.pop(n) for n in names if n in held}
        batches = list(batches_in(path, held, types, fixed))
        if LABELS not in labels:
            samples += batches
        elif BOXES in labels:
            samples += zip(batches, _boxes(path, labels, len(batches)), strict=True)
        else:
            samples += zip(batches, _classes(path, labels[LABELS], len(batches)), strict=True)
    if len({isinstance(s, tuple) for s in samples}) > 1:
        raise CalibrationError(f"{text!r}: some files hold {LABELS!r} and some do not")
    return samples


def decode_of(text: str) -> Callable[..., Any]:
    """What `--decode` says."""
    return function_of("--decode", text, "outputs by name and returns (boxes, scores, labels)")


def _classes(path: Path, labels: np.ndarray, batches: int) -> np.ndarray:
    """Labels of each batch."""
    if labels.size % max(batches, 1):
        raise CalibrationError(
            f"{str(path)!r} has {labels.size} labels for {batches} batches; give one for each row of scores"
        )
    return labels.reshape(batches, -1)


def _boxes(path: Path, labels: Arrays, batches: int) -> list[Arrays]:
    """Boxes of each batch, and what is said of them."""
    if labels[BOXES].ndim == 2 and batches == 1:
        return [labels]
    pictures = {len(a) if a.ndim else 0 for a in labels.values()}
    (count,) = pictures if len(pictures) == 1 else (0,)
    if labels[BOXES].ndim != 3 or not count or count % batches:
        shapes = ", ".join(f"{n} {list(a.shape)}" for n, a in labels.items())
        raise CalibrationError(
            f"{str(path)!r} has {shapes} for {batches} batches; give {BOXES} [pictures, n, 4] and {LABELS} [pictures, n], "
            "where a label of -1 is none"
        )
    share = count // batches
    return [{n: a[i * share : (i + 1) * share] for n, a in labels.items()} for i in range(batches)]


def _names_function(text: str) -> bool:
    return ":" in text and not Path(text).exists()


def function_of(option: str, text: str, takes: str) -> Callable[..., Any]:
    """A function of a module that is found from the working directory, too.  takes: what it is given and returns, in words."""
    module, _, name = text.rpartition(":")
    if not module:
        raise ConfigError(f"{option} {text!r}: give MODULE:FUNCTION; the function takes {takes}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ConfigError(f"{option} {text!r}: cannot import {module!r}: {error}") from error
    if not callable(found):
        raise ConfigError(
            f"{option} {text!r}: {module!r} has no function {name!r}; it takes {takes}"
        )
    return _told(option, text, found)


def _told(option: str, text: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose errors become ConfigError: it is no part of camshaft."""

    @functools.wraps(function)
    def called(given: Any) -> Any:
        try:
            return function(given)
        except CamshaftError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            raise ConfigError(
                f"{option} {text!r}: the function raised {said}; --debug shows where"
            ) from error

    return called
