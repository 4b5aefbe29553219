"""Modules that fake-quantize an activation or a weight with the engine's parameters (see `quant.scheme`)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.nn.utils import parametrize

from camshaft.errors import CalibrationError, ConfigError
from camshaft.frontends.torch.dtypes import array_of
from camshaft.quant.calibration.observers import Observer
from camshaft.quant.calibration.solvers import Solver
from camshaft.quant.scheme import SMALLEST_SCALE
from camshaft.torch.fake import fake_quantize

RANGES = ("fixed", "learned", "clipped")
"""What training does to a range: nothing; LSQ's gradient; that of PACT."""


class Quantizer(nn.Module):
    """What activations' and weights' quantizers share: levels, and parameters that an export holds still.

    first, last: least and greatest level.  axis: along which there are scales; None: one for all.
    """

    scale: Tensor | None
    zero_point: Tensor | None

    def __init__(self, first: int, last: int, axis: int | None, ranges: str) -> None:
        super().__init__()
        self.first, self.last, self.axis, self.ranges = first, last, axis, ranges
        self.frozen = False
        self.register_buffer("scale", None, persistent=False)
        self.register_buffer("zero_point", None, persistent=False)

    def freeze_range(self) -> None:
        """Let training change the range no more."""
        self.frozen = True
        for parameter in self.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None

    def get_extra_state(self) -> Tensor:
        """Whether the range is frozen."""
        return torch.tensor(self.frozen)

    def set_extra_state(self, state: Tensor) -> None:
        """Freeze the range, or let training change it again."""
        if bool(state):
            self.freeze_range()
            return
        self.frozen = False
        for parameter in self.parameters():
            parameter.requires_grad_(self.ranges != "fixed")

    def parameters_for(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point for quantizing x."""
        raise NotImplementedError

    def _held(self, scale: Tensor, zero_point: Tensor) -> None:
        self.scale, self.zero_point = scale.detach().clone(), zero_point.detach().clone()

    def _quantized(self, x: Tensor) -> Tensor:
        if self.scale is not None and self.zero_point is not None:
            scale, zero_point = self.scale, self.zero_point
        else:
            scale, zero_point = self.parameters_for(x)
        inner = self.ranges == "learned"
        axis = 0 if self.axis is None else self.axis
        return fake_quantize(x, scale, zero_point, self.first, self.last, axis, inner)


class ActivationQuantizer(Quantizer):
    """Fake-quantizes tensors that share one range.

    low, high: its ends, float32 [], which training learns where `ranges` is not "fixed".  symmetric: signed levels around zero, of
    which the range is +-high; otherwise u8 with a zero point.  rows: whether they are read as rows, each a vector to be multiplied, of
    which calibration may clip none.  name: for error messages.
    While `observing`, what passes is seen and left as it is.
    """

    low: nn.Parameter
    high: nn.Parameter

    def __init__(self, name: str, ranges: str, *, symmetric: bool, rows: bool) -> None:
        super().__init__(*((-128, 127) if symmetric else (0, 255)), None, ranges)
        self.name, self.symmetric, self.rows = name, symmetric, rows
        self.low = nn.Parameter(torch.zeros(()), requires_grad=ranges != "fixed")
        self.high = nn.Parameter(torch.ones(()), requires_grad=ranges != "fixed")
        self.observing = False
        self._seen: Observer | None = None

    def observe(self) -> None:
        """See what passes from now on, nothing of before."""
        self.observing, self._seen = True, Observer(self.name)

    def settle(self, images: Solver, rows: Solver) -> None:
        """Take the range of what was seen; CalibrationError where that is nothing."""
        solver = rows if self.rows else images
        if self._seen is None:
            return
        if not self._seen.count:
            raise CalibrationError(
                f"nothing passed {self.name!r}: give calibration calls that reach it, or name its module in keep_float"
            )
        if self.symmetric:
            high = solver.amax(self._seen)
            low = -high
        else:
            low, high = solver.affine(self._seen)
        with torch.no_grad():
            self.low.fill_(min(low, 0.0))
            self.high.fill_(max(high, 0.0))
        self.observing, self._seen = False, None

    def hold(self) -> None:
        """Keep the parameters of now as constants, for an export."""
        self._held(*self.parameters_for(self.low))

    def parameters_for(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point, float32 [], with gradients for the ends that do not grow with x."""
        count = x.numel() / max(1, x.shape[0] if x.dim() else 1)
        learned = self.training and self.ranges == "learned"
        gradient = 1.0 / math.sqrt(max(1.0, count) * self.last) if learned else 1.0
        low, high = (_scaled(p, gradient) for p in (self.low, self.high))
        if self.symmetric:
            return _invertible(high.abs() / self.last), torch.zeros_like(high)
        low, high = torch.clamp(low, max=0.0), torch.clamp(high, min=0.0)
        scale = _invertible((high - low) / (self.last - self.first))
        exact = torch.clamp(self.first - low / scale, self.first, self.last)
        return scale, exact + (torch.round(exact) - exact).detach()

    def forward(self, x: Tensor) -> Tensor:
        if self.observing:
            assert self._seen is not None
            self._seen.update(array_of(x))
            return x
        return self._quantized(x)


class WeightQuantizer(Quantizer):
    """Fake-quantizes a weight, symmetric, with a scale for each output channel.

    bits: 2 to 8; levels are +-(2^(bits-1) - 1).  Where ranges are "fixed", scales follow the weight: its largest magnitude is the last level;
    otherwise they are learned, from the least squared error on.
    """

    size: nn.Parameter | None

    def __init__(self, weight: Tensor, bits: int, axis: int | None, ranges: str) -> None:
        last = 2 ** (bits - 1) - 1
        super().__init__(-last, last, axis, ranges)
        self.bits = bits
        if ranges == "fixed":
            self.register_parameter("size", None)
        else:
            with torch.no_grad():
                self.size = nn.Parameter(self._least_error(weight))

    def hold(self, weight: Tensor) -> None:
        """Keep the scales of this weight as constants, for an export."""
        self._held(*self.parameters_for(weight))

    def forward(self, weight: Tensor) -> Tensor:
        return self._quantized(weight)

    def parameters_for(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and zero points, float32 [] or [K]."""
        if self.size is None:
            scale = self._following(weight)
        else:
            per_scale = weight.numel() / max(1, self.size.numel())
            gradient = 1.0 / math.sqrt(per_scale * self.last)
            scale = _invertible(_scaled(self.size, gradient).abs())
        return scale, torch.zeros_like(scale)

    def _following(self, weight: Tensor) -> Tensor:
        others = [a for a in range(weight.dim()) if a != self.axis]
        return _invertible(weight.detach().abs().amax(others) / self.last)

    def _least_error(self, weight: Tensor) -> Tensor:
        """Of scales from a fifth of the largest magnitude to all of it, those of the least squared error."""
        whole = self._following(weight)
        axis = 0 if self.axis is None else self.axis
        others = [a for a in range(weight.dim()) if a != self.axis]
        best, least = whole.clone(), torch.full_like(whole, math.inf)
        for part in torch.linspace(0.2, 1.0, 33).tolist():
            scale = _invertible(whole * part)
            made = fake_quantize(
                weight, scale, torch.zeros_like(scale), self.first, self.last, axis, False
            )
            error = ((made - weight) ** 2).sum(others)
            better = error < least
            best, least = torch.where(better, scale, best), torch.where(better, error, least)
        return best


def quantizers(model: nn.Module) -> Sequence[Any]:
    """All quantizers of a model, each once."""
    return [m for m in model.modules() if isinstance(m, Quantizer)]


def held(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose scales and zero points are constants, as exports want it.

    ConfigError for a module that is observed.
    """
    made = copy.deepcopy(model).eval()
    for q in quantizers(made):
        if isinstance(q, ActivationQuantizer):
            if q.observing:
                raise ConfigError(
                    f"{q.name!r} is still observed, so that it has no range: call qat.settle(model) first"
                )
            q.hold()
    with torch.no_grad():
        for part in [m for m in made.modules() if isinstance(m, GraphModule)]:
            for node in part.graph.nodes:
                layer = part.get_submodule(node.target) if node.op == "call_module" else None
                if isinstance(layer, WeightQuantizer):
                    layer.hold(constant(part, node.args[0]))
        _hold_parametrized(made)
    return made


def _hold_parametrized(model: nn.Module) -> None:
    """Keep scales of quantizers that are parametrizations; what other parametrizations make of a weight before them becomes the weight."""
    found = []
    for layer in model.modules():
        if parametrize.is_parametrized(layer):
            lists: Any = layer.parametrizations
            for name, steps in lists.items():
                for quantizer in (s for s in steps if isinstance(s, WeightQuantizer)):
                    found.append((lists, name, quantizer, _given(layer, name, quantizer)))
    for lists, name, quantizer, weight in found:
        quantizer.hold(weight)
        if len(lists[name]) > 1:
            lists[name] = parametrize.ParametrizationList([quantizer], nn.Parameter(weight))


def _given(layer: nn.Module, name: str, quantizer: WeightQuantizer) -> Tensor:
    """What a quantizer among the parametrizations of a weight is given."""
    seen: list[Tensor] = []
    hook = quantizer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    getattr(layer, name)
    hook.remove()
    return seen[0].detach().clone()


def constant(module: GraphModule, node: Node) -> Tensor:
    """The value of a node that hangs on parameters and buffers alone."""
    known: dict[Node, Any] = {}

    def value(of: Node) -> Any:
        if of not in known:
            args, kwargs = map_arg(of.args, value), map_arg(of.kwargs, value)
            if of.op == "get_attr":
                known[of] = attribute(module, str(of.target))
            elif isinstance(of.target, str):
                known[of] = module.get_submodule(of.target)(*args, **kwargs)
            else:
                known[of] = of.target(*args, **kwargs)
        return known[of]

    found = value(node)
    assert isinstance(found, Tensor)
    return found


def attribute(module: nn.Module, path: str) -> Tensor:
    """A parameter or buffer."""
    owner, _, name = path.rpartition(".")
    found = getattr(module.get_submodule(owner), name)
    assert isinstance(found, Tensor)
    return found


def _scaled(parameter: Tensor, gradient: float) -> Tensor:
    """The same number, with its gradient multiplied."""
    if gradient == 1.0:
        return parameter
    return (parameter - parameter * gradient).detach() + parameter * gradient


def _invertible(scale: Tensor) -> Tensor:
    """Scales as `quant.scheme` has them: 1 in place of 0, and none whose reciprocal overflows."""
    return torch.where(scale == 0, torch.ones_like(scale), scale.clamp(min=float(SMALLEST_SCALE)))
