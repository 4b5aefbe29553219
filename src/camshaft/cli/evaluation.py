"""What accuracy is, from the command line: labelled arrays in files, or a function of a user's module."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from camshaft.accuracy.judges.judge import Run
from camshaft.cli.arrays import Types, array_files, batches_in, read_arrays
from camshaft.errors import CalibrationError, ConfigError

LABELS = "labels"
"""Name of the array of labels in an .npz file, unless the model has an input of that name."""


def evaluation_of(
    text: str, types: Types, fixed: Mapping[str, np.ndarray]
) -> Callable[[Run], float] | list[Any]:
    """What `--evaluate` says: a function, pairs (inputs, labels), or inputs.

    types, fixed: of the model's inputs, as for calibration data.
    """
    module, colon, function = text.rpartition(":")
    if colon and not Path(text).exists():
        return _function(text, module, function)
    source = Path(text)
    samples: list[Any] = []
    for path in array_files(source):
        held = read_arrays(path, CalibrationError)
        has_labels = isinstance(held, dict) and LABELS in held and LABELS not in types
        labels = held.pop(LABELS) if has_labels and isinstance(held, dict) else None
        batches = list(batches_in(path, held, types, fixed))
        if labels is None:
            samples += batches
            continue
        if labels.size % max(len(batches), 1):
            raise CalibrationError(
                f"{str(path)!r} has {labels.size} labels for {len(batches)} batches; give one for each row of scores"
            )
        samples += zip(batches, labels.reshape(len(batches), -1), strict=True)
    if len({isinstance(s, tuple) for s in samples}) > 1:
        raise CalibrationError(f"{text!r}: some files hold {LABELS!r} and some do not")
    return samples


def _function(text: str, module: str, name: str) -> Callable[[Run], float]:
    """A function of a module that is found from the working directory, too."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ConfigError(f"--evaluate {text!r}: cannot import {module!r}: {error}") from error
    if not callable(found):
        raise ConfigError(
            f"--evaluate {text!r}: {module!r} has no function {name!r}; it takes `run` (inputs by name -> outputs by "
            "name) and returns a number, larger is better"
        )
    function: Callable[[Run], float] = found
    return function
