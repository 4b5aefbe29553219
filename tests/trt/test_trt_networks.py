"""Networks of TensorRT's API: MNIST, loops, conditionals, objects, edits, names, types, and what fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_networks import Bench, Log, computed, network

torch = pytest.importorskip("torch", reason="compared with torch (extra torch)")
functional = torch.nn.functional


def random(*shape: int) -> Any:
    return (np.random.default_rng(sum(shape)).standard_normal(shape) * 0.1).astype(np.float32)


MNIST = {
    "conv1.weight": random(20, 1, 5, 5),
    "conv1.bias": random(20),
    "conv2.weight": random(50, 20, 5, 5),
    "conv2.bias": random(50),
    "fc1.weight": random(500, 800),
    "fc1.bias": random(500),
    "fc2.weight": random(10, 500),
    "fc2.bias": random(10),
}
DIGIT = random(1, 1, 28, 28)


def mnist(image: Any) -> Any:
    """The same in torch."""
    w = {name: torch.from_numpy(a) for name, a in MNIST.items()}
    x = torch.from_numpy(image)
    for i in (1, 2):
        x = functional.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"])
        x = functional.max_pool2d(x, 2)
    x = torch.relu(functional.linear(x.flatten(1), w["fc1.weight"], w["fc1.bias"]))
    return functional.linear(x, w["fc2.weight"], w["fc2.bias"])


def test_mnist_as_in_8_6() -> None:
    net: Any = network()
    x = net.add_input(name="data", dtype=trt.float32, shape=(1, 1, 28, 28))
    for i, maps in ((1, 20), (2, 50)):
        w, b = MNIST[f"conv{i}.weight"], MNIST[f"conv{i}.bias"]
        conv = net.add_convolution(input=x, num_output_maps=maps, kernel_shape=(5, 5), kernel=w, bias=b)  # fmt: skip
        conv.stride = (1, 1)
        pool = net.add_pooling(input=conv.get_output(0), type=trt.PoolingType.MAX, window_size=(2, 2))  # fmt: skip
        pool.stride = (2, 2)
        x = pool.get_output(0)
    fc1 = net.add_fully_connected(input=x, num_outputs=500, kernel=MNIST["fc1.weight"], bias=MNIST["fc1.bias"])  # fmt: skip
    relu = net.add_activation(input=fc1.get_output(0), type=trt.ActivationType.RELU)
    fc2 = net.add_fully_connected(relu.get_output(0), 10, MNIST["fc2.weight"], MNIST["fc2.bias"])
    fc2.get_output(0).name = "prob"
    net.mark_output(tensor=fc2.get_output(0))
    got = computed(net, data=DIGIT)["prob"]
    np.testing.assert_allclose(got.reshape(1, 10), mnist(DIGIT), rtol=1e-4, atol=1e-5)


def test_mnist_as_in_10() -> None:
    net: Any = network()
    x = net.add_input("data", trt.float32, (1, 1, 28, 28))

    def product(x: Any, count: int, name: str) -> Any:
        """A fully connected layer of matrix product and sum."""
        size = int(np.prod(tuple(x.shape)[1:]))
        flat = net.add_shuffle(x)
        flat.reshape_dims = (1, size)
        kernel = net.add_constant((count, size), trt.Weights(MNIST[f"{name}.weight"]))
        made = net.add_matrix_multiply(
            flat.get_output(0), trt.MatrixOperation.NONE, kernel.get_output(0), trt.MatrixOperation.TRANSPOSE
        )  # fmt: skip
        bias = net.add_constant((1, count), MNIST[f"{name}.bias"])
        return net.add_elementwise(
            made.get_output(0), bias.get_output(0), trt.ElementWiseOperation.SUM
        )

    for i, maps in ((1, 20), (2, 50)):
        w, b = MNIST[f"conv{i}.weight"], MNIST[f"conv{i}.bias"]
        conv = net.add_convolution_nd(x, maps, (5, 5), w, b)
        conv.stride_nd = (1, 1)
        pool = net.add_pooling_nd(conv.get_output(0), trt.PoolingType.MAX, (2, 2))
        pool.stride_nd = trt.Dims2(2, 2)
        x = pool.get_output(0)
    relu = net.add_activation(product(x, 500, "fc1").get_output(0), trt.ActivationType.RELU)
    last = product(relu.get_output(0), 10, "fc2")
    last.get_output(0).name = "prob"
    net.mark_output(last.get_output(0))
    np.testing.assert_allclose(computed(net, data=DIGIT)["prob"], mnist(DIGIT), rtol=1e-4, atol=1e-5)  # fmt: skip


def lstm(net: Any, x: Any, steps: int, w: Any, r: Any, size: int) -> Any:
    """An LSTM in a loop, gates in torch's order.  x: [steps, batch, input]."""
    loop = net.add_loop()
    count = net.add_constant((), np.array([steps], np.int32)).get_output(0)
    loop.add_trip_limit(count, trt.TripLimit.COUNT)
    each = loop.add_iterator(x, 0, False).get_output(0)
    zero = net.add_constant((x.shape[1], size), np.zeros((x.shape[1], size), np.float32)).get_output(0)  # fmt: skip
    hidden, cell = loop.add_recurrence(zero), loop.add_recurrence(zero)
    products = [
        net.add_matrix_multiply(a, trt.MatrixOperation.NONE, b, trt.MatrixOperation.TRANSPOSE)
        for a, b in ((each, w), (hidden.get_output(0), r))
    ]
    total = net.add_elementwise(*(p.get_output(0) for p in products), trt.ElementWiseOperation.SUM)
    gates = []
    for i, kind in enumerate(("SIGMOID", "SIGMOID", "TANH", "SIGMOID")):
        part = net.add_slice(total.get_output(0), (0, i * size), (x.shape[1], size), (1, 1))
        act = net.add_activation(part.get_output(0), getattr(trt.ActivationType, kind))
        gates.append(act.get_output(0))
    enter, forget, new, leave = gates

    def two(a: Any, b: Any, op: str) -> Any:
        return net.add_elementwise(a, b, getattr(trt.ElementWiseOperation, op)).get_output(0)

    after = two(two(forget, cell.get_output(0), "PROD"), two(enter, new, "PROD"), "SUM")
    shown = two(leave, net.add_activation(after, trt.ActivationType.TANH).get_output(0), "PROD")
    cell.set_input(1, after)
    hidden.set_input(1, shown)
    outs = loop.add_loop_output(shown, trt.LoopOutput.CONCATENATE, 0)
    outs.set_input(1, count)
    last = loop.add_loop_output(hidden.get_output(0), trt.LoopOutput.LAST_VALUE)
    return outs, last


