"""What quantization-aware training does not take is refused where it is given, by name."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

from torch.nn.utils import prune  # noqa: E402

from camshaft.errors import CalibrationError, CamshaftError, ConfigError, ModelError  # noqa: E402
from camshaft.torch import qat  # noqa: E402

pytestmark = pytest.mark.peers
nn = torch.nn
X = torch.zeros(2, 3, 6, 6)


def plain() -> Any:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))


@pytest.mark.parametrize(
    ("model", "calls", "error", "words"),
    [
        (plain(), None, CalibrationError, "of type NoneType"),
        (plain(), X, CalibrationError, "of type Tensor; give a list of calls"),
        (plain(), [{"x": X}], CalibrationError, "call 0 .* of type dict"),
        (plain(), [X[:0]], CalibrationError, "call 0 .* an empty tensor"),
        (plain(), [X, X[:, :1]], CalibrationError, "call 1 .* does not fit"),
        (plain(), [X, (X, X)], CalibrationError, "call 1 .* does not fit"),
        (
            plain().double(),
            [X.double()],
            ModelError,
            r"'0.weight' is torch.float64.*model.float\(\)",
        ),
        (plain().half(), [X.half()], ModelError, "'0.weight' is torch.float16"),
        (plain().to("meta"), [X], ModelError, r"'0.weight' is on meta.*model.cpu\(\)"),
        (nn.ReLU(), [X], ConfigError, "nothing would be quantized"),
    ],
)
@pytest.mark.parametrize("placement", ["graph", "modules"])
def test_modules_and_calls(model: Any, calls: Any, error: Any, words: str, placement: str) -> None:
    with pytest.raises(error, match=words) as found:
        qat.prepare(model, calls, placement=placement)
    assert isinstance(found.value, CamshaftError)


@pytest.mark.parametrize("constant", [False, True])
def test_weights_that_hooks_make(constant: bool) -> None:
    model = plain()
    with torch.set_grad_enabled(not constant):
        prune.l1_unstructured(model[3], "weight", 0.5)
    with pytest.raises(ModelError, match=r"prune.*remove"):
        qat.prepare(model, [X], placement="modules")


@pytest.mark.parametrize("placement", ["graph", "modules"])
def test_what_leaves_nothing_or_comes_twice(placement: str) -> None:
    with pytest.raises(ConfigError, match="nothing would be quantized"):
        qat.prepare(plain(), [X], placement=placement, keep_float=["*"])
    with pytest.raises(ConfigError, match="quantizers already"):
        qat.prepare(qat.prepare(plain(), [X], placement=placement), [X])


@pytest.mark.parametrize(
    "call", [qat.observe, qat.settle, qat.freeze_ranges, qat.freeze_statistics, qat.Schedule]
)
def test_schedules_of_modules_without_quantizers(call: Any) -> None:
    with pytest.raises(ConfigError, match="no quantizers"):
        call(plain())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"observe": -3}, "observe is -3"),
        ({"observe": None}, "observe is None"),
        ({"freeze_ranges": "3"}, "freeze_ranges is '3'"),
        ({"freeze_statistics": 1.5}, "freeze_statistics is 1.5"),
        ({"observe": 5, "freeze_ranges": 4}, "before observe=5"),
    ],
)
def test_schedules_of_other_numbers(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        qat.Schedule(qat.prepare(plain(), [X]), **options)
