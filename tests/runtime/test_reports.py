"""An index that a gather meets at run time and that its axis does not have is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import camshaft
from camshaft.config import BuildConfig
from camshaft.errors import BindingError
from onnx_models import model_of, one_node

TABLE = np.arange(30, dtype=np.float32).reshape(10, 3)


def engine_of(proto: object, threads: int = 1, level: int = 1) -> camshaft.Engine:
    return camshaft.build(proto, config=BuildConfig(threads=threads, optimization_level=level))


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("bad", [10, -11, 2**40, -(2**63)])
def test_the_error_names_node_and_value(level: int, threads: int, bad: int) -> None:
    good = np.array([[0, 9, -10], [4, -1, 5]], np.int64)
    proto, _ = one_node("Gather", [TABLE, good], axis=0)
    engine = engine_of(proto, threads, level)
    with engine.create_context(threads) as context:
        for at in ((0, 0), (1, 2)):
            wrong = good.copy()
            wrong[at] = bad
            for _ in range(2):
                with pytest.raises(BindingError, match=rf"node 'node' .* {bad}, .* -10 to 9"):
                    context.run({"x0": TABLE, "x1": wrong})
                out = {"y0": np.empty((2, 3, 3), np.float32)}
                with pytest.raises(BindingError, match=rf"node 'node' .* {bad},"):
                    context.run_into({"x0": TABLE, "x1": wrong}, out)
            got = context.run({"x0": TABLE, "x1": good})["y0"]  # as if nothing had happened
            np.testing.assert_array_equal(got, TABLE[good])


def test_of_several_gathers_the_right_one_is_named_and_a_file_keeps_it(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["x", "a"], ["p"], "first", axis=0),
        helper.make_node("Cast", ["b"], ["wide"], "cast", to=7),
        helper.make_node("Gather", ["p", "wide"], ["y"], "second", axis=1),
    ]
    feeds = {"x": TABLE, "a": np.array([1, 2], np.int64), "b": np.array([0, 2, -3], np.int32)}
    engine_of(model_of(nodes, feeds, ["y"])).save(tmp_path / "e.engine")
    engine = camshaft.load(tmp_path / "e.engine")
    np.testing.assert_array_equal(engine(feeds)["y"], TABLE[[1, 2]][:, [0, 2, -3]])
    with pytest.raises(BindingError, match="node 'first' is given the index 77"):
        engine({**feeds, "a": np.array([1, 77], np.int64)})
    with pytest.raises(BindingError, match=r"node '(cast \+ )?second' is given the index -4"):
        engine({**feeds, "b": np.array([0, 2, -4], np.int32)})


def test_engines_without_run_time_indices_have_no_reports() -> None:
    proto, feeds = one_node("Gather", [TABLE], {1: np.array([[3, 1]])}, axis=0)
    context = engine_of(proto).create_context()
    assert context._reports is None
    np.testing.assert_array_equal(context.run(feeds)["y0"], TABLE[[[3, 1]]])