def test_an_lstm_in_a_loop() -> None:
    b = Bench((4, 2, 3))
    torch.manual_seed(0)
    module = torch.nn.LSTM(3, 5, bias=False)
    w, r = (b.constant(p.detach().numpy()) for p in (module.weight_ih_l0, module.weight_hh_l0))
    outs, last = lstm(b.net, b.tensors[0], 4, w, r, 5)
    assert outs.get_output(0).shape == (4, 2, 5)
    for i, layer in enumerate((outs, last)):
        layer.get_output(0).name = f"y{i}"
        b.net.mark_output(layer.get_output(0))
    got = computed(b.net, x0=b.arrays[0])
    with torch.no_grad():
        want, (hidden, _) = module(torch.from_numpy(b.arrays[0]))
    np.testing.assert_allclose(got["y0"], want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["y1"], hidden[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "axis"), [("CONCATENATE", 1), ("REVERSE", 0)])
def test_loop_outputs_along_axes_and_backwards(kind: str, axis: int) -> None:
    b = Bench((2, 3))
    net: Any = b.net
    loop = net.add_loop()
    count = b.constant(np.array(3, np.int32))
    loop.add_trip_limit(count, trt.TripLimit.COUNT)
    column = loop.add_iterator(b.tensors[0], 1, True)
    total = loop.add_recurrence(b.constant(np.zeros(2, np.float32)))
    after = net.add_elementwise(total.get_output(0), column.get_output(0), trt.ElementWiseOperation.SUM)  # fmt: skip
    total.set_input(1, after.get_output(0))
    out = loop.add_loop_output(after.get_output(0), getattr(trt.LoopOutput, kind), axis)
    out.set_input(1, count)
    assert out.loop is loop
    sums = np.cumsum(b.arrays[0][:, ::-1], 1)
    want = sums if axis else sums.T[::-1]
    np.testing.assert_allclose(b.output(out), want, rtol=1e-5)


