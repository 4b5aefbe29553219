"""Quantization-aware training: what is trained is what the engine computes."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

import camshaft  # noqa: E402
from camshaft.errors import CalibrationError, ConfigError, ModelError  # noqa: E402
from camshaft.quant.scheme import (  # noqa: E402
    dequantize,
    params_from_range,
    quantize,
    weight_params,
)
from camshaft.torch import qat  # noqa: E402
from camshaft.torch.fake import fake_quantize  # noqa: E402
from camshaft.torch.quantizers import ActivationQuantizer, quantizers  # noqa: E402

pytestmark = pytest.mark.peers
nn = torch.nn
QUICK: dict[str, Any] = {"precision": {"int8"}, "optimization_level": 1, "threads": 1}


class Residual(nn.Module):
    """A skip branch, a concat, batch norms of which one multiplies by negative numbers, a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.body, self.norm2 = nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.mix, self.drop, self.head = nn.Conv2d(24, 8, 1), nn.Dropout(0.2), nn.Linear(8, 5)
        with torch.no_grad():
            self.norm2.weight[::2] = -1.0
            self.norm2.weight[3] = 0.0

    def forward(self, x: Any) -> Any:
        x = nn.functional.max_pool2d(torch.relu(self.norm(self.stem(x))), 2)
        y = torch.relu(self.norm2(self.body(x)) + x)
        z = nn.functional.silu(self.mix(torch.cat([x, y], 1)))
        return self.head(self.drop(z.mean((2, 3))))


