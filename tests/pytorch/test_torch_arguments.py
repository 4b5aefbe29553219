"""What calls of one compiled graph may differ in: weights, whole numbers, sizes that nothing else says, arguments that are built in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import camshaft.torch as ct  # noqa: E402
from camshaft.errors import BindingError  # noqa: E402
from camshaft.torch import variants  # noqa: E402

pytestmark = pytest.mark.peers
LEVEL = {"optimization_level": 0, "threads": 1}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch.compiler.reset()
    with torch.no_grad():
        yield
    torch.compiler.reset()


def compiled(function: Any, *, least: int = 1, **options: Any) -> Any:
    return torch.compile(function, backend="camshaft", options={**LEVEL, "min_block_size": least}, **options)  # fmt: skip


def off(a: Any, b: Any) -> float:
    assert a.shape == b.shape and a.dtype == b.dtype
    return float((a - b).abs().max())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        return self.last(self.first(x).relu().mean((2, 3)))


def test_modules_of_one_class_have_weights_of_their_own() -> None:
    x = torch.randn(1, 3, 8, 8)
    modules = [Net().eval() for _ in range(3)]
    fast = [compiled(m) for m in modules]
    for _ in range(2):
        for m, f in zip(modules, fast, strict=True):
            assert off(f(x), m(x)) < 1e-5


def test_a_function_of_modules() -> None:
    x = torch.randn(1, 3, 8, 8)
    function = compiled(lambda m, x: m(x) * 2)
    for m in [Net().eval() for _ in range(3)]:
        assert off(function(m, x), m(x) * 2) < 1e-5


def test_more_modules_than_have_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "MOST", 2)
    x = torch.randn(1, 3, 8, 8)
    function = compiled(lambda m, x: m(x) * 2)
    for number, m in enumerate([Net().eval() for _ in range(4)]):
        if number < 2:
            assert off(function(m, x), m(x) * 2) < 1e-5
            continue
        with pytest.warns(UserWarning, match="more than 2 sets of weights"):
            assert off(function(m, x), m(x) * 2) < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m, "weight", nn.Parameter(torch.randn(4, 8))),
        lambda m: m.load_state_dict(nn.Linear(8, 4).state_dict(), assign=True),
    ],
)
def test_weights_that_are_replaced(change: Callable[[Any], Any]) -> None:
    m, x = nn.Linear(8, 4).eval(), torch.randn(3, 8)
    fast, whole = compiled(m), ct.compile(m, (x,), **LEVEL)
    assert off(fast(x), m(x)) < 1e-5
    change(m)
    assert off(fast(x), m(x)) < 1e-5
    with pytest.raises(BindingError, match="changed"):
        whole(x)


def test_a_module_that_is_replaced() -> None:
    m, x = nn.Sequential(nn.Linear(8, 4), nn.ReLU()).eval(), torch.randn(3, 8)
    whole = ct.compile(m, (x,), **LEVEL)
    m[0] = nn.Linear(8, 4)
    with pytest.raises(BindingError, match="changed"):
        whole(x)


class Steps(nn.Module):
    """Counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros(()))
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        self.n += 1
        return self.inner(x).relu() * self.n


@pytest.mark.parametrize(
    ("module", "shape"),
    [(Steps(), (3, 4)), (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), (2, 3, 8, 8))],
)  # fmt: skip
def test_buffers_that_the_module_changes(module: Any, shape: tuple[int, ...]) -> None:
    module, own = module.train(), copy.deepcopy(module).train()
    fast, x = compiled(module), torch.randn(shape)
    for _ in range(3):
        assert off(fast(x), own(x)) < 1e-5
    for a, b in zip(module.buffers(), own.buffers(), strict=True):
        assert torch.allclose(a, b)


