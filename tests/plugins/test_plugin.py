"""`camshaft.plugin`: operators of users in networks, ONNX files and engine files, by all kinds of kernels."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import camshaft
from camshaft.errors import BuildError, EngineFileError, ModelError
from camshaft.ir.op import REQUIRED
from camshaft.ir.plugins import registry
from camshaft.ir.plugins.kernels import address_of
from leaky_plugin import compiled, leaky_plugin

RNG = np.random.default_rng(7)
KINDS = {"language": "plugin", "llvm": "plugin_llvm", "function": "plugin_function"}


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def onnx_model(*nodes: onnx.NodeProto, shape: Any = ("n", 5), domains: tuple[str, ...] = ()) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 3])
def test_kernels_compute_open_sizes_and_strided_operands(kind: str, threads: int) -> None:
    leaky = leaky_plugin(f"test::Leaky_{kind}", kind)
    n = camshaft.Network()
    x = n.input("x", ("rows", 3, 4))
    whole = n.plugin(leaky, x, slope=0.25)
    part = n.plugin(leaky.name, x[:, 1:], slope=0.5)  # a view of x, into a part of z
    n.output(whole, "y")
    n.output(n.concat([part, n.relu(part)], 1), "z")
    engine = n.build(optimization_level=3, threads=threads)
    steps = [s for s in engine.manifest.notes if s.op == "plugin"]
    assert [s.tactic for s in steps] == [KINDS[kind]] * 2
    for rows in (1, 6):
        feed = floats(rows, 3, 4)
        got = engine({"x": feed})
        half = leaky(feed[:, 1:], slope=0.5)
        np.testing.assert_array_equal(got["y"], leaky(feed, slope=0.25))
        np.testing.assert_array_equal(got["z"], np.concatenate([half, np.maximum(half, 0)], 1))


def test_kernels_of_all_kinds_compete() -> None:
    leaky = leaky_plugin("test::LeakyAll", *KINDS)
    n = camshaft.Network()
    n.output(n.plugin(leaky, n.input("x", (64, 64))), "y")
    (step,) = n.build(optimization_level=5).manifest.notes
    assert "best of 4" in step.reason


def test_without_a_kernel_the_reference_runs() -> None:
    leaky = leaky_plugin("test::LeakyHosted")
    n = camshaft.Network()
    x = n.input("x", ("rows", 2))
    n.output(n.relu(n.plugin(leaky, n.transpose(x, (1, 0)), slope=-1.0)), "y")
    engine = n.build(optimization_level=0)
    feed = floats(3, 2)
    np.testing.assert_array_equal(engine({"x": feed})["y"], np.abs(feed).T)


def test_engine_files_hold_code_and_name_functions(tmp_path: Path) -> None:
    """Another process needs the registration for functions and references alone."""
    files = {}
    for kind in ("language", "llvm", "function", "none"):
        n = camshaft.Network()
        n.output(n.plugin(leaky_plugin(f"test::Leaky_{kind}", kind), n.input("x", (6,))), "y")
        files[kind] = tmp_path / f"{kind}.engine"
        n.build(optimization_level=0).save(files[kind])
    script = (
        "import sys, numpy as np, camshaft\n"
        "x = np.arange(-3, 3, dtype=np.float32)\n"
        "y = camshaft.load(sys.argv[1])({'x': x})['y']\n"
        "np.testing.assert_allclose(y, np.where(x > 0, x, x * np.float32(0.1)))\n"
    )
    for kind in ("language", "llvm"):
        subprocess.run([sys.executable, "-c", script, files[kind]], check=True)
    for kind in ("function", "none"):
        run = subprocess.run(
            [sys.executable, "-c", script, files[kind]], capture_output=True, text=True
        )
        assert f"plugin 'test::Leaky_{kind}' is not registered in this process" in run.stderr
        assert "import the module that registers it before loading" in run.stderr
    assert camshaft.load(files["function"])({"x": floats(6)})["y"].shape == (6,)
    registry.unregister("test::Leaky_function")
    with pytest.raises(EngineFileError, match="test::Leaky_function"):
        camshaft.load(files["function"])


def test_functions_are_given_in_many_forms() -> None:
    class Compiled:  # as numba's cfunc
        address = 4096

    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    address = compiled()["leaky_function"]
    assert address_of(address) == address_of(kind(address)) == address
    assert address_of(Compiled()) == 4096
    with pytest.raises(ModelError, match="function pointer or numba's cfunc, not a str"):
        address_of("leaky")


def test_onnx_nodes_are_found_by_domain_and_type() -> None:
    leaky = leaky_plugin("test.domain::LeakyNode", "language")
    leaky_plugin("LeakyOfNoDomain", "language")
    nodes = [
        helper.make_node("LeakyNode", ["x"], ["a"], domain="test.domain", slope=0.5),
        helper.make_node("LeakyOfNoDomain", ["a"], ["y"]),
    ]
    feed = floats(4, 5)
    want = np.where(feed > 0, feed, feed * np.float32(0.5) * np.float32(0.1))
    for domains in ((), ("test.domain",)):  # files that do not import the domain are read, too
        engine = camshaft.build(onnx_model(*nodes, domains=domains), optimization_level=0)
        np.testing.assert_allclose(engine({"x": feed})["y"], want, rtol=1e-6)
    assert leaky(feed).shape == feed.shape


def test_what_does_not_fit_is_said_with_the_node() -> None:
    leaky_plugin("test::LeakyStrict")
    node = helper.make_node("LeakyStrict", ["x"], ["y"], "act", domain="test", slop=0.5)
    with pytest.raises(ModelError, match=r"'act'.*no attribute \['slop'\] \(it has slope\)"):
        camshaft.build(onnx_model(node), optimization_level=0)
    n = camshaft.Network()
    x = n.input("x", (2,), "int32")
    with pytest.raises(ModelError, match=r"takes inputs of \(f32\), not \(i32\)"):
        n.plugin("test::LeakyStrict", x)
    with pytest.raises(ModelError, match="slope"):
        n.plugin("test::LeakyStrict", n.input("z", (2,)), slope="steep")
    node = helper.make_node("Unregistered", ["x"], ["y"], domain="test")
    with pytest.raises(ModelError, match="register it as a plugin"):
        camshaft.build(onnx_model(node, domains=("test",)), optimization_level=0)


def test_a_kernel_that_is_wrong_stops_the_build() -> None:
    leaky = leaky_plugin("test::LeakyWrong")

    @leaky.kernel()
    def doubles(k: Any, work: Any, x: Any, y: Any) -> None:
        with k.loop(k.begin, k.end) as i:
            k.store(k.load(x.at(i)) * 2, y.at(i))

    n = camshaft.Network()
    n.output(n.plugin(leaky, n.input("x", (8,))), "y")
    with pytest.raises(BuildError, match="kernel 'doubles' of plugin 'test::LeakyWrong'"):
        n.build(optimization_level=3)
    leaky.tolerance = 3.0
    assert n.build(optimization_level=3)


def test_several_results_optional_inputs_and_open_extents_in_inference() -> None:
    @camshaft.plugin(
        "test::PairsOf",
        attributes={"axis": REQUIRED, "names": ("a",)},
        infer=lambda x, bias=None, *, axis, names: [
            (x.dtype, (x.shape[0] * 2, *x.shape[1:])),
            ("i64", (x.shape[0],)),
        ],
    )
    def pairs(x: np.ndarray, bias: Any = None, *, axis: int, names: Any) -> Any:
        assert axis == 0 and names == ("a",)
        y = x if bias is None else x + bias
        return np.concatenate([y, y]), np.arange(len(x))

    n = camshaft.Network()
    x = n.input("x", ("n", 3))
    y, numbers = n.plugin(pairs, x, None, axis=0)
    z, _ = n.plugin(pairs, x, np.ones(3, np.float32), axis=0)
    assert y.shape == ("2*n", 3) and numbers.dtype == np.int64
    n.output(n.add(y, z), "y")
    n.output(numbers, "numbers")
    engine = n.build(optimization_level=0)
    feed = floats(4, 3)
    got = engine({"x": feed})
    np.testing.assert_allclose(got["y"], np.concatenate([feed * 2 + 1] * 2), rtol=1e-5)
    np.testing.assert_array_equal(got["numbers"], np.arange(4))
    with pytest.raises(ModelError, match=r"needs attribute \['axis'\]"):
        n.plugin(pairs, x, None)


def test_sizes_that_hang_on_data_make_a_step_between_graphs() -> None:
    @camshaft.plugin("test::Positive", infer=lambda x: (x.dtype, (None,)))
    def positive(x: np.ndarray) -> np.ndarray:
        return x[x > 0]

    n = camshaft.Network()
    n.output(n.plugin(positive, n.input("x", (6,))) * 2.0, "y")
    engine = n.build(optimization_level=0)
    for _ in range(2):
        feed = floats(6)
        np.testing.assert_array_equal(engine({"x": feed})["y"], feed[feed > 0] * 2)


def test_faults_of_users_functions_name_the_plugin() -> None:
    @camshaft.plugin("test::Faulty", infer=lambda x: (x.dtype, (*x.shape, 1)))
    def faulty(x: np.ndarray) -> np.ndarray:
        return x

    n = camshaft.Network()
    n.output(n.plugin(faulty, n.input("x", (6,))), "y")
    engine = n.build(optimization_level=0)
    with pytest.raises(ModelError, match=r"'test::Faulty' gives result 0 the shape \[6\]"):
        engine({"x": floats(6)})
    faulty.infer = lambda x: 1 / 0
    with pytest.raises(ModelError, match="inference of plugin 'test::Faulty' failed: ZeroDivision"):
        n.plugin(faulty, n.input("z", (6,)))
