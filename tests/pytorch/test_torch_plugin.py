"""Custom operators of PyTorch that are plugins of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camshaft

torch: Any = pytest.importorskip("torch")
import camshaft.torch  # noqa: E402
from leaky_plugin import leaky_plugin  # noqa: E402


def operator(name: str) -> Any:
    @torch.library.custom_op(name, mutates_args=())
    def leak(x: torch.Tensor, slope: float = 0.1) -> torch.Tensor:
        return torch.where(x > 0, x, x * slope)

    leak.register_fake(lambda x, slope=0.1: torch.empty_like(x))
    return leak


LEAK = operator("camshaft_test::leak")


class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        return self.linear(LEAK(self.linear(x), 0.25)) + LEAK(x)


@pytest.fixture
def plugin() -> camshaft.Plugin:
    return leaky_plugin("camshaft_test::leak", "language")


def test_exported_programs_have_the_plugin(plugin: camshaft.Plugin, tmp_path: Path) -> None:
    net, x = Net().eval(), torch.randn(3, 8)
    engine = camshaft.torch.export(
        net,
        (x,),
        tmp_path / "net.engine",
        dynamic_shapes=({0: torch.export.Dim("n")},),
        optimization_level=0,
    )
    assert sum(s.op == "plugin" for s in engine.manifest.notes) == 2
    for rows in (3, 5):
        feed = torch.randn(rows, 8)
        (got,) = engine({next(iter(engine.inputs)): feed.numpy()}).values()
        np.testing.assert_allclose(got, net(feed).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_compiled_modules_have_the_plugin(plugin: camshaft.Plugin) -> None:
    net, x = Net().eval(), torch.randn(3, 8)
    compiled = torch.compile(net, backend="camshaft", options={"optimization_level": 0})
    calls = []
    reference = plugin.reference

    def counted(*arrays: Any, **attrs: Any) -> Any:
        calls.append(1)
        return reference(*arrays, **attrs)

    plugin.reference, plugin.kernels = counted, []
    with torch.no_grad():
        np.testing.assert_allclose(compiled(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)
    assert len(calls) == 2


def test_tensors_stand_in_the_order_of_the_schema() -> None:
    @torch.library.custom_op("camshaft_test::mix", mutates_args=())
    def mix(x: torch.Tensor, k: int = 2, b: torch.Tensor | None = None) -> torch.Tensor:
        return x * k if b is None else x * k + b

    mix.register_fake(lambda x, k=2, b=None: torch.empty_like(x))

    @camshaft.plugin("camshaft_test::mix", attributes={"k": 2})
    def plugin(x: np.ndarray, b: np.ndarray | None = None, *, k: int) -> np.ndarray:
        return x * np.float32(k) + (np.float32(0) if b is None else b)

    class Mixed(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return mix(x, 3, x + 10), mix(x, b=x[:, 0]), mix(x, 5), mix(x)

    net, x = Mixed().eval(), torch.randn(4, 4)
    whole = camshaft.torch.compile(net, (x,), optimization_level=0)
    assert sum(s.op == "plugin" for s in whole.engine.manifest.notes) == 4
    for got, wanted in zip(whole(x), net(x), strict=True):
        torch.testing.assert_close(got, wanted)
