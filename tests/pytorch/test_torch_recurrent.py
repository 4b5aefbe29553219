"""Recurrent layers of PyTorch are recurrent layers here, and sizes have the names that users gave them."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

import camshaft.torch as ct  # noqa: E402
from camshaft.errors import ModelError, ShapeError  # noqa: E402

pytestmark = pytest.mark.peers
nn = torch.nn
QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}
BATCH, STEPS = torch.export.Dim("batch", min=1, max=8), torch.export.Dim("steps", min=1, max=20)


def sequence(steps: int, batch: int, seed: int = 0) -> Any:
    return torch.randn(steps, batch, 6, generator=torch.Generator().manual_seed(seed))


def close(got: Any, want: Any) -> None:
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "RNN relu"])
def test_layers(kind: str, layers: int, bidirectional: bool) -> None:
    torch.manual_seed(0)
    name, _, function = kind.partition(" ")
    more = {"nonlinearity": function} if function else {}
    model = getattr(nn, name)(6, 5, layers, bidirectional=bidirectional, dropout=0.1, **more).eval()
    fast = ct.compile(model, (sequence(4, 3),), dynamic_shapes=({0: STEPS, 1: BATCH},), **QUICK)
    assert all(s["kind"] == "kernel" for s in fast.engine.inspect()["steps"])
    with torch.no_grad():
        for steps, batch in ((4, 3), (1, 1), (17, 8)):
            close(fast(sequence(steps, batch)), model(sequence(steps, batch)))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_states_without_biases_and_with_the_batch_first(kind: str) -> None:
    torch.manual_seed(0)
    model = getattr(nn, kind)(6, 5, 2, bias=False, batch_first=True, bidirectional=True).eval()
    h = torch.randn(4, 3, 5)
    states = (h, torch.randn(4, 3, 5)) if kind == "LSTM" else h
    x = sequence(3, 7)
    with torch.no_grad():
        close(ct.compile(model, (x, states), **QUICK)(x, states), model(x, states))


@pytest.mark.parametrize("whole", [True, False])
def test_a_net_around_a_layer_through_dynamo(whole: bool) -> None:
    torch.compiler.reset()
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(6, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x: Any) -> Any:
            return torch.relu(self.head(self.gru(x)[0][:, -1]))

    model = Net().eval()
    fast = torch.compile(model, backend="camshaft", options=QUICK)
    with torch.no_grad(), torch._dynamo.config.patch(allow_rnn=whole):
        close(fast(sequence(3, 4)), model(sequence(3, 4)))


def test_projections_are_refused() -> None:
    with pytest.raises(ModelError, match="projections"):
        ct.compile(nn.LSTM(6, 5, proj_size=2).eval(), (sequence(3, 2),), **QUICK)


class Named(nn.Module):
    def forward(self, x: Any, more: dict[str, Any], scale: Any = None) -> Any:
        return torch.relu(x) * 2 + more["y"], scale + 1


@pytest.mark.parametrize("by_name", [False, True])
def test_sizes_have_the_names_of_dims(by_name: bool) -> None:
    rows = torch.export.Dim("rows", min=2, max=9)
    x, more, scale = torch.randn(3, 4), {"y": torch.randn(3, 4)}, torch.randn(5)
    shapes: Any = {"x": {0: rows}, "more": {"y": {0: rows}}, "scale": {0: STEPS}}
    fast = ct.compile(
        Named().eval(),
        (x, more),
        kwargs={"scale": scale},
        dynamic_shapes=shapes if by_name else tuple(shapes.values()),
        **QUICK,
    )
    assert set(fast.engine.symbols) == {"rows", "steps"}
    with pytest.raises(ShapeError, match="rows"):
        fast(torch.randn(10, 4), {"y": torch.randn(10, 4)}, scale=scale)
