"""Quantization-aware training of modules with peculiarities: each is trained as itself, and its file answers as it does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")
ort = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

import camshaft  # noqa: E402
from camshaft.torch import qat  # noqa: E402
from camshaft.torch.quantizers import ActivationQuantizer, WeightQuantizer, quantizers  # noqa: E402

pytestmark = pytest.mark.peers
nn = torch.nn
PLACEMENTS = ("graph", "modules")
QUICK: dict[str, Any] = {"precision": {"int8"}, "optimization_level": 0, "threads": 1}


def images(count: int = 8) -> Any:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def convolutions() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


def step(model: Any, x: Any) -> Any:
    """One step of training; the module in evaluation."""
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.05)
    model(x).square().mean().backward()
    optimizer.step()
    return model.eval()


def alike(model: Any, x: Any, folder: Path) -> Path:
    """The engine of a module's file answers as the module; the file."""
    path = qat.export(model, (x,), folder / "m.onnx")
    engine = camshaft.build(path, **QUICK)
    (got,) = engine({next(iter(engine.inputs)): x.numpy()}).values()
    want = model(x).detach().numpy()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())
    return path


class Times3(nn.Module):
    """A parametrization of a user's own."""

    def forward(self, weight: Any) -> Any:
        return 3 * weight


def times3(layer: Any) -> Any:
    return nn.utils.parametrize.register_parametrization(layer, "weight", Times3())


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    "change",
    [times3, nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm],
)
def test_parametrized_weights_are_quantized_as_they_are_made(
    change: Any, bits: int, placement: str, tmp_path: Path
) -> None:
    model = convolutions()
    change(model[0])
    model = qat.prepare(model, [images()], placement=placement, weight_bits=bits)
    assert sum(isinstance(q, WeightQuantizer) for q in quantizers(model)) == 2
    alike(step(model, images()), images(), tmp_path)
    assert model.train()(images()).requires_grad


def test_a_prepared_module_within_another_is_exported(tmp_path: Path) -> None:
    inner = qat.prepare(convolutions(), [images()], weight_ranges="fixed")
    alike(nn.Sequential(inner, nn.Softmax(1)).eval(), images(), tmp_path)


@pytest.mark.parametrize("called", ["input", "map", "x"])
def test_inputs_are_quantized_whatever_they_are_called(called: str, tmp_path: Path) -> None:
    scope: dict[str, Any] = {}
    exec(f"def forward(self, {called}): return self.inner({called})", scope)
    model = type("Called", (nn.Module,), {"forward": scope["forward"]})()
    model.inner = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5))
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    made = qat.prepare(model, [x])
    assert sum(isinstance(q, ActivationQuantizer) for q in quantizers(made)) == 2
    alike(made.eval(), x, tmp_path)


def test_what_a_quantized_file_leaves_in_floats_stays_so(tmp_path: Path) -> None:
    """Weights alone are dequantized in one layer, which another quantizes wholly."""
    model = qat.prepare(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5)),
                        [torch.randn(8, 64)], placement="modules")  # fmt: skip
    model[0].input_quantizer.forward = lambda x: x
    alike(model.eval(), torch.randn(8, 64), tmp_path)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("momentum", [None, 0.0, 0.3])
def test_running_statistics_are_those_of_the_module(momentum: float | None, placement: str) -> None:
    """Of one that precedes all quantizers, called twice; calibration changes none."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(3, momentum=momentum), nn.Conv2d(3, 4, 3)

        def forward(self, x: Any) -> Any:
            return self.conv(self.norm(2 * self.norm(x)))

    plain = Twice().train()
    model = qat.prepare(plain, [images()], placement=placement)
    for _ in range(3):
        model(images()), plain(images())
    state = model.state_dict()
    for name, want in plain.state_dict().items():
        if name.startswith("norm."):
            torch.testing.assert_close(state[name], want)
    other = copy.deepcopy(model)
    other.load_state_dict(state)
    qat.freeze_statistics(other)
    other.train()(images())
    assert torch.equal(other.state_dict()["norm.running_var"], state["norm.running_var"])


class Moved(nn.Module):
    """Pools and flattening behind what is quantized."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 5)

    def forward(self, x: Any) -> Any:
        return self.c(self.b(nn.functional.max_pool2d(self.a(x), 2)).mean((2, 3)).flatten(1))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_signed_activations_are_optimized_by_onnx_runtime(placement: str, tmp_path: Path) -> None:
    model = qat.prepare(Moved(), [images()], symmetric=True, placement=placement).eval()
    path = alike(model, images(), tmp_path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    (got,) = ort.InferenceSession(path).run(None, {"x": images().numpy()})
    np.testing.assert_allclose(got, model(images()).detach().numpy(), atol=0.02)


def test_circular_padding_is_trained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
    )
    made = qat.prepare(model, [images()])
    for module in (made.train(), model):
        module(images()).square().mean().backward()
    got, want = (dict(m.named_parameters())["0.weight"].grad for m in (made, model))
    torch.testing.assert_close(got, want, rtol=0.1, atol=0.1 * float(want.abs().max()))
    alike(made.eval(), images(), tmp_path)


def test_prepared_modules_are_saved_and_loaded(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(64, 5))  # fmt: skip
    model = step(qat.prepare(model, [images()]), images())
    torch.save(model, tmp_path / "m.pt")
    loaded = torch.load(tmp_path / "m.pt", weights_only=False)
    assert torch.equal(loaded(images()), model(images()))
    alike(step(loaded, images()), images(), tmp_path)


def test_a_state_says_what_is_frozen() -> None:
    def made() -> Any:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
        return qat.prepare(model, [images()], weight_bits=4)

    frozen, other = made(), made()
    free = copy.deepcopy(other.state_dict())
    qat.freeze_ranges(frozen)
    qat.freeze_statistics(frozen)
    other.load_state_dict(frozen.state_dict())
    before = copy.deepcopy(other.state_dict())
    after = step(other, images()).state_dict()
    moved = {name for name, was in before.items() if not torch.equal(after[name], was)}
    assert "0.weight" in moved
    assert not [n for n in moved if "quantizer" in n or "running" in n or "tracked" in n]
    other.load_state_dict(free)
    assert all(p.requires_grad for p in other.parameters())


def test_any_number_of_arguments() -> None:
    class Any_(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, *xs: Any) -> Any:
            return self.conv(xs[0]) + self.conv(xs[1])

    model = qat.prepare(Any_(), [(images(), images())]).eval()
    assert model(images(3), images(3)).shape[0] == 3


def test_layers_that_attention_does_not_call_stay_float(tmp_path: Path) -> None:
    x = torch.randn(4, 5, 16, generator=torch.Generator().manual_seed(0))
    model = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    with pytest.warns(UserWarning, match=r"'self_attn.out_proj' stays float"):
        made = qat.prepare(model, [x], placement="modules")
    assert len(quantizers(made)) == 4
    alike(step(made, x), x, tmp_path)