def test_loops_with_two_counts_are_refused() -> None:
    b = Bench((2,))
    net: Any = b.net
    loop = net.add_loop()
    for count in (2, 3):
        loop.add_trip_limit(b.constant(np.array(count, np.int32)), trt.TripLimit.COUNT)
    value = loop.add_recurrence(b.tensors[0])
    value.set_input(1, net.add_identity(value.get_output(0)).get_output(0))
    out = loop.add_loop_output(value.get_output(0), trt.LoopOutput.LAST_VALUE)
    net.mark_output(out.get_output(0))
    with pytest.raises(Exception, match="trip limit"):
        net._lowered()


@pytest.mark.parametrize("condition", [True, False])
def test_conditionals_choose(condition: bool) -> None:
    b = Bench((3,))
    net: Any = b.net
    c = net.add_input("c", trt.bool, ())
    choice = net.add_if_conditional()
    choice.set_condition(c)
    inner = choice.add_input(b.tensors[0]).get_output(0)
    sides = [net.add_unary(inner, op).get_output(0) for op in (trt.UnaryOperation.NEG, trt.UnaryOperation.ABS)]  # fmt: skip
    out = choice.add_output(*sides)
    net.mark_output(out.get_output(0))
    (got,) = computed(net, x0=b.arrays[0], c=np.array(condition)).values()
    np.testing.assert_array_equal(got, -b.arrays[0] if condition else np.abs(b.arrays[0]))


def test_objects_for_the_same_layer_are_equal_and_tensors_are_the_same() -> None:
    b = Bench((2, 3))
    net: Any = b.net
    relu = net.add_activation(b.tensors[0], trt.ActivationType.RELU)
    view = net.get_layer(0)
    assert type(view) is trt.ILayer
    assert view == relu
    assert {view, relu, net[0], *net} == {relu}
    assert view.type == trt.LayerType.ACTIVATION
    assert view.get_output(0) is relu.get_output(0)
    assert view.get_input(0) is net.get_input(0) is b.tensors[0]
    view.__class__ = trt.IActivationLayer
    assert view.type == trt.ActivationType.RELU
    view.__class__ = trt.IPoolingLayer
    with pytest.raises(AttributeError, match="window_size_nd"):
        _ = view.window_size_nd
    assert (net.get_layer(1), net.get_input(1), net.get_output(0), view.get_output(3)) == (None,) * 4  # fmt: skip
    with pytest.raises(IndexError):
        net[1]


def test_shapes_and_types_follow_edits() -> None:
    b = Bench((1, 1, 8, 8))
    net: Any = b.net
    conv = net.add_convolution_nd(b.tensors[0], 2, (3, 3), np.ones((2, 1, 3, 3), np.float32))
    cast = net.add_cast(conv.get_output(0), trt.int32)
    last = cast.get_output(0)
    assert (last.shape, last.dtype) == ((1, 2, 6, 6), trt.int32)
    conv.padding_nd = (1, 1)
    assert last.shape == (1, 2, 8, 8)
    cast.to_type = trt.float16
    assert last.dtype == trt.float16
    b.tensors[0].shape = (-1, 1, 4, 4)
    assert last.shape == (-1, 2, 4, 4)
    conv.stride_nd = (2, 2)
    assert last.shape == (-1, 2, 2, 2)
    cast.set_input(0, b.tensors[0])
    assert last.shape == (-1, 1, 4, 4)


