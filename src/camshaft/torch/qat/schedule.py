"""What is held still while training goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MethodType

from torch import nn

from camshaft.quant.calibration.solvers import solvers_named
from camshaft.torch.qat.layers import BatchNorm
from camshaft.torch.quantizers import ActivationQuantizer, quantizers


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
    for q in quantizers(model):
        q.freeze_range()


def freeze_statistics(model: nn.Module) -> None:
    """Let batch norms go by their running statistics, also in training."""
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
    return [q for q in quantizers(model) if isinstance(q, ActivationQuantizer)]


@dataclass
class Schedule:
    """Calls them at steps of training: `step()` once behind each of the optimizer's.

    observe: steps during which ranges are seen, before activations are quantized.  freeze_ranges, freeze_statistics: steps from which on
    ranges, and statistics of batch norms, are held still; None: never.
    """

    model: nn.Module
    observe: int = 0
    freeze_ranges: int | None = None
    freeze_statistics: int | None = None
    taken: int = field(default=0, init=False)

    def __post_init__(self) -> None:
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