def test_whole_numbers_that_change() -> None:
    function = compiled(lambda x, n: ((x + 1) * n).relu() + n // 2)
    for n in (2, 3, -4, 7):
        x = torch.randn(3 if n < 7 else 5)
        assert off(function(x, n), ((x + 1) * n).relu() + n // 2) < 1e-6


def test_whole_numbers_that_are_sizes() -> None:
    function = compiled(lambda x, n: x.repeat(n, 1) * 2, dynamic=True)
    for n in (2, 3, 5):
        x = torch.randn(2, 3)
        assert off(function(x, n), x.repeat(n, 1) * 2) == 0


SIZES: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "circular": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), [(1, 3, 9, 9), (1, 3, 8, 7)]),
    "scaled product": (lambda x: (x @ x.mT) / x.shape[-1] ** 0.5, [(3, 4), (5, 6)]),
    "unfold": (lambda x: x.unfold(1, 3, 2) * 2, [(3, 9), (5, 11)]),
    "fold": (lambda x: F.fold(F.unfold(x, 3), (x.shape[2], x.shape[3]), 3), [(1, 2, 6, 6), (1, 2, 7, 8)]),
    "nearest": (lambda x: F.interpolate(x * 2, scale_factor=1.7, mode="nearest"), [(1, 2, 6, 6), (1, 2, 7, 8)]),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes_that_no_input_of_a_part_has(name: str) -> None:
    function, shapes = SIZES[name]
    fast = compiled(function, dynamic=True)
    for shape in shapes:
        x = torch.randn(shape)
        assert off(fast(x), function(x)) < 1e-5


def test_sizes_of_another_input() -> None:
    def function(x: Any, y: Any) -> Any:
        return F.interpolate(x + 1, size=y.shape[-2:], mode="bilinear") + y

    fast = compiled(function, least=3)
    for small, large in (((9, 9), (18, 18)), ((10, 11), (20, 25)), ((4, 5), (4, 9))):
        x, y = torch.randn(1, 3, *small), torch.randn(1, 3, *large)
        assert off(fast(x, y), function(x, y)) < 1e-5


@pytest.mark.parametrize("name", ["inv", "cholesky"])
def test_operators_with_effects(name: str) -> None:
    def function(x: Any) -> Any:
        return getattr(torch.linalg, name)(x * 2) + 1

    x = torch.eye(4) * 3 + 0.1
    assert off(compiled(function)(x), function(x)) < 1e-6


def test_branches_stay_in_pytorch() -> None:
    def function(x: Any) -> Any:
        return torch.cond(x.sum() > 0, lambda x: x * 2 + 1, lambda x: x.exp() - 1, (x,)) * 3

    fast = compiled(function)
    for x in (torch.ones(3), -torch.ones(3)):
        assert off(fast(x), function(x)) < 1e-6


class Scaled(nn.Module):
    def forward(self, x: Any, a: Any, mask: Any = None) -> Any:
        y = (x * a).softmax(-1)
        return (y if mask is None else y + mask), "text", 3, None, True


def test_arguments_that_are_built_in() -> None:
    x = torch.randn(2, 3)
    whole = ct.compile(Scaled().eval(), (x, 2.0, None), **LEVEL)
    made, *others = whole(x, 2.0, None)
    assert off(made, (x * 2).softmax(-1)) < 1e-6
    assert others == ["text", 3, None, True]
    for given, says in (
        ((x, 5.0, None), "argument 1 is 5.0.*2.0"),
        ((x, 2, None), "argument 1 is 2;"),
        ((x, 2.0, x), "argument 2 is a tensor.*None"),
        ((np.zeros((2, 3), np.float32), 2.0, None), "argument 0 is of type ndarray"),
        ((None, 2.0, None), "argument 0 is of type NoneType"),
    ):
        with pytest.raises(BindingError, match=says):
            whole(*given)


def test_a_cache_that_is_no_folder(tmp_path: Any) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for given in (file, 5):
        torch.compiler.reset()
        with pytest.raises(Exception, match="cache_dir is"):
            torch.compile(lambda x: x * 2, backend="camshaft", options={"cache_dir": given})(
                torch.ones(2)
            )
