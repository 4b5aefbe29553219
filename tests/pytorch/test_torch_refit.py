"""Weights of PyTorch modules exchanged in their engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

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
    state = second.state_dict()
    engine.refit({name: state[name] for name in engine.refittable})
    (found,) = engine({next(iter(engine.inputs)): image.numpy()}).values()
    with torch.no_grad():
        np.testing.assert_allclose(found, second(image).numpy(), atol=1e-5)
    engine.refit({"body.0.weight": np.zeros((16, 3, 3, 3), np.float32)})
    with pytest.raises(RefitError, match=r"'body\.1\.num_batches_tracked'"):
        engine.refit({"body.1.num_batches_tracked": np.zeros(1)})


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
    with pytest.raises(RefitError, match="build it with refittable=True"):
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
    with pytest.raises(RefitError, match="module '2' was replaced"):
        whole.refit()
    with torch.no_grad(), pytest.raises(Exception, match="refittable= is for whole modules"):
        torch.compile(net(1), backend="camshaft", options={"refittable": True})(image)