def test_a_layer_is_lowered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    b = Bench((4,))
    net: Any = b.net
    lowered: list[str] = []
    original = trt.IActivationLayer._lower

    def counted(call: Any) -> Any:
        lowered.append(call.record.name)
        return original(call)

    monkeypatch.setattr(trt.IActivationLayer, "_lower", counted)
    x = b.tensors[0]
    for _ in range(20):
        layer = net.add_activation(x, trt.ActivationType.LEAKY_RELU)
        layer.alpha = 0.5
        x = layer.get_output(0)
        assert x.shape == (4,)
        layer.name = f"{layer.name} renamed"
    assert len(lowered) == 20
    net[10].get_output(0)
    view = net[18]
    view.__class__ = trt.IActivationLayer
    view.alpha = 0.1
    assert x.shape == (4,)
    assert len(lowered) == 22


def test_a_layer_that_cannot_be_is_one_error() -> None:
    b = Bench((2, 3), (4, 5))
    net: Any = b.net
    bad = net.add_elementwise(*b.tensors, trt.ElementWiseOperation.SUM)
    bad.name = "sum"
    behind = net.add_activation(bad.get_output(0), trt.ActivationType.RELU)
    for _ in range(2):
        with pytest.raises(ValueError, match="no rank"):
            len(behind.get_output(0).shape)
    assert len(b.log.errors) == 1
    assert "'sum'" in b.log.errors[0]
    bad.set_input(1, b.tensors[0])
    assert behind.get_output(0).shape == (2, 3)


def test_methods_that_fail_log_and_answer_none() -> None:
    log = Log()
    net: Any = network(log=log)
    x = net.add_input("x", trt.float32, (2, 3))
    other: Any = network().add_input("x", trt.float32, (2,))
    assert net.add_input("x", trt.float32, (2,)) is None
    assert net.add_activation(other, trt.ActivationType.RELU) is None
    assert net.add_concatenation([]) is None
    assert net.add_constant((3,), np.zeros(2, np.float32)) is None
    assert net.add_topk(x, trt.TopKOperation.MAX, 4000, 1) is None
    assert net.add_plugin_v2([x], None) is None
    net.mark_output(x)
    net.unmark_output(x)
    relu = net.add_activation(x, trt.ActivationType.RELU)
    relu.set_input(1, x)
    net.remove_tensor(x)
    assert len(log.errors) == 10
    assert "plugin" in log.errors[5]
    assert "no input 1" in log.errors[8]
    assert relu.name in log.errors[9]
    with pytest.raises(TypeError):
        net.add_activation(x, 0)
    with pytest.raises(TypeError):
        net.add_activation(None, trt.ActivationType.RELU)
    with pytest.raises(TypeError):
        trt.ITensor()


def test_weights_of_half_a_byte_are_refused() -> None:
    b = Bench()
    packed = np.zeros(2, np.uint8)
    layer: Any = b.net.add_constant((4,), trt.Weights(trt.int4, packed.ctypes.data, 4))
    with pytest.raises(ValueError, match="no rank"):
        len(layer.get_output(0).shape)
    assert "INT4" in b.log.errors[0]


def test_the_build_says_what_precisions_and_ranges_were_asked() -> None:
    b = Bench((2, 4))
    net: Any = b.net
    relu = net.add_activation(b.tensors[0], trt.ActivationType.RELU)
    relu.name = "first"
    soft = net.add_softmax(relu.get_output(0))
    assert not soft.precision_is_set
    relu.precision = trt.int8
    soft.set_output_type(0, trt.int8)
    assert soft.output_type_is_set(0)
    b.tensors[0].dynamic_range = (-2, 3)
    middle = relu.get_output(0)
    assert middle.set_dynamic_range(-4, 1)
    assert not middle.set_dynamic_range(1, -1)
    assert middle.dynamic_range == (-4, 1)
    middle.name = "middle"
    net.mark_debug(middle)
    net.mark_output(soft.get_output(0))
    lowered = net._lowered()
    assert lowered.precision == {"first": "int8"}
    assert lowered.output_type == {soft.name: "int8"}
    assert lowered.ranges == {"x0": 3, "middle": 4}
    assert lowered.debug == ("middle",)
    assert not lowered.strongly_typed
    relu.reset_precision()
    soft.reset_output_type(0)
    middle.reset_dynamic_range()
    assert middle.dynamic_range is None
    lowered = net._lowered()
    assert (lowered.precision, lowered.output_type, lowered.ranges) == ({}, {}, {"x0": 3})


