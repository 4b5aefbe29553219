"""ATen operators as graphs, beside PyTorch: each case is a function of a few tensors, at fixed and at open sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

from torch.nn import functional as F  # noqa: E402

from camshaft.frontends.torch.importer import import_program  # noqa: E402
from camshaft.ir.interpret import interpret  # noqa: E402

pytestmark = pytest.mark.peers

Case = Callable[..., Any]

UNARY: dict[str, Case] = {
    name: getattr(torch, name)
    for name in ["abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "exp2", "expm1", "floor", "log", "log1p", "log2", "log10", "neg", "reciprocal", "relu", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "isnan", "isinf", "nan_to_num", "selu", "celu"]
} | {
    "elu": F.elu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "glu": lambda x: F.glu(x, 1),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.7),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "logsigmoid": F.logsigmoid,
    "mish": F.mish,
    "relu6": lambda x: F.relu6(4 * x),
    "silu": F.silu,
    "softplus": lambda x: F.softplus(x, 2.0, 3.0),
    "softsign": F.softsign,
    "tanhshrink": F.tanhshrink,
    "hardshrink": F.hardshrink,
    "softshrink": F.softshrink,
    "threshold": lambda x: F.threshold(x, 0.3, -2.0),
    "clamp": lambda x: x.clamp(-0.2, 0.4),
    "clamp min": lambda x: x.clamp(min=0.1),
    "powers": lambda x: [x**2, x**3, x.abs() ** 0.5, x.abs() ** -0.5, x**-1, x.abs() ** 1.7, 2**x],
    "scalars": lambda x: [x + 1, 1 - x, x * 2.5, x / 3, 1 / x, x // 0.3, x % 0.3, torch.fmod(x, 0.3)],
    "alpha": lambda x: [torch.add(x, x, alpha=2), torch.sub(x, x, alpha=0.5), torch.rsub(x, x, alpha=3)],
    "rounded divisions": lambda x: [torch.div(x, 0.3, rounding_mode=m) for m in ("floor", "trunc")],
    "integers": lambda x: [
        (n := (10 * x).to(torch.int64)) + 3,
        n * n,
        n // 3,
        n % 3,
        n / 2,
        n > 2,
        torch.div(n, 4, rounding_mode="trunc"),
        n.float() + n,
        n.clamp(-2, 2),
    ],
    "types": lambda x: [x.to(torch.int32), x.double(), x.half(), x.bfloat16(), x.bool(), x.abs().to(torch.uint8).int()],
    "mixed types": lambda x: [x + (x > 0), x * torch.arange(x.shape[-1]), x.half() + 1, x.double() * x],
    "compared": lambda x: [x > 0, x >= x.mean(), x < 0.1, x <= x, x == x, x != 0, (x > 0) == (x > 0.5)],
    "logic": lambda x: [(x > 0) & (x < 1), (x > 0) | (x > 1), (x > 0) ^ (x > 1), ~(x > 0), torch.logical_not(x)],
    "where": lambda x: [torch.where(x > 0, x, -1.0), torch.where(x > 0, x, x.double()), x.masked_fill(x > 0, float("-inf"))],
    "two": lambda x: [torch.maximum(x, -x), torch.minimum(x, x * x), torch.atan2(x, x - 0.1), torch.lerp(x, -x, 0.3)],
    "fused": lambda x: [torch.addcmul(x, x, x, value=0.5), torch.addcdiv(x, x, x.abs() + 1, value=2)],
}  # fmt: skip

REDUCED: dict[str, Case] = {
    "sum": lambda x: [x.sum(), x.sum(1), x.sum((0, 2), keepdim=True), (x > 0).sum(), (x > 0).sum(1)],
    "mean": lambda x: [x.mean(), x.mean(-1), x.mean((1, 2), keepdim=True)],
    "prod": lambda x: [x.prod(), x.prod(1)],
    "extremes": lambda x: [x.amax(1), x.amin((0, 1)), x.max(), x.min(), *x.max(1), *x.min(2, keepdim=True)],
    "places": lambda x: [x.argmax(), x.argmax(1), x.argmin(2, keepdim=True)],
    "some": lambda x: [(x > 1).any(), (x > -1).all(1), (x > 1).any(2, keepdim=True)],
    "variance": lambda x: [x.var(1), x.std(2, unbiased=False), *torch.var_mean(x, 1), x.var((1, 2), correction=0)],
    "norms": lambda x: [x.norm(dim=1), torch.linalg.vector_norm(x, 1, 2), torch.linalg.vector_norm(x, 3, 1), F.normalize(x, dim=1)],
    "ranked": lambda x: [*x.topk(2, 1), *x.topk(3, 2, largest=False), *x.sort(1), x.sort(2, descending=True)[0], x.argsort(1)],
    "cumulated": lambda x: [x.cumsum(1), x.cumprod(2), (x > 0).cumsum(0), (10 * x).int().cumsum(1), x.cumsum(1, dtype=torch.float64)],
    "softmax": lambda x: [x.softmax(1), x.log_softmax(2), torch.logsumexp(x, 1), F.softmin(x, 1)],
}  # fmt: skip

MOVED: dict[str, Case] = {
    "views": lambda x: [x.reshape(-1), x.view(x.shape[0], -1), x.flatten(1), x.unsqueeze(1), x[:, None].squeeze(1), x.unflatten(1, (2, -1))],
    "permuted": lambda x: [x.permute(2, 0, 1), x.transpose(0, -1), x[0].t(), x.mT, torch.movedim(x, 0, 2)],
    "expanded": lambda x: [x[:, :1].expand(-1, 5, -1), x.repeat(1, 2, 3), x.repeat(2, 1, 1, 1), x.repeat_interleave(2, 1)],
    "sliced": lambda x: [x[:, 1:3], x[:, ::2], x[..., -2:], x[:, -1], x[0], x[:, :100], x.narrow(1, 1, 2)],
    "split": lambda x: [*x.split(2, 1), *x.chunk(3, 2), *x.unbind(1), *x.split([1, 3], 1)],
    "joined": lambda x: [torch.cat([x, x * 2], 1), torch.stack([x, -x], -1), torch.cat([x, x.to(torch.int32)], 2), torch.hstack([x, x])],
    "turned": lambda x: [x.flip(1), x.flip((0, 2)), x.roll(1, 1), x.roll((1, -2), (1, 2)), torch.rot90(x, 1, (1, 2))],
    "padded": lambda x: [F.pad(x, (1, 2)), F.pad(x, (0, 1, 2, 0), value=3.0), F.pad(x, (1, 1), "reflect"), F.pad(x, (2, 1), "replicate"), F.pad(x, (-1, 0))],
    "triangles": lambda x: [x.tril(), x.triu(1), torch.ones(4, 6).tril(-1)],
    "made": lambda x: [torch.arange(5), torch.arange(1.0, 3.0, 0.5), torch.zeros(2, 3), torch.full((2,), 7), torch.ones_like(x), torch.eye(3), torch.linspace(0, 1, 5), torch.zeros_like(x, dtype=torch.int64), x.new_ones(2)],
    "taken": lambda x: [x[:, torch.tensor([2, 0, -1])], x.index_select(2, torch.tensor([1, 1])), x[torch.tensor([[0, 1], [1, 0]])], torch.gather(x, 2, (x > 0).long())],
    "taken at several axes": lambda x: [x[:, torch.tensor([0, 1]), torch.tensor([1, 2])], x[torch.tensor([0, 1]), :, torch.tensor([1, 2])], x[torch.tensor([1, 0]), torch.tensor([0, 3])]],
    "set": lambda x: [torch.slice_scatter(x, x[:, :2] * 0, 1, 1, 3), torch.select_scatter(x, x[:, 0], 1, 2)],
}  # fmt: skip

CONTRACTED: dict[str, Case] = {
    "products": lambda x: [x @ x.mT, x[0] @ x[1].t(), torch.bmm(x, x.mT), x @ x[0, 0], torch.dot(x[0, 0], x[0, 1])],
    "sums of products": lambda x: [torch.addmm(x[0, :, :4], x[0], x[0, :, :4].t() @ x[0, :, :4], beta=2) if x.shape[2] == 4 else x, torch.baddbmm(x @ x.mT, x, x.mT, alpha=0.5)],
    "einsum": lambda x: [torch.einsum("bij,bkj->bik", x, x), torch.einsum("bij->bj", x)],
    "attention": lambda x: [F.scaled_dot_product_attention(x, x, x), F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True), F.scaled_dot_product_attention(x, x, x, (x @ x.mT) > 0, scale=0.2)],
    "normalized": lambda x: [F.layer_norm(x, x.shape[-1:]) if isinstance(x.shape[-1], int) else x, F.rms_norm(x, (6,)), F.group_norm(x, 2), F.instance_norm(x), F.batch_norm(x, None, None, x[0, :, 0], training=True), F.batch_norm(x, None, None, bias=x[0, :, 0], training=True, eps=0.1)],
}  # fmt: skip

IMAGES: dict[str, Case] = {
    "max pools": lambda x: [F.max_pool2d(x, 2), F.max_pool2d(x, 3, 2, 1), F.max_pool2d(x, 3, 2, ceil_mode=True), F.max_pool2d(x, 2, 1, dilation=2)],
    "average pools": lambda x: [F.avg_pool2d(x, 2), F.avg_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), F.avg_pool2d(x, 3, 2, ceil_mode=True)],
    "adaptive pools": lambda x: [F.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, (4, 5)), F.adaptive_avg_pool2d(x, 3), F.adaptive_max_pool2d(x, 1), F.adaptive_max_pool2d(x, (4, 5))],
    "resized": lambda x: [F.interpolate(x, scale_factor=2), F.interpolate(x, (5, 7)), F.interpolate(x, (5, 7), mode="bilinear"), F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True), F.interpolate(x, (13, 17), mode="bicubic"), F.interpolate(x, scale_factor=1.5, mode="bilinear"), F.interpolate(x, (5, 7), mode="bilinear", antialias=True), F.interpolate(x, (11, 11), mode="nearest-exact")],
    "shuffled": lambda x: [F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2), F.channel_shuffle(x, 2)],
    "padded": lambda x: [F.pad(x, (1, 2, 3, 1), "reflect"), F.pad(x, (1, 2, 3, 1), "replicate"), F.pad(x, (1, 1, 1, 1), "circular")],
    "sampled": lambda x: [F.grid_sample(x, torch.linspace(-1, 1, 24).reshape(1, 4, 3, 2).expand(x.shape[0], -1, -1, -1), align_corners=False)],
}  # fmt: skip

VOLUMES: dict[str, Case] = {
    "convolutions": lambda x: [
        F.conv3d(x, example(5, 4, 3, 3, 3), example(5)),
        F.conv3d(x, example(6, 2, 3, 1, 2), None, (2, 1, 2), (1, 0, 2), (2, 1, 1), 2),
        F.conv3d(x, example(4, 1, 2, 3, 3), example(4), padding="same", groups=4),
        F.conv3d(x, example(3, 4, 1, 1, 1), None, 2),
        F.conv3d(x, example(3, 4, 3, 1, 1), None, padding=(1, 0, 0)),
    ],
    "max pools": lambda x: [F.max_pool3d(x, 2), F.max_pool3d(x, 3, 2, 1), F.max_pool3d(x, (1, 3, 2), (1, 2, 1)), F.max_pool3d(x, (3, 1, 1), 1, dilation=2)],
    "average pools": lambda x: [F.avg_pool3d(x, 2), F.avg_pool3d(x, 3, 2, 1), F.avg_pool3d(x, (3, 2, 2), count_include_pad=False), F.adaptive_avg_pool3d(x, 1)],
}  # fmt: skip
_EDGES = [0.0, -0.0, 1.0, -1.0, float("inf"), float("-inf"), float("nan"), 2.5]
EDGES: dict[str, Case] = {
    "atan2": torch.atan2,
    "fmax": torch.fmax,
    "fmin": torch.fmin,
    "maximum": torch.maximum,
    "floor_divide": torch.floor_divide,
    "sign": lambda x, y: torch.sign(x),
    "norm of order 0": lambda x, y: torch.linalg.vector_norm(torch.nan_to_num(x), 0),
}


class Cases(torch.nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def forward(self, x: Any) -> Any:
        made = self.case(x)
        return made if isinstance(made, list) else [made]


def agrees(case: Case, x: Any, dynamic: Any = None, others: tuple[Any, ...] = ()) -> None:
    exported = torch.export.export(Cases(case).eval(), (x,), dynamic_shapes=dynamic)
    program = import_program(exported)
    (graph,) = program.imported.graphs
    for given in (x, *others):
        want = Cases(case)(given)
        got = interpret(graph, {"x": given.numpy()})
        assert len(program.outputs) == len(want)
        for name, result in zip(program.outputs, want, strict=True):
            assert name is not None
            here = got[name]
            there = result.float().numpy() if result.dtype == torch.bfloat16 else result.numpy()
            if result.dtype != torch.bfloat16:
                assert here.dtype == there.dtype, name
            assert here.shape == there.shape, name
            step = (
                1e-2 if result.dtype in (torch.float16, torch.bfloat16) else 2e-5
            )  # halves are computed in f32
            np.testing.assert_allclose(
                here.astype(there.dtype), there, rtol=step, atol=step, err_msg=name
            )


def example(*shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("name", UNARY)
def test_elementwise(name: str) -> None:
    agrees(UNARY[name], example(2, 4, 6) + 0.01)


ROWS = {**REDUCED, **MOVED, **CONTRACTED}


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str) -> None:
    agrees(ROWS[name], example(2, 4, 6))


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str) -> None:
    agrees(IMAGES[name], example(2, 4, 8, 10))


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_open_batches(name: str) -> None:
    batch = torch.export.Dim("batch", min=2, max=9)
    agrees(
        ROWS[name], example(3, 4, 6), ({0: batch},), (example(2, 4, 6, seed=1), example(9, 4, 6))
    )


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_open_batches(name: str) -> None:
    batch = torch.export.Dim("batch", min=2, max=9)
    agrees(IMAGES[name], example(3, 4, 8, 10), ({0: batch},), (example(5, 4, 8, 10, seed=1),))


@pytest.mark.parametrize("name", VOLUMES)
def test_volumes(name: str) -> None:
    batch = torch.export.Dim("batch", min=2, max=9)
    agrees(VOLUMES[name], example(2, 4, 6, 7, 5))
    agrees(VOLUMES[name], example(3, 4, 6, 7, 5), ({0: batch},), (example(5, 4, 6, 7, 5, seed=1),))


@pytest.mark.parametrize("name", EDGES)
def test_edges_of_floats(name: str) -> None:
    pairs = torch.tensor([[a, b] for a in _EDGES for b in _EDGES])
    agrees(lambda x: [EDGES[name](x[:, 0], x[:, 1])], pairs)


def test_whole_quotients_at_the_ends() -> None:
    ends = torch.tensor([-(2**63), 2**63 - 1, -7, 7, -8, 8, 0])

    class Divided(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x // 7, x // -3, x % 7

    exported = torch.export.export(Divided(), (ends,))
    got = interpret(import_program(exported).imported.graphs[0], {"x": ends.numpy()})
    for here, there in zip(got.values(), Divided()(ends), strict=True):
        assert here.tolist() == there.tolist()


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_means_of_nothing(shape: tuple[int, int]) -> None:
    agrees(lambda x: [x.mean(0), x.mean(1), x.mean()], torch.zeros(shape))


def test_parts_that_nothing_reads() -> None:
    agrees(
        lambda x: [x.split([1, 3], 1)[1], x.chunk(2, 2)[0], x.unbind(1)[2], x.topk(2, 1)[1]],
        example(2, 4, 6),
    )


def test_places_of_maxima() -> None:
    agrees(
        lambda x: [
            *F.max_pool2d(x, 2, return_indices=True),
            *F.max_pool2d(x, 3, 2, 1, return_indices=True),
            *F.max_pool1d(x[0], 2, return_indices=True),
            F.max_pool2d(x, 2, return_indices=True)[1],
        ],
        example(2, 4, 8, 10),
    )
