"""Normalization over axes or groups of channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call, axes_of
from camshaft.tensorrt.network.element_types import FLOAT
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import Param, member, number, whole
from camshaft.tensorrt.network.tensor import ITensor


class INormalizationLayer(ILayer):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias."""

    _kind = LayerType.NORMALIZATION
    _most = 3
    epsilon = Param(number, "Put to the variance.")
    axes = Param(whole, "A bit for each axis that mean and variance are over.")
    num_groups = Param(whole, "Groups of channels, each with mean and variance of its own.")
    compute_precision = Param(member(DataType), "Kept, without effect.")

    @property
    def is_v2(self) -> bool:
        """Whether scale and bias of groups are by channel; else by group."""
        return bool(self._record.param("is_v2"))

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, x, scale, bias = call.net, call.input(0), call.input(1), call.input(2)
        axes, epsilon, groups = axes_of(call["axes"]), call["epsilon"], call["num_groups"]
        if not axes or axes[-1] >= x.rank:
            raise ModelError(f"axes={call['axes']:#b} must have bits below bit {x.rank}")
        call.same_ranks(x, scale, bias)
        if groups != 1:
            return [_grouped(call, x, scale, bias)]
        first = axes[0]
        if axes == [*range(first, x.rank)]:
            if first == 2 and _ones(scale.shape, 1) and scale.shape == bias.shape:
                flat = [net.reshape(t, [-1]) for t in (scale, bias)]
                if scale.shape[1] == x.shape[1]:
                    return [net.instance_norm(x, *flat, epsilon=epsilon, name=call.name)]
            if scale.shape[first:] == x.shape[first:] and set(scale.shape[:first]) <= {1}:
                shaped = [net.reshape(t, np.asarray(t.shape[first:])) for t in (scale, bias)]
                return [net.layer_norm(x, *shaped, axis=first, epsilon=epsilon, name=call.name)]
        return [net.add(net.mul(_plain(call, x, axes), scale), bias, name=call.name)]


def _ones(shape: tuple[int | str, ...], but: int) -> bool:
    """Whether all extents are 1, but for that of one axis."""
    return all(d == 1 for i, d in enumerate(shape) if i != but)


def _plain(call: Call, x: Tensor, axes: Sequence[int]) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) over axes."""
    net = call.net
    centered = net.sub(x, net.mean(x, axes, keep=True))
    variance = net.mean(net.mul(centered, centered), axes, keep=True)
    return net.div(centered, net.sqrt(net.add(variance, call["epsilon"])))


def _grouped(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Normalize groups of channels; scale and bias have an element for each group, or for each channel in v2."""
    net, groups = call.net, call["num_groups"]
    if axes_of(call["axes"]) != [*range(2, x.rank)]:
        raise ModelError(f"axes={call['axes']:#b}: groups take all axes behind that of channels")
    parted = net.reshape(x, [0, groups, -1])
    made = _plain(call, parted, [2])
    if not call["is_v2"]:
        made = net.add(
            net.mul(made, net.reshape(scale, [1, groups, 1])), net.reshape(bias, [1, groups, 1])
        )
        return net.reshape(made, net.shape(x), name=call.name)
    whole_again = net.reshape(made, net.shape(x))
    return net.add(net.mul(whole_again, scale), bias, name=call.name)


@reported(None)
def add_normalization(
    self: Graph, input: ITensor, scale: ITensor, bias: ITensor, axesMask: int
) -> INormalizationLayer:
    """Normalize over the axes whose bits are set.  scale, bias: of the input's rank, extents equal or 1."""
    return _normalization(self, [input, scale, bias], axesMask, False)


@reported(None)
def add_normalization_v2(
    self: Graph, input: ITensor, scale: ITensor, bias: ITensor, axesMask: int
) -> INormalizationLayer:
    """As `add_normalization`; of groups, scale and bias are by channel."""
    return _normalization(self, [input, scale, bias], axesMask, True)


def _normalization(
    graph: Graph, inputs: list[ITensor], axes: int, is_v2: bool
) -> INormalizationLayer:
    return graph._add(
        INormalizationLayer,
        inputs,
        epsilon=1e-5,
        axes=whole(axes, "axesMask"),
        num_groups=1,
        compute_precision=FLOAT,
        is_v2=is_v2,
    )
