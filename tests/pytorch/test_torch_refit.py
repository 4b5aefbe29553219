"""Weights of PyTorch modules exchanged in their engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils import prune  # noqa: E402

import camshaft  # noqa: E402
import camshaft.torch  # noqa: E402
from camshaft.errors import BindingError, ConfigError, RefitError  # noqa: E402

OPTIONS = {"refittable": True, "optimization_level": 1}


class Net(torch.nn.Module):
    """Convolutions with statistics, attention, a recurrent layer, a table, tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 16, 3, padding=1, groups=16), torch.nn.BatchNorm2d(16), torch.nn.SiLU(),
        )  # fmt: skip
        self.norm = torch.nn.LayerNorm(16)
        self.attention = torch.nn.MultiheadAttention(16, 4, batch_first=True)
        self.cells = torch.nn.LSTM(16, 16, batch_first=True)
        self.head = torch.nn.Linear(16, 16)
        self.tied = torch.nn.Linear(16, 16)
        self.tied.weight = self.head.weight
        self.register_buffer("shift", torch.randn(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.norm(self.body(x).flatten(2).transpose(1, 2))
        rows = rows + self.attention(rows, rows, rows, need_weights=False)[0]
        rows = self.cells(rows)[0]
        made: torch.Tensor = self.tied(torch.tanh(self.head(rows))) + self.shift
        return made


def net(seed: int) -> Net:
    torch.manual_seed(seed)
    return Net().eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(3))


def trained(module: torch.nn.Module, image: torch.Tensor) -> None:
    """A step of training, with statistics."""
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(image).square().mean().backward()
    optimizer.step()
    module.eval()


def test_a_module_that_is_trained_on(image: torch.Tensor) -> None:
    module = net(1)
    whole = camshaft.torch.compile(module, (image,), **OPTIONS)
    wanted = {
        n
        for n, t in camshaft.torch.engines.named(module).items()
        if t.ndim and t.is_floating_point()
    }
    assert whole.engine.refittable.keys() | {"tied.weight", "head.weight"} == wanted
    for _ in range(3):
        trained(module, image)
        with torch.no_grad():
            with pytest.raises(BindingError, match=r"refittable=True and call refit"):
                whole(image)
            assert whole.refit() is whole
            assert torch.allclose(whole(image), module(image), atol=1e-5)


def test_loaded_and_replaced_weights(image: torch.Tensor) -> None:
    module, other = net(1), net(2)
    whole = camshaft.torch.compile(module, (image,), **OPTIONS)
    module.load_state_dict(other.state_dict())
    module.head.bias = torch.nn.Parameter(torch.zeros(16))
    other.head.bias.data.zero_()
    with torch.no_grad():
        assert torch.allclose(whole.refit()(image), other(image), atol=1e-5)
        assert torch.equal(whole.refit()(image), whole(image))


def test_by_the_names_of_the_module_in_a_file(image: torch.Tensor, tmp_path: Path) -> None:
    first, second = net(1), net(2)
    camshaft.torch.export(first, (image,), tmp_path / "net.engine", **OPTIONS)
    engine = camshaft.load(tmp_path / "net.engine")
    engine.refit(
        second.state_dict()
    )  # with numbers of batches that nothing reads, and both names of a tied weight
    (found,) = engine({next(iter(engine.inputs)): image.numpy()}).values()
    with torch.no_grad():
        np.testing.assert_allclose(found, second(image).numpy(), atol=1e-5)
    engine.refit({"body.0.weight": np.zeros((16, 3, 3, 3), np.float32)})
    untied = second.state_dict() | {"tied.weight": torch.zeros(16, 16)}
    with pytest.raises(RefitError, match="another name of the same weight"):
        engine.refit(untied)
    with pytest.raises(RefitError, match="no weight of the engine is called 'body'"):
        engine.refit({"body": np.zeros(1)})


def test_a_file_of_a_module_in_bfloat16(tmp_path: Path) -> None:
    first, second = (torch.nn.Linear(8, 8).bfloat16().eval() for _ in range(2))
    x = torch.randn(2, 8).bfloat16()
    engine = camshaft.torch.export(first, (x,), tmp_path / "net.engine", **OPTIONS)
    wanted = camshaft.torch.export(second, (x,), tmp_path / "other.engine", **OPTIONS)
    feeds = {"input": np.ones((2, 8), engine.inputs["input"].dtype.numpy)}
    assert np.array_equal(
        *(next(iter(e(feeds).values())) for e in (engine.refit(second.state_dict()), wanted))
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_modules_in_halves(dtype: torch.dtype) -> None:
    first, second = (torch.nn.Linear(8, 8).to(dtype).eval() for _ in range(2))
    x = torch.randn(2, 8).to(dtype)
    whole = camshaft.torch.compile(first, (x,), **OPTIONS)
    first.load_state_dict(second.state_dict())
    with torch.no_grad():
        whole.refit()
        assert torch.allclose(whole(x).float(), second(x).float(), atol=3e-2)
        assert torch.equal(whole(x), camshaft.torch.compile(second, (x,), **OPTIONS)(x))


def test_int8_layers(image: torch.Tensor) -> None:
    module = net(1)
    calls = [image, image * 0.5]
    whole = camshaft.torch.compile(
        module, (image,), precision={"int8"}, calibration=calls, **OPTIONS
    )
    trained(module, image)
    with torch.no_grad():
        off = (whole.refit()(image) - module(image)).abs().max()
        assert off < 0.1 * module(image).abs().max()


def test_what_cannot_be_exchanged_is_named(image: torch.Tensor) -> None:
    module = net(1)
    plain = camshaft.torch.compile(module, (image,), optimization_level=1)
    with pytest.raises(RefitError, match="compile it with refittable=True"):
        plain.refit()
    some = camshaft.torch.compile(module, (image,), refittable={"shift"}, optimization_level=1)
    assert some.engine.refittable.keys() == {"shift"}
    with torch.no_grad():
        module.shift.mul_(2)
        assert torch.allclose(some.refit()(image), module(image), atol=1e-5)
        module.head.bias.add_(1)
    with pytest.raises(RefitError, match=r"head\.bias"):
        some.refit()
    with pytest.raises(ConfigError, match="'nothing', which is no parameter or buffer"):
        camshaft.torch.compile(module, (image,), refittable={"nothing"})
    whole = camshaft.torch.compile(module, (image,), **OPTIONS)
    module.body[2] = torch.nn.GELU()
    with pytest.raises(RefitError, match=r"module 'body\.2' was replaced"):
        whole.refit()
    with torch.no_grad(), pytest.raises(Exception, match="refittable= is for whole modules"):
        torch.compile(net(1), backend="camshaft", options={"refittable": True})(image)


def small() -> torch.nn.Sequential:
    torch.manual_seed(5)
    return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8)).eval()


X = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))


def _fused(module: torch.nn.Module) -> None:
    module(X).square().mean().backward()
    torch.optim.Adam(module.parameters(), 0.1, fused=True).step()


def _data(module: torch.nn.Module) -> None:
    for p in module.parameters():
        p.data.mul_(2)


def _numpy(module: torch.nn.Sequential) -> None:
    module[0].weight.detach().numpy()[...] *= 3


def _inference(module: torch.nn.Module) -> None:
    with torch.inference_mode():
        module.load_state_dict({k: v + 1 for k, v in module.state_dict().items()}, assign=True)


@pytest.mark.parametrize("change", [_fused, _data, _numpy, _inference])
def test_changes_that_pytorch_does_not_count_are_taken(change: Any) -> None:
    module = small()
    whole = camshaft.torch.compile(module, (X,), **OPTIONS)
    change(module)
    with torch.no_grad():
        assert torch.allclose(whole.refit()(X), module(X), atol=1e-5)


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
        self.b.weight = self.a.weight
        self.c = torch.ones(8)
        self.t = torch.nn.Parameter(torch.tensor(0.7))
        self.register_buffer("mask", torch.arange(8) > 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.b(self.a(x)) * self.c / self.t + self.mask * torch.exp(self.t)
        return made


def _untied(module: Tied) -> None:
    module.b.weight = torch.nn.Parameter(module.b.weight * 2)


def _gone(module: Tied) -> None:
    module.a.bias = None


def _pruned(module: Tied) -> None:
    prune.l1_unstructured(module.a, "weight", amount=0.5)


def _parametrized(module: Tied) -> None:
    torch.nn.utils.parametrizations.weight_norm(module.a)


def _attribute(module: Tied) -> None:
    module.c.mul_(3)


def _masked(module: Tied) -> None:
    module.mask.logical_not_()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_untied, "another name of the same weight"),
        (_gone, r"'a\.bias' is gone"),
        (_pruned, r"'a\.weight' is gone"),
        (_parametrized, r"'a\.parametrizations' was replaced or added"),
        (_attribute, "tensor 'c' of the module is no parameter"),
        (_masked, "'mask' cannot be exchanged"),
    ],
)
def test_modules_that_are_other_ones_are_refused(change: Any, said: str) -> None:
    module = Tied().eval()
    whole = camshaft.torch.compile(module, (X,), **OPTIONS)
    change(module)
    with pytest.raises(RefitError, match=said):
        whole.refit()


def test_single_numbers_that_are_trained() -> None:
    module = Tied().eval()
    whole = camshaft.torch.compile(module, (X,), **OPTIONS)
    with torch.no_grad():
        module.t.fill_(-0.3)
        assert torch.allclose(whole.refit()(X), module(X), atol=1e-5)
