"""Resize whose sizes are an input, or whose sizes or scales only a run finds: only images are resampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft import Engine, ModelError, ShapeError
from script_models import QUICK, check, text_model

pytestmark = [pytest.mark.peers, pytest.mark.codegen]
RNG = np.random.default_rng(11)
SIZES = ((10, 12, 2, 17), (9, 7, 50, 6), (5, 5, 5, 5), (1, 4, 3, 1))


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def resamplings(engine: Engine) -> list[str]:
    return [s["name"] for s in engine.inspect()["steps"] if s["tactic"] == "resample"]


def to_an_input(shape: str, attrs: str = "mode = 'linear'") -> Any:
    attrs = attrs.replace("'", '"')
    return text_model(
        f"(float[{shape}] x, int64[4] to) => (float[a,b,c,d] y) {{ y = Resize <{attrs}> (x, , , to) }}"
    )


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_sizes_that_are_an_input_leave_batch_and_channels(mode: str, tmp_path: Path) -> None:
    calls = [
        {"x": f(n, 3, h, w), "to": np.array([n, 3, a, b])}
        for n, (h, w, a, b) in zip((2, 1, 2, 3), SIZES, strict=True)
    ]
    engine = check(to_an_input("n,3,h,w", f"mode = '{mode}'"), calls, tmp_path)
    assert len(resamplings(engine)) == 1
    with pytest.raises(ShapeError, match=r"input 'to', element 0 is 1, and .* both are n.*values="):
        engine({"x": f(2, 3, 4, 4), "to": np.array([1, 3, 4, 4])})
    with pytest.raises(
        ShapeError, match=r"input 'to', element 1 is 4, and .* built for 3.*values="
    ):
        engine({"x": f(2, 3, 4, 4), "to": np.array([2, 4, 4, 4])})


def test_channels_may_come_last(tmp_path: Path) -> None:
    calls = [{"x": f(2, h, w, 3), "to": np.array([2, a, b, 3])} for h, w, a, b in SIZES]
    assert len(resamplings(check(to_an_input("n,h,w,3"), calls, tmp_path))) == 1


def test_values_open_batch_and_channels() -> None:
    model = to_an_input("n,3,h,w", "mode = 'nearest'")
    calls = [{"x": f(2, 3, 4, 5), "to": np.array(to)} for to in ([2, 3, 7, 3], [4, 6, 4, 9])]
    check(model, calls, values={"to": (None,) * 4})


def test_sizes_from_the_shape_and_an_input(tmp_path: Path) -> None:
    model = text_model("""(float[n,3,h,w] x, int64[2] hw) => (float[a,b,c,d] y) {
        front = Shape <start = 0, end = 2> (x) to = Concat <axis = 0> (front, hw)
        y = Resize <mode = "linear"> (x, , , to) }""")
    calls = [{"x": f(2, 3, h, w), "hw": np.array([a, b])} for h, w, a, b in SIZES]
    assert len(resamplings(check(model, calls, tmp_path))) == 1


def by_scales(shape: str, attrs: str) -> Any:
    return text_model(f"""(float[{shape}] x, float[4] by) => (float[a,b,c,d] y) {{
        r = Resize <{attrs}> (x, , by) y = Relu (r) }}""")


COORDINATES = (
    "half_pixel",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "half_pixel_symmetric",
)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_scales_that_are_an_input(mode: str, coordinates: str) -> None:
    """The coordinates use the scale, which need not be the ratio of the extents."""
    attrs = f'mode = "{mode}", coordinate_transformation_mode = "{coordinates}"'
    scales = ((2, 3), (0.5, 0.6), (1, 1), (0.1, 1), (2.3, 0.7))
    if mode == "nearest":  # what lies between two pixels is a matter of rounding
        scales = ((2, 3), (1, 1), (4, 1))
    calls = [{"x": f(2, 3, 9, 7), "by": np.array([1, 1, *by], np.float32)} for by in scales]
    check(by_scales("n,3,h,w", attrs), calls)


def test_linear_images_are_resampled_in_generated_code(tmp_path: Path) -> None:
    calls = [
        {"x": f(2, 10, 12, 3), "by": np.array([1, *by, 1], np.float32)} for by in ((2, 1), (0.5, 3))
    ]
    engine = check(by_scales("n,h,w,3", 'mode = "linear"'), calls, tmp_path)
    assert len(resamplings(engine)) == 1
    with pytest.raises(
        ModelError, match=r"node 'r' \(Resize\): axis 3 of 3 elements .* to 6; .*height"
    ):
        engine({"x": f(2, 10, 12, 3), "by": np.array([1, 1, 1, 2], np.float32)})


def test_sizes_that_a_graph_computes(tmp_path: Path) -> None:
    model = text_model("""(float[n,3,h,w] x, float[2] hw) => (float[n,3,c,d] y) {
        to = Cast <to = 7> (hw)
        r = Resize <mode = "linear", axes = [3, 2], keep_aspect_ratio_policy = "not_larger"> (x, , , to)
        y = Relu (r) }""")
    model.opset_import[0].version = 18
    calls = [{"x": f(2, 3, h, w), "hw": np.array([a, b], np.float32)} for h, w, a, b in SIZES]
    check(model, calls, tmp_path)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_an_image_without_rows(mode: str) -> None:
    for shape in ("1,2,0,4", "1,2,h,4"):
        fixed = f"""(float[{shape}] x) => (float[a,b,c,d] y) {{
            by = Constant <value_floats = [1.0, 1.0, 2.0, 3.0]> ()
            r = Resize <mode = "{mode}"> (x, , by) y = Relu (r) }}"""
        options = {"shapes": {"x": (1, 2, "0..", 4)}} if "h" in shape else {}
        check(text_model(fixed), [{"x": f(1, 2, 0, 4)}], **options)
        call = {"x": f(1, 2, 0, 4), "by": np.array([1, 1, 2, 3], np.float32)}
        check(by_scales(shape, f'mode = "{mode}"'), [call], **options)
    to = text_model(f"""(float[1,2,0,4] x) => (float[a,b,c,d] y) {{
        to = Constant <value_ints = [1, 2, 0, 8]> () y = Resize <mode = "{mode}"> (x, , , to) }}""")
    check(to, [{"x": f(1, 2, 0, 4)}])


def test_rows_cannot_come_of_nothing() -> None:
    model = text_model("""(float[1,2,0,4] x) => (float[a,b,c,d] y) {
        to = Constant <value_ints = [1, 2, 3, 4]> () y = Resize <mode = "linear"> (x, , , to) }""")
    with pytest.raises(ModelError, match=r"node 'y' \(Resize\).*no elements"):
        camshaft.build(model, **QUICK)
