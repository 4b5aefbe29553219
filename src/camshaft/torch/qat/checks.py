"""What `prepare` is given: a module of float32 without quantizers, and calls."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from camshaft.errors import CalibrationError, ConfigError, ModelError
from camshaft.torch.quantizers import quantizers


def check_module(model: nn.Module) -> None:
    """ModelError for what is no module, or not one of float32 on the CPU; ConfigError for one with quantizers."""
    if not isinstance(model, nn.Module):
        raise ModelError(f"model is of type {type(model).__name__}; give a torch.nn.Module")
    if quantizers(model):
        raise ConfigError(
            "the module has quantizers already: give the module that it was prepared of"
        )
    for name, held in itertools.chain(model.named_parameters(), model.named_buffers()):
        if held.is_floating_point() and held.dtype != torch.float32:
            raise ModelError(f"{name!r} is {held.dtype}; give a float32 module: model.float()")
        if held.device.type != "cpu":
            raise ModelError(
                f"{name!r} is on {held.device}; give a module on the CPU: model.cpu(). What is prepared may be moved"
            )


def calls_of(calibration: Iterable[Any]) -> Sequence[tuple[Any, ...]]:
    """Calls as tuples of arguments.  CalibrationError where they are none, or the first has an empty batch."""
    if isinstance(calibration, Tensor) or not isinstance(calibration, Iterable):
        raise CalibrationError(
            f"calibration is of type {type(calibration).__name__}; give a list of calls, each a tuple of arguments or one tensor"
        )
    calls = [_arguments(number, call) for number, call in enumerate(calibration)]
    if not calls:
        raise CalibrationError("calibration has no call: give some arguments of the module")
    if any(isinstance(x, Tensor) and x.dim() and not x.shape[0] for x in calls[0]):
        raise CalibrationError(
            "call 0 of calibration has an empty tensor; give one with elements, since the module is exported with it"
        )
    return calls


def _arguments(number: int, call: Any) -> tuple[Any, ...]:
    if isinstance(call, Tensor):
        return (call,)
    if not isinstance(call, tuple | list):
        raise CalibrationError(
            f"call {number} of calibration (from 0) is of type {type(call).__name__}; give a tuple of positional arguments, or one tensor"
        )
    return tuple(call)
