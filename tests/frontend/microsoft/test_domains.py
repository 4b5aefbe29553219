"""Operators of other domains that nobody defines here: an error where an output needs one."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from camshaft.errors import ModelError
from foreign_models import foreign
from onnx_models import imported, model_of

X = np.zeros((1, 4), np.float32)


def test_an_unknown_operator_that_is_needed_names_node_domain_and_ways_out() -> None:
    model, _ = foreign("BifurcationDetector", [X])
    with pytest.raises(ModelError) as error:
        imported(model)
    message = str(error.value)
    for part in ("'node'", "'BifurcationDetector'", "'com.microsoft'", "local function", "plugin"):
        assert part in message


def test_the_blocked_layouts_of_one_machine_are_refused() -> None:
    domain = "com.microsoft.nchwc"
    node = helper.make_node("ReorderInput", ["x"], ["y"], domain=domain)
    model = model_of([node], {"x": X}, ["y"], domains=[domain])
    with pytest.raises(ModelError, match=r"'com\.microsoft\.nchwc'.*ORT_ENABLE_EXTENDED"):
        imported(model)


def test_an_unknown_operator_that_no_output_needs_is_left_out() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Unheard", ["y"], ["z"], domain="org.example"),
    ]
    assert imported(model_of(nodes, {"x": X}, ["y"], domains=["org.example"])).output_names == (
        "y",
    )
