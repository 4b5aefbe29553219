"""PyTorch in one line: `torch.compile(backend="camshaft")`, whole modules, files that run without PyTorch."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

import camshaft  # noqa: E402
import camshaft.torch as ct  # noqa: E402
from camshaft.errors import BindingError, ConfigError, ModelError, ShapeError  # noqa: E402
from camshaft.torch.backend import camshaft as backend  # noqa: E402

pytestmark = pytest.mark.peers
QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}
BATCH = torch.export.Dim("batch", min=1, max=8)


def net() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.SiLU(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(32, 5),
    ).eval()


class Mixed(torch.nn.Module):
    """Has operators without a form between others, and gives a size."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.head = net(), torch.nn.Linear(5, 5)

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        y = self.net(x)
        z = torch.logcumsumexp(y, 1) + torch.cummax(y, 1).values
        return {"scores": torch.relu(self.head(z)) * scale + 1, "images": x.shape[0]}


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch.compiler.reset()


def images(count: int, seed: int = 0) -> Any:
    return torch.randn(count, 3, 9, 9, generator=torch.Generator().manual_seed(seed))


def close(got: Any, want: Any) -> None:
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_a_module_is_one_engine() -> None:
    model, x = net(), images(2)
    fast = ct.compile(model, (x,), **QUICK)
    with torch.no_grad():
        close(fast(x), model(x))
    assert all(s["kind"] == "kernel" for s in fast.engine.inspect()["steps"])


def test_sizes_that_vary_need_no_other_engine() -> None:
    model = net()
    fast = ct.compile(model, (images(2),), dynamic_shapes=({0: BATCH},), **QUICK)
    with torch.no_grad():
        for count in (1, 5, 8):
            close(fast(images(count)), model(images(count)))
    with pytest.raises(ShapeError):
        fast(images(9))


def test_int8_takes_calls_as_calibration() -> None:
    model = net()
    calls = [(images(4, seed),) for seed in range(3)]
    fast = ct.compile(model, (images(4),), precision={"int8"}, calibration=calls, **QUICK)
    precisions = {s["precision"] for s in fast.engine.inspect()["steps"]}
    assert "u8" in precisions
    with torch.no_grad():
        off = (fast(images(4)) - model(images(4))).abs().max()
    assert 0 < off < 0.02


def test_an_engine_file_runs_without_torch(tmp_path: Path) -> None:
    model, x = net(), images(2)
    ct.export(model, (x,), tmp_path / "net.engine", **QUICK)
    (got,) = camshaft.load(tmp_path / "net.engine")(x.numpy()).values()
    with torch.no_grad():
        np.testing.assert_allclose(got, model(x).numpy(), rtol=1e-5, atol=1e-5)


def test_half_precision_goes_in_and_out() -> None:
    model, x = net().bfloat16(), images(2).bfloat16()
    got = ct.compile(model, (x,), **QUICK)(x)
    with torch.no_grad():
        want = net()(x.float())
    assert got.dtype == torch.bfloat16
    assert (got.float() - want).abs().max() < 0.02


def test_misuse_is_told_in_words() -> None:
    model, x = net(), images(2)
    fast = ct.compile(model, (x,), **QUICK)
    with pytest.raises(BindingError, match="requires gradients"):
        fast(x.clone().requires_grad_())
    with pytest.raises(BindingError, match="structure"):
        fast(x, x)
    with torch.no_grad():
        model[0].weight.mul_(2)
    with pytest.raises(BindingError, match="were changed since"):
        fast(x)
    with pytest.raises(ModelError, match="training mode"):
        ct.compile(net().train(), (x,))
    with pytest.raises(ModelError, match="aten::logcumsumexp has no form here"):
        ct.compile(Mixed().eval(), (x,), **QUICK)
    with pytest.raises(ConfigError, match="shapes= is for ONNX models"):
        ct.compile(net(), (x,), shapes={"x": (1, 3, 9, 9)})


def test_gradients_may_be_left_to_pytorch() -> None:
    model, x = net(), images(2).requires_grad_()
    fast = ct.compile(model, (x.detach(),), autograd="eager", **QUICK)
    fast(x).sum().backward()
    assert x.grad is not None


