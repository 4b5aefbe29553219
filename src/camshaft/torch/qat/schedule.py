"""What is held still while training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MethodType

from torch import nn

from camshaft.errors import ConfigError
from camshaft.quant.calibration.solvers import solvers_named
from camshaft.torch.qat.layers import BatchNorm
from camshaft.torch.quantizers import ActivationQuantizer, Quantizer, quantizers


def observe(model: nn.Module) -> None:
    """See what passes and quantize no activations, until `settle`."""
    for q in _activations(model):
        q.observe()


def settle(model: nn.Module, calibrator: str = "auto", percentile: float = 99.999) -> None:
    """Take ranges of what was seen since `observe`, and quantize again.

    CalibrationError where nothing was seen.
    """
    images, rows = solvers_named(calibrator, percentile)
    for q in _activations(model):
        q.settle(images, rows)


def freeze_ranges(model: nn.Module) -> None:
    """Let training change no range any more."""
    for q in _quantizers(model):
        q.freeze_range()


def freeze_statistics(model: nn.Module) -> None:
    """Let batch norms go by their running statistics, also in training."""
    _quantizers(model)
    for layer in model.modules():
        if isinstance(layer, BatchNorm):
            layer.frozen = True
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
            setattr(layer, "train", MethodType(_stay, layer))  # noqa: B010


def _stay(layer: nn.Module, mode: bool = True) -> nn.Module:
    """In place of `train`, of a layer that stays in evaluation."""
    return layer


def _activations(model: nn.Module) -> list[ActivationQuantizer]:
    return [q for q in _quantizers(model) if isinstance(q, ActivationQuantizer)]


def _quantizers(model: nn.Module) -> Sequence[Quantizer]:
    found = quantizers(model) if isinstance(model, nn.Module) else ()
    if not found:
        raise ConfigError("the module has no quantizers: give what qat.prepare made")
    return found


@dataclass
class Schedule:
    """Calls them at steps of training: `step()` once behind each of the optimizer's.

    observe: steps during which ranges are seen, before activations are quantized.  freeze_ranges, freeze_statistics: steps from which on
    ranges, and statistics of batch norms, are held still; None: never.
    ConfigError for numbers that are none, and for ranges that are held still before they are found.
    """

    model: nn.Module
    observe: int = 0
    freeze_ranges: int | None = None
    freeze_statistics: int | None = None
    taken: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        _quantizers(self.model)
        for name in ("observe", "freeze_ranges", "freeze_statistics"):
            steps = getattr(self, name)
            whole = isinstance(steps, int) and not isinstance(steps, bool) and steps >= 0
            if not whole and (steps is not None or name == "observe"):
                raise ConfigError(f"{name} is {steps!r}; it is a number of steps, from 0 on")
        if self.freeze_ranges is not None and self.freeze_ranges < self.observe:
            raise ConfigError(
                f"freeze_ranges is {self.freeze_ranges}, before observe={self.observe} steps have found ranges; give that at least"
            )
        if self.observe:
            observe(self.model)
        self._at()

    def step(self) -> None:
        """Count one step."""
        self.taken += 1
        if self.observe and self.taken == self.observe:
            settle(self.model)
        self._at()

    def _at(self) -> None:
        if self.taken == self.freeze_ranges:
            freeze_ranges(self.model)
        if self.taken == self.freeze_statistics:
            freeze_statistics(self.model)
