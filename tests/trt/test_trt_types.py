"""Shapes, permutations, weights, host memory, and what they share."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from camshaft.tensorrt.dims import extents
from camshaft.tensorrt.weights import weights_of


def test_volume_is_the_product() -> None:
    assert trt.volume(()) == 1
    assert trt.volume((2, 3, 4)) == trt.volume(trt.Dims([2, 3, 4])) == 24
    assert trt.volume((-1, 3)) == -3


def test_dims_read_as_a_tuple() -> None:
    dims = trt.Dims([1, 3, 224])
    assert (len(dims), dims[0], dims[-1], tuple(dims)) == (3, 1, 224, (1, 3, 224))
    assert (dims[1:], dims[::-1]) == ((3, 224), (224, 3, 1))
    assert (str(dims), repr(dims), str(trt.Dims()), str(trt.Dims((5,)))) == (
        "(1, 3, 224)",
        "(1, 3, 224)",
        "()",
        "(5,)",
    )
    assert (len(trt.Dims()), trt.Dims.MAX_DIMS, dims.MAX_DIMS) == (0, 8, 8)
    assert np.array(dims).tolist() == [1, 3, 224]
    for index in (3, -4):
        with pytest.raises(IndexError):
            dims[index]


def test_dims_are_assigned_in_place() -> None:
    dims = trt.Dims((1, 3, 224))
    dims[0] = np.int64(8)
    dims[-1] = -1
    assert dims == (8, 3, -1)
    dims[1:] = [4, 5]
    assert dims == (8, 4, 5)
    with pytest.raises(ValueError, match="slice of 2 extents takes no 3"):
        dims[1:] = (1, 2, 3)
    with pytest.raises(TypeError, match="whole numbers"):
        dims[0] = 1.5
    with pytest.raises(IndexError):
        dims[3] = 1
    assert dims == (8, 4, 5)


def test_dims_compare_with_tuples_and_lists_in_both_directions() -> None:
    dims = trt.Dims((1, 3))
    assert dims == (1, 3)
    assert dims == (1, 3)
    assert dims == [1, 3]
    assert dims == [1, 3]
    assert dims == trt.Dims2(1, 3)
    assert dims != (1, 3, 1)
    assert dims != (1, 4)
    assert dims != "13"
    with pytest.raises(TypeError, match="unhashable"):
        hash(dims)
    with pytest.raises(TypeError):
        dims + dims  # type: ignore[operator]


@pytest.mark.parametrize("wrong", [(1, 2.0), "ab", 3, None, (1, "2")])
def test_dims_take_sequences_of_ints_alone(wrong: Any) -> None:
    with pytest.raises(TypeError, match="whole numbers"):
        trt.Dims(wrong)


def test_dims_have_at_most_eight_extents() -> None:
    assert len(trt.Dims([1] * 8)) == 8
    with pytest.raises(ValueError, match="shape has 9 extents; 8 are the most"):
        trt.Dims([1] * 9)
    with pytest.raises(ValueError, match="min has 9 extents"):
        extents([1] * 9, "min")


def test_dims_survive_copies_and_pickles() -> None:
    dims = trt.DimsHW(2, 3)
    for other in (copy.copy(dims), copy.deepcopy(dims), pickle.loads(pickle.dumps(dims))):
        assert other == dims
        assert type(other) is trt.DimsHW
    other = copy.deepcopy(dims)
    other.h = 5
    assert dims == (2, 3)


def test_dims_of_fixed_length_have_it() -> None:
    assert trt.Dims2(1, 2) == trt.Dims2([1, 2]) == trt.Dims2(shape=(1, 2)) == (1, 2)
    assert trt.Dims3(1, 2, 3) == trt.Dims3((1, 2, 3)) == trt.Dims3(1, 2, dim2=3) == (1, 2, 3)
    assert trt.Dims4(1, 2, 3, 4) == trt.Dims4(trt.Dims([1, 2, 3, 4])) == [1, 2, 3, 4]
    assert trt.Dims4() == (0, 0, 0, 0)
    for cls, count in ((trt.Dims2, 2), (trt.DimsHW, 2), (trt.Dims3, 3), (trt.Dims4, 4)):
        with pytest.raises(ValueError, match=f"{cls.__name__} has {count} extents"):
            cls([1] * (count + 1))
        with pytest.raises(TypeError, match=f"{cls.__name__} has {count} extents"):
            cls(*[1] * (count + 1))
    with pytest.raises(TypeError, match="has the extents dim0, dim1, or a shape"):
        trt.Dims2(1, width=2)


def test_height_and_width_can_be_assigned() -> None:
    size = trt.DimsHW(h=3, w=5)
    assert (size.h, size.w) == (3, 5)
    size.h, size.w = 7, 9
    assert size == (7, 9)
    assert isinstance(size, trt.Dims2)


def test_a_permutation_has_eight_entries() -> None:
    order = trt.Permutation([0, 2, 1])
    assert (len(order), order[1], order[-8]) == (8, 2, 0)
    assert list(order) == [0, 2, 1, 0, 0, 0, 0, 0]
    assert str(order) == "(0, 2, 1, 0, 0, 0, 0, 0)"
    order[2] = 5
    assert order[2] == 5
    assert order != trt.Permutation(list(order))
    assert list(trt.Permutation()) == [0] * 8
    for index in (8, -9):
        with pytest.raises(IndexError):
            order[index]
    with pytest.raises(ValueError, match="order has 9"):
        trt.Permutation(range(9))


def test_weights_share_the_memory_of_an_array() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    weights = trt.Weights(array)
    assert (weights.dtype, weights.size, len(weights), weights.nbytes) == (trt.float32, 6, 6, 24)
    flat = weights.numpy()
    assert isinstance(flat, np.ndarray)
    assert flat.shape == (6,)
    array[1, 2] = 50
    assert flat[5] == 50
    assert trt.Weights(a=array).size == 6


def test_weights_keep_their_array_alive() -> None:
    flat = trt.Weights(np.full(1000, 7, np.int32)).numpy()
    assert isinstance(flat, np.ndarray)
    assert (flat == 7).all()


@pytest.mark.parametrize("dtype", ["f4", "f2", "i1", "i4", "i8", "?", "u1"])
def test_weights_take_the_types_that_tensors_have(dtype: str) -> None:
    weights = trt.Weights(np.ones(3, dtype))
    assert trt.nptype(weights.dtype) is np.dtype(dtype).type
    assert trt.Weights(np.array(2, dtype)).size == 1


def test_weights_may_be_empty() -> None:
    weights = trt.Weights()
    assert (weights.dtype, weights.size, weights.nbytes) == (trt.float32, 0, 0)
    assert trt.Weights(type=trt.int8).numpy().shape == (0,)  # type: ignore[union-attr]
    assert trt.Weights(trt.float32, 0, 0).size == 0


def test_weights_are_read_at_an_address() -> None:
    array = np.arange(4, dtype=np.int32)
    weights = trt.Weights(type=trt.int32, ptr=array.ctypes.data, count=4)
    assert np.shares_memory(weights.numpy(), array)  # type: ignore[arg-type]
    assert np.array_equal(weights.numpy(), array)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "nbytes"), [(trt.bfloat16, 10), (trt.fp8, 5), (trt.int4, 3)])
def test_weights_of_types_that_numpy_lacks_answer_themselves(
    kind: trt.DataType, nbytes: int
) -> None:
    memory = np.zeros(16, np.uint8)
    weights = trt.Weights(kind, memory.ctypes.data, 5)
    assert (weights.dtype, weights.size, weights.nbytes) == (kind, 5, nbytes)
    assert weights.numpy() is weights


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((3, 4), np.float32).T,), ValueError, "ascontiguousarray"),
        ((np.ones(3),), ValueError, "cannot be of float64"),
        ((np.ones(3, ">f4"),), ValueError, "cannot be of >f4"),
        (([1.0, 2.0],), TypeError, "pass a member of DataType, or an array"),
        ((trt.float32, 64), TypeError, "ptr and count together"),
        ((trt.float32, 0, 3), ValueError, "cannot lie at address 0"),
        ((np.ones(3, np.float32), 64, 3), TypeError, "an array alone"),
    ],
)
def test_weights_refuse(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trt.Weights(*arguments)


def test_an_array_does_for_weights() -> None:
    weights = trt.Weights(trt.int8)
    assert weights_of(weights, "kernel") is weights
    assert weights_of(np.ones(3, np.int8), "kernel").dtype == trt.int8
    with pytest.raises(TypeError, match=r"kernel=\[1\] must be Weights or an array"):
        weights_of([1], "kernel")


def test_host_memory_is_bytes() -> None:
    memory = trt.IHostMemory._made(b"abcd")
    file = io.BytesIO()
    file.write(memory)
    assert file.getvalue() == bytes(memory) == bytes(memoryview(memory)) == b"abcd"
    assert bytearray(memory) == b"abcd"
    assert np.frombuffer(memory, np.uint8).tolist() == [97, 98, 99, 100]
    assert (memory.nbytes, len(memory), memory.dtype) == (4, 4, trt.int8)
    assert trt.IHostMemory._made(b"")
    with pytest.raises(TypeError, match="IHostMemory: no constructor"):
        trt.IHostMemory(b"abcd")
    with pytest.raises(AttributeError):
        memory.nbytes = 5  # type: ignore[misc]


@pytest.mark.parametrize("made", [trt.Logger(), trt.IHostMemory._made(b"ab")], ids=["log", "bytes"])
def test_with_is_deprecated_and_does_nothing(made: Any) -> None:
    with pytest.warns(DeprecationWarning, match="does nothing") as caught, made as inner:
        assert inner is made
    assert caught[0].filename == __file__
    with pytest.raises(ZeroDivisionError), pytest.warns(DeprecationWarning), made:
        _ = 1 / 0
