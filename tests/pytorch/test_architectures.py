"""The benchmark of architectures: what it says of nets that run whole, are split, or are wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

from benchmarks.architectures.__main__ import report  # noqa: E402
from benchmarks.architectures.check import check, difference  # noqa: E402
from benchmarks.architectures.net import SMALL, Architecture, Made, spread  # noqa: E402

pytestmark = pytest.mark.peers


class Net(torch.nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.how = torch.nn.Linear(6, 6), how

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.first(x)) * 2 + 1
        if self.how == "split":
            y = torch.erfinv(torch.tanh(y) * 0.9) * 3 + 1
        if self.how == "broken":
            raise ValueError("broken")
        return {"y": torch.sigmoid(y * 2 + 3)}


def net(how: str) -> Architecture:
    return Architecture(how, "ours", lambda scale: Made(Net(how), (torch.randn(8, 6),)))


def test_results() -> None:
    results = {how: check(net(how), SMALL, 1) for how in ("whole", "split", "broken")}
    assert [r["form"] for r in results.values()] == ["whole", "split", "failed"]
    assert results["whole"]["difference"] < 1e-5
    assert results["split"]["engines"] >= 1
    assert any("erfinv" in name for name in results["split"]["left"])
    assert "broken" in results["broken"]["why"]
    text = report(results, {})
    assert "3 nets: 1 whole, 1 split, 1 failed" in text and "erfinv" in text


def test_differences() -> None:
    x = torch.tensor([1.0, -4.0])
    assert difference({"a": x}, {"a": x.clone()}) == 0
    assert difference([x + 0.4], [x]) == pytest.approx(0.1)
    assert difference([x, x], [x]) == math.inf
    assert difference(x[:1], x) == math.inf
    assert difference(x.double(), x) == math.inf
    assert difference(x / torch.tensor([0.0, 1.0]), x) == math.inf


def test_weights_that_are_all_equal_are_spread() -> None:
    norm = torch.nn.BatchNorm2d(4)
    given = torch.nn.Linear(3, 3)
    before = given.weight.clone()
    spread(norm)
    spread(given)
    for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert len(set(values.tolist())) == 4
    assert torch.equal(given.weight, before)
