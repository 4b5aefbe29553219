"""Each layer of `camshaft.Network`: its engine beside ONNX Runtime, and the type that it says beside what the engine gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import camshaft
from camshaft.network import Network, Tensor

pytestmark = pytest.mark.peers

RNG = np.random.default_rng(0)
IMAGE, ROWS, SEQUENCE = (2, 6, 9, 7), (3, 8), (5, 2, 4)
Layer = Callable[[Network, Tensor], Any]


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return np.abs(f(*shape)) + np.float32(0.1)


OF_IMAGES: dict[str, Layer] = {
    "conv": lambda n, x: n.conv(x, f(4, 6, 3, 2), f(4), strides=(2, 1), padding=(1, (0, 1))),
    "conv same": lambda n, x: n.conv(x, f(4, 3, 3, 3), groups=2, strides=2, padding="same"),
    "conv dilated": lambda n, x: n.conv(x, f(4, 6, 3, 3), dilations=2, padding=2),
    "conv transpose": lambda n, x: n.conv_transpose(
        x, f(6, 2, 3, 3), f(4), groups=2, strides=2, padding=1, output_padding=1
    ),
    "max pool": lambda n, x: n.max_pool(x, 3, strides=2, padding=1, ceil=True),
    "average pool": lambda n, x: n.average_pool(x, (2, 3), padding=(1, 1), count_padding=True),
    "global": lambda n, x: n.global_average_pool(x),
    "resize sizes": lambda n, x: n.resize(x, sizes=(2, 6, 13, 5), mode="linear"),
    "resize scales": lambda n, x: n.resize(x, scales=(1, 1, 2, 2), coordinates="asymmetric"),
    "batch norm": lambda n, x: n.batch_norm(x, f(6), f(6), f(6), positive(6)),
    "instance norm": lambda n, x: n.instance_norm(x, f(6), f(6)),
    "group norm": lambda n, x: n.group_norm(x, 3, f(6), f(6)),
    "lrn": lambda n, x: n.lrn(x, 5),
    "prelu": lambda n, x: n.prelu(x, f(6, 1, 1)),
    "mean": lambda n, x: n.mean(x, (2, 3)),
    "max": lambda n, x: n.max(x, -1, keep=True),
    "min all": lambda n, x: n.min(x),
    "sum": lambda n, x: n.sum(x, 1),
    "reduce": lambda n, x: n.reduce("LogSumExp", x, (1,)),
    "argmax": lambda n, x: n.argmax(x, 1),
    "argmin": lambda n, x: n.argmin(x, 2, keep=True),
    "flatten": lambda n, x: n.flatten(x, 2),
    "transpose": lambda n, x: x.transpose(0, 2, 3, 1),
    "transpose all": lambda n, x: x.transpose(),
    "pad": lambda n, x: n.pad(x, ((0, 0), (0, 0), (1, 2), (3, 0)), 1.5),
    "pad reflect": lambda n, x: n.pad(x, ((0, 0), (0, 0), (1, 2), (3, 0)), mode="reflect"),
    "split": lambda n, x: n.split(x, (2, 4), 1),
    "split even": lambda n, x: n.split(x, 3, 1),
    "to depth": lambda n, x: n.space_to_depth(x[:, :, :8, :6], 2),
    "to space": lambda n, x: n.depth_to_space(x[:, :4], 2, mode="CRD"),
    "index": lambda n, x: x[:, 1, ..., None, ::-2],
    "index last": lambda n, x: x[..., -1],
    "index tensor": lambda n, x: x[:, n.constant([[0, 2], [1, 1]])],
    "fake quantize": lambda n, x: n.fake_quantize(x, np.float32(0.05)),
    "quantize": lambda n, x: n.dequantize(
        n.quantize(x, positive(6) / 20, axis=1), positive(6), axis=1
    ),
    "tile": lambda n, x: n.tile(x, (1, 2, 1, 1)),
    "shape": lambda n, x: n.shape(x),
    "reshape by shape": lambda n, x: x.reshape([n.shape(x)[0], -1, 7]),
    "expand": lambda n, x: n.expand(n.mean(x, 1, keep=True), (2, 6, 9, 7)),
    "squeeze": lambda n, x: n.squeeze(n.unsqueeze(x, (0, 3)), 0),
    "stack": lambda n, x: n.stack([x, x * 2], 1),
}
OF_ROWS: dict[str, Layer] = {
    "linear": lambda n, x: n.linear(x, f(5, 8), f(5)),
    "linear batches": lambda n, x: n.linear(n.unsqueeze(x, 0), f(5, 8), f(5)),
    "matmul": lambda n, x: x @ f(8, 3),
    "matmul left": lambda n, x: f(2, 3) @ x,
    "einsum": lambda n, x: n.einsum("ij,kj->ik", x, f(4, 8)),
    "layer norm": lambda n, x: n.layer_norm(x, f(8), f(8)),
    "rms norm": lambda n, x: n.rms_norm(x, f(8)),
    "softmax": lambda n, x: n.softmax(x),
    "log softmax": lambda n, x: n.log_softmax(x, axis=0),
    "arithmetic": lambda n, x: (2 - x) * x / 3 + abs(-x) ** 2 - f(8),
    "reversed": lambda n, x: 1 / (x + 10) + 2 * x,
    "compare": lambda n, x: n.logical_or(n.logical_and(x < 1, x >= 0), x > 2),
    "compare more": lambda n, x: n.logical_xor(n.equal(x, x), x <= 0),
    "where": lambda n, x: n.where(x > 0, x, 0),
    "extremes": lambda n, x: n.maximum(n.minimum(x, 1), -0.5),
    "mod": lambda n, x: n.mod(x, 0.7),
    "mod of integers": lambda n, x: n.mod((x * 10).astype("int32"), 3),
    "clip": lambda n, x: n.clip(x, -0.5),
    "unary": lambda n, x: n.unary("Cos", n.exp(n.tanh(x))),
    "roots": lambda n, x: n.sqrt(n.log(abs(x) + 1)),
    "relu": lambda n, x: n.relu(x),
    "sigmoid": lambda n, x: n.sigmoid(n.erf(x)),
    "silu": lambda n, x: n.silu(x),
    "gelu": lambda n, x: n.gelu(x, approximate="tanh"),
    "hard": lambda n, x: n.hard_sigmoid(n.hard_swish(x), alpha=0.3),
    "leaky": lambda n, x: n.leaky_relu(x, alpha=0.2),
    "elus": lambda n, x: n.selu(n.elu(x, alpha=0.5)),
    "soft": lambda n, x: n.softplus(n.softsign(x)),
    "topk": lambda n, x: n.topk(x, 3),
    "topk smallest": lambda n, x: n.topk(x, 2, axis=0, largest=False),
    "cumsum": lambda n, x: n.cumsum(x, 1, exclusive=True, reverse=True),
    "concat": lambda n, x: n.concat([x, f(2, 8)]),
    "gather": lambda n, x: n.gather(x, [2, 0], axis=1),
    "embedding": lambda n, x: n.embedding((x > 0).astype("int64"), f(4, 5)),
    "gather elements": lambda n, x: n.gather_elements(x, [[0, 1], [7, 7], [3, 2]], axis=1),
    "gather nd": lambda n, x: n.gather_nd(x, [[0, 1], [2, 7]]),
    "scatter": lambda n, x: n.scatter_elements(x, [[1], [0], [5]], f(3, 1), axis=1),
    "scatter nd": lambda n, x: n.scatter_nd(x, [[0, 1], [2, 7]], f(2), reduction="add"),
    "one hot": lambda n, x: n.one_hot(n.argmax(x), 8, on=2.0, off=-1.0),
    "nonzero": lambda n, x: n.nonzero(n.relu(x)),
    "cond": lambda n, x: n.cond(n.sum(x) > 0, lambda b: x + 1, lambda b: b.neg(x)),
    "cond false": lambda n, x: n.cond(
        n.sum(x * x) < 0, lambda b: (x, x + 1), lambda b: (x * 2, b.exp(x))
    ),
    "loop": lambda n, x: n.loop(lambda b, i, c: (True, [c * 0.5 + i.astype("float32")], [c]), [x], count=3),
    "loop while": lambda n, x: n.loop(
        lambda b, i, c: (b.sum(b.abs(c)) < 1000, [c * 2], []), [x], condition=n.constant(np.array(True))
    ),
}  # fmt: skip
OF_SEQUENCES: dict[str, Layer] = {
    "lstm": lambda n, x: n.lstm(x, f(1, 12, 4), f(1, 12, 3), f(1, 24)),
    "lstm states": lambda n, x: n.lstm(
        x, f(2, 12, 4), f(2, 12, 3), direction="bidirectional", hidden=f(2, 2, 3), cell=f(2, 2, 3)
    ),
    "gru": lambda n, x: n.gru(x, f(1, 9, 4), f(1, 9, 3), lengths=[5, 3], linear_before_reset=1),
    "rnn": lambda n, x: n.rnn(x, f(1, 3, 4), f(1, 3, 3), activations=["Relu"]),
    "scan": lambda n, x: n.scan(lambda b, c, row: ([c + row], [c * row]), [f(2, 4)], [x]),
    "scan back": lambda n, x: n.scan(lambda b, c, row: ([c + row], [c]), [f(2, 4)], [x], reverse=True),
    "attention": lambda n, x: n.attention(
        *(n.unsqueeze(x, 0) for _ in range(3)), mask=f(2, 2), scale=0.3
    ),
    "attention causal": lambda n, x: n.attention(*(n.unsqueeze(x, 0) for _ in range(3)), causal=True),
}  # fmt: skip
CASES = [
    pytest.param(shape, layer, id=name)
    for shape, layers in ((IMAGE, OF_IMAGES), (ROWS, OF_ROWS), (SEQUENCE, OF_SEQUENCES))
    for name, layer in layers.items()
]


@pytest.mark.parametrize(("shape", "layer"), CASES)
@pytest.mark.parametrize("opened", [False, True], ids=["fixed", "open"])
def test_layer_beside_onnxruntime(shape: tuple[int, ...], layer: Layer, opened: bool) -> None:
    network = Network()
    x = network.input("x", ("n", *shape[1:]) if opened and shape == ROWS else shape)
    made = layer(network, x)
    results = [made] if isinstance(made, Tensor) else [*made]
    ends = [network.output(t, f"y{i}") for i, t in enumerate(results)]
    feeds = {"x": f(*shape)}
    got = network.build(optimization_level=0)(feeds)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(network.to_onnx().SerializeToString(), options)
    for end, want in zip(ends, session.run(None, feeds), strict=True):
        assert got[end.name].dtype == want.dtype == end.dtype
        np.testing.assert_allclose(got[end.name], want, rtol=2e-5, atol=2e-5)
        assert len(end.shape) == want.ndim
        assert all(d == w for d, w in zip(end.shape, want.shape, strict=True) if isinstance(d, int))


def test_nms() -> None:
    network = Network()
    boxes = network.input("boxes", (1, "n", 4))
    scores = network.input("scores", (1, 2, "n"))
    network.output(network.nms(boxes, scores, most=3, overlap=0.4, score=0.1), "kept")
    engine = camshaft.build(network, optimization_level=0)
    given = {
        "boxes": np.array([[[0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]]], np.float32),
        "scores": np.array([[[0.5, 0.9, 0.05], [0.2, 0.1, 0.7]]], np.float32),
    }
    assert engine(given)["kept"].tolist() == [[0, 0, 1], [0, 1, 2], [0, 1, 0]]
