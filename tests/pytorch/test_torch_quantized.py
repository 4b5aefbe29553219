"""Models that PyTorch's own tools quantized: fake quantization of torch.ao, and pt2e's pairs of quantize and dequantize."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")


import camshaft.torch as ct  # noqa: E402
from camshaft.errors import ModelError  # noqa: E402
from camshaft.frontends.torch.importer import import_program  # noqa: E402
from camshaft.ir.interpret import interpret  # noqa: E402

pytestmark = pytest.mark.peers
import_module("torch.ao.quantization.fx._decomposed")  # registers pt2e's operators
QUICK: dict[str, Any] = {"precision": {"int8"}, "optimization_level": 1, "threads": 1}
pt2e = torch.ops.quantized_decomposed
per_tensor, per_channel = (
    torch.fake_quantize_per_tensor_affine,
    torch.fake_quantize_per_channel_affine,
)


class Faked(torch.nn.Module):
    """Fake quantization with levels of a byte, of seven bits, and of each output channel."""

    def __init__(self, narrow: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.ends = (0, 127) if narrow else (0, 255)

    def forward(self, x: Any) -> Any:
        low, high = self.ends
        x = per_tensor(x, 0.03, 60, low, high)
        w = self.conv.weight
        w = per_channel(w, torch.full((8,), 0.002), torch.zeros(8), 0, -127, 127)
        y = torch.relu(torch.nn.functional.conv2d(x, w, self.conv.bias, padding=1))
        return per_tensor(y, 0.01, 0, low, high)


class Pairs(torch.nn.Module):
    """What pt2e writes."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.register_buffer(
            "w", torch.from_numpy(rng.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8))
        )
        self.register_buffer("s", torch.from_numpy(rng.uniform(0.001, 0.01, 8).astype(np.float32)))
        self.register_buffer("z", torch.zeros(8, dtype=torch.int64))

    def forward(self, x: Any) -> Any:
        q = pt2e.quantize_per_tensor(x, 0.03, -5, -128, 127, torch.int8)
        x = pt2e.dequantize_per_tensor(q, 0.03, -5, -128, 127, torch.int8)
        w = pt2e.dequantize_per_channel(self.w, self.s, self.z, 0, -127, 127, torch.int8)
        y = torch.relu(torch.nn.functional.conv2d(x, w))
        q = pt2e.quantize_per_tensor(y, 0.02, 0, 0, 255, torch.uint8)
        return pt2e.dequantize_per_tensor(q, 0.02, 0, 0, 255, torch.uint8)


@pytest.mark.parametrize(
    "model", [Faked(False), Faked(True), Pairs()], ids=["fake", "narrow", "pt2e"]
)
def test_they_are_read_as_levels(model: Any) -> None:
    model.eval()
    x = 3 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = model(x).numpy()
    program = import_program(torch.export.export(model, (x,)))
    made = interpret(program.imported.graphs[0], {program.inputs[0]: x.numpy()})
    step = np.diff(np.unique(want)).min()
    for got in (next(iter(made.values())), ct.compile(model, (x,), **QUICK)(x).numpy()):
        far = np.abs(got - want)
        assert far.max() <= 1.01 * step
        assert (far > 0.01 * step).mean() <= 0.002


@pytest.mark.parametrize("model", [Faked(False), Pairs()], ids=["fake", "pt2e"])
def test_their_products_are_of_integers(model: Any) -> None:
    engine = ct.compile(model.eval(), (torch.randn(2, 3, 8, 8),), **QUICK).engine
    assert any(s.get("precision") == "u8" for s in engine.inspect()["steps"])


def test_a_scale_that_is_computed_is_refused() -> None:
    class Dynamic(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return per_tensor(x, x.abs().max() / 127, torch.zeros((), dtype=torch.int32), -128, 127)

    with pytest.raises(ModelError, match="computed as the model runs"):
        ct.compile(Dynamic().eval(), (torch.randn(2, 3),), **QUICK)