class Mobile(nn.Module):
    """Depthwise, gated, of strides; a transposed convolution, several results."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.an = nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16)
        self.b, self.bn = nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16)
        self.gate, self.c = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 12, 1)
        self.up = nn.ConvTranspose2d(12, 4, 2, 2)

    def forward(self, x: Any) -> Any:
        y = nn.functional.hardswish(self.an(self.a(x)))
        y = nn.functional.hardswish(self.bn(self.b(y)))
        y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        y = torch.relu(self.c(y))
        return self.up(y), y.mean((2, 3))


class Block(nn.Module):
    """A layer of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.norm2, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Any) -> Any:
        n, length, width = x.shape
        q, k, v = (
            t.reshape(n, length, 4, 8).transpose(1, 2) for t in self.qkv(self.norm(x)).chunk(3, -1)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).reshape(n, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Sequences(nn.Module):
    """A recurrent layer between linear ones."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead, self.gru, self.head = (
            nn.Linear(32, 32),
            nn.GRU(32, 16, batch_first=True),
            nn.Linear(16, 5),
        )

    def forward(self, x: Any) -> Any:
        return self.head(self.gru(torch.relu(self.ahead(x)))[0])


def images(count: int, seed: int = 0) -> Any:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def rows(count: int, seed: int = 0) -> Any:
    return torch.randn(count, 7, 32, generator=torch.Generator().manual_seed(seed))


def made(cls: Callable[[], Any]) -> Any:
    """A module with running statistics of some batches."""
    torch.manual_seed(1)
    model = cls()
    data = images if cls in (Residual, Mobile) else rows
    model.train()
    with torch.no_grad():
        for seed in range(3):
            model(data(8, seed))
    return model.eval()


def outputs(value: Any) -> list[np.ndarray]:
    return [t.detach().numpy() for t in (value if isinstance(value, tuple | list) else [value])]


def steps(model: Any, data: Callable[..., Any], count: int = 3) -> None:
    """Some training."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for seed in range(count):
        optimizer.zero_grad()
        results = model(data(8, seed + 10))
        results = results if isinstance(results, tuple) else (results,)
        sum(((r - 1) ** 2).mean() for r in results).backward()
        optimizer.step()
    model.eval()


def same(model: Any, path: Path, data: Callable[..., Any]) -> None:
    """The engine of an exported module answers as the module does: many images but for the order of float sums, others
    nearly so, where these put a value on the other side of a border between levels."""
    engine = camshaft.build(path, **QUICK)
    for count in (1, 12):
        x = data(count, 99)
        got = [*engine({next(iter(engine.inputs)): x.numpy()}).values()]
        alike = np.ones(count, bool)
        for g, w in zip(got, outputs(model(x)), strict=True):
            assert g.shape == w.shape
            off = np.abs(g - w).reshape(count, -1).max(1) / np.abs(w).max()
            assert off.max() <= 0.01
            alike &= off <= 1e-5
        assert alike.sum() >= count // 3


BATCH = torch.export.Dim("batch", min=1, max=16)


@pytest.mark.parametrize("cls", [Residual, Mobile, Block])
@pytest.mark.parametrize("placement", ["graph", "modules"])
def test_the_engine_answers_as_the_trained_module(cls: Any, placement: str, tmp_path: Path) -> None:
    data = images if cls in (Residual, Mobile) else rows
    model = qat.prepare(made(cls), [data(8)], placement=placement)
    steps(model, data)
    path = qat.export(model, (data(2),), tmp_path / "m.onnx", dynamic_shapes=({0: BATCH},))
    same(model, path, data)


@pytest.mark.parametrize(
    "options",
    [
        {"ranges": "fixed"},
        {"ranges": "clipped"},
        {"symmetric": True},
        {"weight_bits": 4},
        {"weight_bits": 4, "weight_ranges": "fixed", "ranges": "fixed"},
        {"weight_ranges": "learned"},
        {"weight_ranges": "clipped", "symmetric": True},
        {"calibrator": "entropy2"},
        {"keep_float": ("body", "head")},
    ],
    ids=str,
)
def test_options(options: dict[str, Any], tmp_path: Path) -> None:
    model = qat.prepare(made(Residual), [images(8)], **options)
    steps(model, images)
    path = qat.export(model, (images(2),), tmp_path / "m.onnx", dynamic_shapes=({0: BATCH},))
    same(model, path, images)


def int8_kernels(engine: Any) -> int:
    return sum(s.get("precision") in ("u8", "i8") for s in engine.inspect()["steps"])


@pytest.mark.parametrize("cls", [Residual, Mobile, Block])
def test_the_module_is_quantized_where_the_engine_would(cls: Any, tmp_path: Path) -> None:
    data = rows if cls is Block else images
    float_model = made(cls)
    implicit = camshaft.torch.compile(float_model, (data(2),), calibration=[data(2)], **QUICK)
    path = qat.export(qat.prepare(float_model, [data(2)]), (data(2),), tmp_path / "m.onnx")
    assert int8_kernels(camshaft.build(path, **QUICK)) >= int8_kernels(implicit.engine) > 0


def test_a_concat_and_what_it_joins_share_a_range() -> None:
    model = qat.prepare(made(Residual), [images(4)])
    called = [n for n in model.graph.nodes if n.op == "call_module"]
    uses = [n.target for n in called if "weight" not in n.target and "quantizer" in n.target]
    assert len(uses) > len(set(uses))


def test_what_is_prepared_before_training_is_near_the_float_module() -> None:
    float_model = made(Residual)
    for placement in ("graph", "modules"):
        model = qat.prepare(float_model, [images(8)], placement=placement)
        want, got = float_model(images(8)), model.eval()(images(8))
        assert 0 < float((got - want).abs().max()) < 0.05 * float(want.abs().max())


def test_the_module_given_is_not_changed() -> None:
    float_model = made(Residual)
    before = copy.deepcopy(float_model.state_dict())
    steps(qat.prepare(float_model, [images(8)]), images)
    assert all(torch.equal(v, before[n]) for n, v in float_model.state_dict().items())


def test_a_trained_module_is_compiled() -> None:
    model = qat.prepare(made(Residual), [images(8)])
    steps(model, images)
    fast = camshaft.torch.compile(model, (images(4),), **QUICK)
    torch.testing.assert_close(fast(images(4)), model(images(4)), rtol=0.01, atol=0.01)
    assert int8_kernels(fast.engine) > 3


@pytest.mark.parametrize("placement", ["graph", "modules"])
def test_what_lies_around_a_recurrent_layer(placement: str) -> None:
    model = qat.prepare(made(Sequences), [rows(8)], placement=placement)
    steps(model, rows)
    fast = camshaft.torch.compile(model, (rows(4),), **QUICK)
    torch.testing.assert_close(fast(rows(4)), model(rows(4)), rtol=0.01, atol=0.01)
    with pytest.raises(ModelError, match=r"'gru' is a recurrent layer.*torch\.compile"):
        qat.export(model, (rows(4),), "never.onnx")


def test_states_are_loaded() -> None:
    model = qat.prepare(made(Residual), [images(8)])
    other = qat.prepare(made(Residual), [images(8)])
    steps(model, images)
    assert not torch.equal(model(images(2)), other.eval()(images(2)))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(images(2)), other(images(2)))


# --- numbers --------------------------------------------------------------------------------------


