"""Engines that hold equal weights once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, parser

import camshaft
from camshaft.builder.tuning.selection import KernelChoice
from camshaft.errors import ConfigError
from refit_nets import Net, convolutions, feed, random


def products(size: int) -> ModelProto:
    n = Net(random(1))
    x = n.add("Relu", n.add("MatMul", "x", n.w("a", 64, 256)))
    return n.model(n.add("MatMul", x, n.w("b", 256, 64)), [size, 64])


def held(engine: camshaft.Engine) -> dict[str, np.ndarray]:
    return {n: a for part in engine.whole for n, a in part.link().constants.items()}


def test_engines_for_several_sizes_hold_weights_once(tmp_path: Path) -> None:
    built = camshaft.build(products(2), optimization_level=1, threads=2)
    built.save(tmp_path / "a.engine")
    engines = [built, camshaft.load(tmp_path / "a.engine"), camshaft.load(built.to_bytes())]
    x = feed(built)
    wanted = built(x)["y"]
    context = engines[1].create_context()
    size = sum(a.nbytes for a in held(built).values())
    assert camshaft.share_weights(engines) == 2 * size > 0
    assert camshaft.share_weights(engines) == 0
    for name, array in held(built).items():
        assert all(np.shares_memory(held(e)[name], array) or not array.size for e in engines)
    for engine in engines:
        assert np.array_equal(engine(x)["y"], wanted)
        assert np.array_equal(engine.create_context(2).run(x)["y"], wanted)
    assert np.array_equal(context.run(x)["y"], wanted)
    assert engines[2].to_bytes() == built.to_bytes()


def test_what_is_freed_is_gone() -> None:
    one, two = (camshaft.build(products(2), optimization_level=1) for _ in range(2))
    x = feed(two)
    wanted = two(x)["y"]
    name, array = max(held(two).items(), key=lambda item: item[1].nbytes)
    ghost = weakref.ref(array)
    del array
    camshaft.share_weights([one, two])
    assert np.array_equal(two(x)["y"], wanted)
    gc.collect()
    assert ghost() is None
    del one
    gc.collect()
    assert np.array_equal(two(x)["y"], wanted) and name in held(two)


def test_expanded_weights_are_shared() -> None:
    n = Net(random(1))
    x = n.add("Conv", "x", n.w("c", 64, 64, 3, 3), pads=[1] * 4)
    model = n.model(x, [1, 64, 28, 28])
    chosen: list[str] = []

    def winograd(choice: KernelChoice) -> Iterable[int]:
        found = [i for i, k in enumerate(choice.candidates) if "winograd" in k.tactic]
        chosen.extend("winograd" for _ in found)
        return found or range(len(choice.candidates))

    one = camshaft.build(model, select_kernels=winograd, threads=1)
    two = camshaft.load(one.to_bytes())  # another build may time another of them as the fastest
    assert chosen and two.program.expanded
    x = feed(two)
    wanted = two(x)["y"]
    freed = camshaft.share_weights([one, two])
    assert freed >= sum(e.nbytes for e in two.program.expanded)
    assert np.array_equal(two(x)["y"], wanted)


def test_weights_that_may_be_exchanged_are_not_shared() -> None:
    model = convolutions(random(1))
    engines = [camshaft.build(model, refittable=True, optimization_level=1) for _ in range(2)]
    x = feed(engines[0])
    camshaft.share_weights(engines)
    before = engines[1](x)["y"]
    engines[0].refit(convolutions(random(2)))
    assert np.array_equal(engines[1](x)["y"], before)
    assert not np.array_equal(engines[0](x)["y"], before)


def test_parts_of_scripts_share() -> None:
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        net (bool b, float[2, 3] x) => (float[2, 4] y) <float[3, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}> {
            y = If (b) <then_branch = t () => (p) { p = MatMul (x, w) },
                        else_branch = e () => (q) { n = Neg (x) q = MatMul (n, w) }>
        }"""
    )
    engines = [camshaft.build(model, optimization_level=1) for _ in range(2)]
    feeds = [{"b": np.array(b), "x": np.ones((2, 3), np.float32)} for b in (True, False)]
    wanted = [engines[1](f)["y"] for f in feeds]
    assert camshaft.share_weights(engines) > 0
    assert all(np.array_equal(engines[1](f)["y"], w) for f, w in zip(feeds, wanted, strict=True))


def test_what_is_no_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="one is of type str"):
        camshaft.share_weights(["a.engine"])
    with pytest.raises(ConfigError, match="takes a list of engines"):
        camshaft.share_weights(None)
