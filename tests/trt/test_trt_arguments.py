"""Arguments of engines and contexts: what is taken, and what is refused by a message that names it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_engines import Workshop


@pytest.fixture
def shop() -> Workshop:
    return Workshop().double().profile((1,), (2,), (8,))


@pytest.mark.parametrize("shape", [np.array([3]), [3], (3,), trt.Dims([3]), [np.int64(3)]])
def test_shapes_are_any_sequences(shop: Workshop, shape: Any) -> None:
    context = shop.engine().create_execution_context()
    for _ in range(2):
        assert context.set_input_shape("x", shape)
    assert context.get_tensor_shape("y") == (3,)


def test_addresses_are_whole_numbers_that_a_machine_has(shop: Workshop) -> None:
    context = shop.engine().create_execution_context()
    for wrong in (1.5, -5, 1 << 70, "12", None, np.zeros(2), np.float64(3)):
        with pytest.raises(TypeError, match=r"memory is .*give an address"):
            context.set_tensor_address("x", wrong)
    for right in (5, np.int64(5), np.uint64(5)):
        assert context.set_tensor_address("x", right)
        assert context.get_tensor_address("x") == 5


@pytest.mark.parametrize("index", [2, 99, -1])
def test_numbers_of_no_tensor_are_an_error_in_the_log(shop: Workshop, index: int) -> None:
    engine = shop.engine()
    assert engine.get_tensor_name(index) is None
    assert f"get_tensor_name({index}): the engine has 2" in shop.log.errors[0]


def test_batches_of_releases_before_10_are_a_warning() -> None:
    shop = Workshop()
    shop.builder.max_batch_size = 4
    assert shop.builder.max_batch_size == 4
    context = shop.double((3,)).engine().create_execution_context()
    x, y = np.ones(3, np.float32), np.zeros(3, np.float32)
    for size in (1, 4, 4):
        assert context.execute(size, [x.ctypes.data, y.ctypes.data])
    warned = [text for severity, text in shop.log.lines if severity == "WARNING"]
    assert [text.split(" has no effect")[0] for text in warned] == [
        "max_batch_size=4",
        "batch_size=4",
    ]


def test_a_plan_prints_in_a_line(shop: Workshop) -> None:
    plan = shop.plan()
    assert str(plan) == repr(plan) == f"<IHostMemory of {plan.nbytes} bytes>"
    assert bytes(plan)[:1] != b"<"