def test_fake_quantization_is_that_of_engines() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 7)).astype(np.float32)
    params = params_from_range(-1.0, 2.0)
    x[0] = (np.arange(7) + 0.5) * params.scale  # halves
    quantizer = ActivationQuantizer("x", "learned", symmetric=False, rows=False)
    with torch.no_grad():
        quantizer.low.fill_(-1.0)
        quantizer.high.fill_(2.0)
        got = quantizer(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(got, dequantize(quantize(x, params), params))
    by_channel = weight_params(x, 0)
    scale = torch.from_numpy(by_channel.scale.copy())
    got = fake_quantize(
        torch.from_numpy(x), scale, torch.zeros_like(scale), -127, 127, 0, True
    ).numpy()
    np.testing.assert_array_equal(got, dequantize(quantize(x, by_channel), by_channel))


def test_gradients() -> None:
    x = torch.tensor([-3.0, -0.26, 0.1, 0.6, 5.0], requires_grad=True)
    scale, zero = torch.tensor(0.5, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    y = fake_quantize(x, scale, zero, 0, 7, 0, True)
    assert y.tolist() == [-1.0, -0.5, 0.0, 0.5, 2.5]
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
    inside = sum(round(v / 0.5) - v / 0.5 for v in (-0.26, 0.1, 0.6))
    assert float(scale.grad) == pytest.approx(inside + (0 - 2) + (7 - 2), abs=1e-5)
    assert float(zero.grad) == pytest.approx(-0.5 - 0.5)


@pytest.mark.parametrize("symmetric", [False, True])
def test_an_end_of_a_clipped_range_has_the_gradient_of_what_lies_beyond(symmetric: bool) -> None:
    quantizer = ActivationQuantizer("x", "clipped", symmetric=symmetric, rows=False)
    with torch.no_grad():
        quantizer.low.fill_(-1.0)
        quantizer.high.fill_(1.0)
    quantizer(torch.tensor([-2.0, -5.0, 0.3, 4.0])).sum().backward()
    assert float(quantizer.high.grad) == pytest.approx(
        1.0 - (2 * 128 / 127 if symmetric else 0.0), abs=0.02
    )
    assert (
        (quantizer.low.grad is None)
        if symmetric
        else float(quantizer.low.grad) == pytest.approx(2.0, abs=0.02)
    )


def test_a_learned_range_finds_the_least_error() -> None:
    """Gradient descent on a range comes to where the squared error is least."""
    x = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    quantizer = ActivationQuantizer("x", "learned", symmetric=True, rows=False)
    quantizer.first, quantizer.last = -8, 7
    with torch.no_grad():
        quantizer.high.fill_(1.0)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        ((quantizer(x) - x) ** 2).mean().backward()
        optimizer.step()

    def error(high: float) -> float:
        scale = torch.tensor(high / 7)
        made = fake_quantize(x, scale, torch.zeros(()), -8, 7, 0, True)
        return float(((made - x) ** 2).mean())

    best = min(error(h) for h in np.linspace(0.5, 4.0, 200))
    assert error(float(quantizer.high.abs())) <= 1.03 * best


# --- schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["graph", "modules"])
def test_schedule(placement: str) -> None:
    model = qat.prepare(made(Residual), [images(8)], placement=placement).train()
    with pytest.raises(ModelError, match="training mode"):
        qat.export(model, (images(2),), "never.onnx")
    schedule = qat.Schedule(model, observe=2, freeze_ranges=4, freeze_statistics=5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    activations = [q for q in quantizers(model) if isinstance(q, ActivationQuantizer)]
    ranges, means = [], []
    with pytest.raises(ConfigError, match="still observed"):
        qat.export(model.eval(), (images(2),), "never.onnx")
    model.train()
    for seed in range(7):
        optimizer.zero_grad()
        (model(3 * images(8, seed)) ** 2).mean().backward()
        optimizer.step()
        schedule.step()
        ranges.append([float(q.high) for q in activations])
        means.append([b.clone() for n, b in model.named_buffers() if n.endswith("running_mean")])
    assert ranges[0] != ranges[1] != ranges[2]
    assert ranges[3] == ranges[4] == ranges[6]
    changed = [
        any(not torch.equal(a, b) for a, b in zip(*p, strict=True))
        for p in itertools.pairwise(means)
    ]
    assert changed == [True, True, True, True, False, False]


def test_dropout_and_batch_norm_are_those_of_training() -> None:
    model = qat.prepare(made(Residual), [images(8)])
    assert not model.training
    x = images(8, 5)
    assert torch.equal(model(x), model(x))
    model.train()
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))
    before = {n: b.clone() for n, b in model.named_buffers()}
    with torch.no_grad():
        model(x)
    assert any(not torch.equal(b, before[n]) for n, b in model.named_buffers())


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"placement": "layers"}, ConfigError, "one of graph, modules"),
        ({"ranges": "lsq"}, ConfigError, "one of fixed, learned, clipped"),
        ({"weight_bits": 9}, ConfigError, "from 2 to 8"),
        ({"keep_float": ["boddy"]}, ConfigError, "'boddy'"),
        ({"calibrator": "best"}, CalibrationError, "'best'"),
    ],
)
def test_options_that_there_are_not(options: dict[str, Any], error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        qat.prepare(made(Residual), [images(2)], **options)


def test_what_is_no_module_or_has_no_calls() -> None:
    with pytest.raises(CalibrationError, match="no call"):
        qat.prepare(made(Residual), [])
    with pytest.raises(ModelError, match=r"torch\.nn\.Module"):
        qat.prepare(lambda x: x, [images(2)])
    with pytest.raises(ConfigError, match="no quantizers"):
        qat.export(made(Residual), (images(2),), "never.onnx")


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    model = qat.prepare(made(Residual), [images(2)])
    with pytest.raises(ConfigError, match="cannot write"):
        qat.export(model, (images(2),), tmp_path / "no" / "m.onnx")
