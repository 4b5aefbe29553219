"""Tensors that lie in another order than that of their axes, as in torch.channels_last, go in and out without copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

import camshaft  # noqa: E402
import camshaft.torch as ct  # noqa: E402
from camshaft.frontends.torch.strides import inverse, order_of  # noqa: E402
from camshaft.torch.parts import EngineCall  # noqa: E402

pytestmark = pytest.mark.peers
QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}
LAST = torch.channels_last


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Addresses of the arrays that engines read."""
    found: list[int] = []
    feeds = EngineCall.feeds

    def watched(self: Any, args: Any) -> Any:
        made = feeds(self, args)
        found.extend(a.ctypes.data for a in made.values())
        return made

    monkeypatch.setattr(EngineCall, "feeds", watched)
    torch.compiler.reset()
    return found


def net() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(8, 5, 3)
    ).eval()


def images(count: int, layout: Any = LAST) -> Any:
    return torch.randn(count, 3, 9, 7).to(memory_format=layout)


def close(got: Any, want: Any) -> None:
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def kinds(engine: Any) -> list[str]:
    return [s["op"] for s in engine.inspect()["steps"]]


@torch.no_grad()
def test_images_are_read_and_written_where_they_lie(fed: list[int]) -> None:
    model, x = net(), images(2)
    fast = ct.compile(model, (x,), **QUICK)
    got = fast(x)
    close(got, model(x))
    assert fed == [x.data_ptr()]
    assert got.is_contiguous(memory_format=LAST)
    assert not any("transpose" in k or "copy" in k for k in kinds(fast.engine))
    other = images(2, torch.contiguous_format)  # copied, and computed all the same
    close(fast(other), model(other))


@torch.no_grad()
def test_open_sizes(fed: list[int]) -> None:
    model = net()
    batch = torch.export.Dim("batch", min=2, max=8)
    fast = ct.compile(model, (images(3),), dynamic_shapes=({0: batch},), **QUICK)
    for count in (2, 8):
        x = images(count)
        close(fast(x), model(x))
        assert fed.pop() == x.data_ptr()


@torch.no_grad()
def test_through_dynamo_and_between_parts(fed: list[int]) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = net(), torch.nn.Conv2d(5, 4, 3)

        def forward(self, x: Any) -> Any:
            y = torch.erfinv(torch.tanh(self.first(x)) * 0.9)  # stays in PyTorch
            z = y.permute(0, 2, 3, 1).view(2, 35, 5)  # which only channels last allow
            return torch.relu(self.second(y) * 2 + 1), torch.erfinv(torch.tanh(z) * 0.5)

    model, x = Net().eval(), images(2)
    fast = torch.compile(model, backend="camshaft", options=QUICK)
    close(fast(x), model(x))
    assert fed[0] == x.data_ptr()


@torch.no_grad()
def test_files_keep_the_axes_of_the_module(tmp_path: Any) -> None:
    model, x = net(), images(2)
    ct.export(model, (x,), tmp_path / "net.engine", **QUICK)
    engine = camshaft.load(tmp_path / "net.engine")
    assert engine.inputs["input"].shape == (2, 3, 9, 7)
    (got,) = engine(x.numpy()).values()
    np.testing.assert_allclose(got, model(x).numpy(), rtol=1e-5, atol=1e-5)


def test_orders() -> None:
    x = torch.empty(2, 3, 4, 5)
    assert order_of(x) is None
    assert order_of(x.to(memory_format=LAST)) == (0, 2, 3, 1)
    assert order_of(x.permute(2, 3, 0, 1)) == (2, 3, 0, 1)
    assert order_of(x[:, :2]) is None and order_of(x[0].mT[..., :2]) is None  # not dense
    assert order_of(torch.empty(3, 1).expand(3, 4)) is None
    assert order_of(torch.empty(2, 1, 4, 5).to(memory_format=LAST)) is None  # lies both ways
    assert order_of(torch.empty(1, 3, 4, 5).to(memory_format=LAST)) == (0, 2, 3, 1)
    assert order_of(torch.empty(0, 3, 4, 5).to(memory_format=LAST)) is None
    assert inverse((0, 2, 3, 1)) == (0, 3, 1, 2)