def test_strongly_typed_networks_refuse_precisions() -> None:
    log = Log()
    net: Any = network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED), log)
    layer = net.add_identity(net.add_input("x", trt.float32, (2,)))
    layer.precision = trt.int8
    assert not layer.precision_is_set
    assert len(log.errors) == 1
    assert net.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    net.mark_output(layer.get_output(0))
    assert net._lowered().strongly_typed


def test_nodes_of_one_layer_say_where_they_came_from() -> None:
    b = Bench((1, 2, 3, 3))
    net: Any = b.net
    layer = net.add_fully_connected(b.tensors[0], 4, np.ones((4, 18), np.float32))
    layer.name = "fc"
    net.mark_output(layer.get_output(0))
    lowered = net._lowered()
    names = [n.name for n in lowered.model.graph.node]
    assert "fc" in names
    assert {lowered.origins[n] for n in names if n != "fc"} == {"fc"}


def test_names_that_clash_are_refused() -> None:
    b = Bench((2,))
    net: Any = b.net
    layers = [net.add_activation(b.tensors[0], trt.ActivationType.RELU) for _ in range(2)]
    for layer in layers:
        net.mark_output(layer.get_output(0))
    layers[1].name = layers[0].name
    with pytest.raises(Exception, match="two layers are called"):
        net._lowered()
    layers[1].name = "x0"  # a tensor has that name, which is no clash
    assert len(net._lowered().model.graph.node) == 2
    layers[1].get_output(0).name = "x0"
    assert "called 'x0' already" in b.log.errors[-1]


def test_weights_have_the_names_that_were_set() -> None:
    b = Bench((1, 1, 4, 4))
    net: Any = b.net
    kernel, bias = random(2, 1, 3, 3), random(2)
    conv = net.add_convolution_nd(b.tensors[0], 2, (3, 3), kernel, bias)
    conv.name = "conv"
    assert net.set_weights_name(kernel, "my kernel")
    net.mark_output(conv.get_output(0))
    names = {i.name for i in net._lowered().model.graph.initializer}
    assert names == {"my kernel", "conv.bias"}
    net.mark_weights_refittable("my kernel")
    assert net.are_weights_marked_refittable("my kernel")
    assert net.unmark_weights_refittable("my kernel")
    assert not net.are_weights_marked_refittable("my kernel")


def test_an_output_may_be_a_constant_and_be_marked_and_unmarked() -> None:
    b = Bench((2,))
    net: Any = b.net
    value = b.constant(np.array([1, 2], np.float32))
    total = net.add_elementwise(b.tensors[0], value, trt.ElementWiseOperation.SUM).get_output(0)
    for tensor in (total, value):
        net.mark_output(tensor)
    assert net.get_output(1) is value
    got = computed(net, x0=np.zeros(2, np.float32))
    assert list(got) == [total.name, value.name]
    assert got[value.name].tolist() == got[total.name].tolist() == [1, 2]
    net.unmark_output(total)
    assert (net.num_outputs, total.is_network_output) == (1, False)


def test_open_extents_of_one_name_are_one() -> None:
    net: Any = network()
    a, b = (net.add_input(n, trt.float32, (-1, 2)) for n in "ab")
    for tensor in (a, b):
        tensor.set_dimension_name(0, "batch")
    assert a.get_dimension_name(0) == "batch"
    out = net.add_concatenation([a, b])
    out.axis = 1
    net.mark_output(out.get_output(0))
    shapes = [[d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in net._lowered().model.graph.input]  # fmt: skip
    assert shapes == [["batch", 2], ["batch", 2]]
    ones = np.ones((3, 2), np.float32)
    (got,) = computed(net, a=ones, b=ones).values()
    assert got.shape == (3, 4)
