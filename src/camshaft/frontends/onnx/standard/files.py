"""Models as files: one, or where that would be too large for one, with the weights in another beside it."""

from __future__ import annotations

import os
from pathlib import Path

from onnx import ModelProto, external_data_helper

from camshaft.atomic import write_atomically
from camshaft.errors import ConfigError

MOST_BYTES = (1 << 31) - (1 << 26)
"""Of weights within the file: a protobuf message has less than 2 GiB, nodes included."""
_SMALLEST_OUTSIDE = 1024


def weights_file(path: Path) -> Path:
    """Where weights go that the model's own file cannot hold."""
    return path.with_name(f"{path.name}.data")


def write_model(model: ModelProto, path: Path, most: int = MOST_BYTES) -> int:
    """Write the model; returns the bytes of its files.

    most: bytes of weights that go into the file itself.  Beyond it they go into `weights_file(path)`; the model's
    file is written last, in one step.
    ConfigError where the system refuses a file.
    """
    weights = sum(len(t.raw_data) for t in model.graph.initializer)
    try:
        if weights <= most:
            data = model.SerializeToString()
            write_atomically(path, data)
            return len(data)
        beside = weights_file(path)
        external_data_helper.convert_model_to_external_data(
            model, location=beside.name, size_threshold=_SMALLEST_OUTSIDE
        )
        beside.unlink(missing_ok=True)  # tensors are appended to what is there
        external_data_helper.write_external_data_tensors(model, str(path.parent))
        data = model.SerializeToString()
        write_atomically(path, data)
        return len(data) + os.path.getsize(beside)
    except OSError as error:
        raise unwritable_model(path, error) from error


def unwritable_model(path: Path, error: OSError) -> ConfigError:
    """The error for a model that cannot be written."""
    return ConfigError(
        f"cannot write the ONNX file {str(path)!r}: {error.strerror or error}; choose a directory that exists, is "
        "writable and has room"
    )