def test_the_backend_leaves_to_pytorch_what_has_no_form() -> None:
    model = Mixed().eval()
    fast = torch.compile(model, backend=backend, options=QUICK)
    with torch.no_grad():
        for count in (2, 5, 7):  # the second call makes the batch open, the third compiles nothing
            want = model(images(count), 2.0)
            got = fast(images(count), 2.0)
            close(got["scores"], want["scores"])
            assert got["images"] == count


def test_the_backend_compiles_once_for_sizes_that_vary() -> None:
    counter = torch._dynamo.utils.counters
    model = net()
    fast = torch.compile(model, backend=backend, options=QUICK, dynamic=True)
    counter.clear()
    with torch.no_grad():
        for count in (2, 3, 5, 7):
            close(fast(images(count)), model(images(count)))
    assert counter["stats"]["unique_graphs"] == 1


def test_the_backend_notices_changed_weights() -> None:
    model = net()
    fast = torch.compile(model, backend=backend, options=QUICK)
    with torch.no_grad():
        fast(images(2))
        model[0].weight.add_(1)
        with pytest.raises(BindingError, match="were changed since"):
            fast(images(2))


def test_with_gradients_the_backend_trains_in_pytorch_or_refuses() -> None:
    model = net()
    with pytest.warns(UserWarning, match="gradients are on"):
        torch.compile(model, backend=backend, options=QUICK)(images(2)).sum().backward()
    assert model[0].weight.grad is not None
    torch.compiler.reset()
    refusing = torch.compile(model, backend=backend, options={**QUICK, "autograd": "error"})
    with pytest.raises(Exception, match="gradients are on"):
        refusing(images(2))


def test_engines_are_found_again(tmp_path: Path) -> None:
    model = net()
    options = {**QUICK, "cache_dir": str(tmp_path)}
    with torch.no_grad():
        torch.compile(model, backend=backend, options=options)(images(2))
        (kept,) = tmp_path.glob("*.engine")
        before = kept.stat().st_mtime_ns
        torch.compiler.reset()
        close(torch.compile(model, backend=backend, options=options)(images(2)), model(images(2)))
        assert kept.stat().st_mtime_ns == before
        torch.compiler.reset()
        model[0].weight.mul_(2)
        torch.compile(model, backend=backend, options=options)(images(2))
    assert len(list(tmp_path.glob("*.engine"))) == 2


def test_explain_says_what_goes_where() -> None:
    told = ct.explain(Mixed().eval(), (images(2),), options=QUICK)
    assert told.engines == 2
    assert told.left["aten::logcumsumexp"] == (1, "operator aten::logcumsumexp has no form here")
    assert "2 engines" in str(told) and "aten::cummax" in str(told)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="min_block_size"):
        ct.explain(net(), (images(2),), options={"min_block_size": 0})
    with pytest.raises(ConfigError, match="precison"):
        ct.explain(net(), (images(2),), options={"precison": {"int8"}})


def test_calls_may_come_from_many_threads() -> None:
    model = net()
    fast = ct.compile(model, (images(2),), **QUICK)
    wrong: list[int] = []

    def run(seed: int) -> None:
        with torch.no_grad():
            for n in range(20):
                x = images(2, seed * 100 + n)
                if not torch.allclose(fast(x), model(x), atol=1e-5):
                    wrong.append(seed)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_weights_may_be_held_by_the_graph() -> None:
    """As they are where inductor's `freezing` is on, for whichever backend; one weight is shared, one operator has no form."""
    from torch._inductor import config

    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
            self.second.weight = self.first.weight
            self.norm = torch.nn.BatchNorm1d(8)

        def forward(self, x: Any) -> Any:
            return torch.logcumsumexp(self.norm(self.second(torch.relu(self.first(x)))), 1).exp()

    model, x = Shared().eval(), torch.randn(3, 8)
    fast = torch.compile(model, backend="camshaft", options=QUICK)
    with torch.no_grad(), config.patch(freezing=True):
        assert torch.allclose(fast(x), model(x), atol=1e-5)
        model.first.weight.mul_(2)
        with pytest.raises(BindingError, match="changed"):
            fast(x)
