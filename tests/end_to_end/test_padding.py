"""Engines that leave padding out, beside engines that compute it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import camshaft
from camshaft import Engine, ExecutionContext
from camshaft.program.check import check_program
from camshaft.runtime.file.engine_file import read_engine_file
from padded_models import LONGEST, SIZE, lengths_feeds, padded_feeds, padded_model, patterns

QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 2}
Feeds = Mapping[str, np.ndarray]


@lru_cache(maxsize=4)
def context_of(engine: Engine, threads: int) -> ExecutionContext:
    return engine.create_context(threads)


@pytest.fixture(autouse=True)
def _no_context_stays() -> Iterator[None]:
    yield
    context_of.cache_clear()


def run(engine: Engine, feeds: Feeds, threads: int = 2) -> np.ndarray:
    context = context_of(engine, threads)
    poison(context)
    return context.run(feeds)["y"].copy()


def poison(context: ExecutionContext) -> None:
    """Leave NaN in all memory of a context, as if from another call."""
    context._arena.view(np.uint8)[:] = 0xFF


def check(
    plain: Engine,
    skipping: Engine,
    feeds: Feeds,
    *,
    rows: bool = False,
    tolerance: float = 1e-5,
    name: str = "",
) -> None:
    want = run(plain, feeds)
    for threads in (1, 2):
        got, wanted, mask = run(skipping, feeds, threads), want, feeds["mask"] != 0
        if rows:
            assert not got[~mask].any()
            got, wanted = got[mask], want[mask]
        finite = np.isfinite(wanted)
        np.testing.assert_allclose(got[finite], wanted[finite], tolerance, tolerance, err_msg=name)


def engines(model: object, wanted: bool | None, **options: Any) -> tuple[Engine, Engine]:
    quick = QUICK | options
    plain = camshaft.build(model, skip_padding=False, **quick)
    assert not plain.program.masks
    skipping = camshaft.build(model, skip_padding=wanted, **quick)
    assert skipping.program.masks
    return plain, skipping


@pytest.mark.parametrize(("mask", "end"), [
    ("added", "residual mean"), ("added", "rows"), ("outer", "first"), ("expanded", "rows"),
    ("by indices", "product"), ("by indices", "first"), ("biased too", "first"), ("biased too", "rows"),
])  # fmt: skip
def test_engines_agree(mask: str, end: str) -> None:
    plain, skipping = engines(padded_model(mask, end), True if end == "rows" else None)
    for batch, length in ((3, 8), (1, 5), (2, LONGEST), (3, 8)):
        for name, pattern in patterns(batch, length).items():
            check(plain, skipping, padded_feeds(pattern), rows=end == "rows", name=name)


def test_bools_that_say_what_is_hidden() -> None:
    plain, skipping = engines(padded_model("selected", "mean", hidden=True), None)
    for batch, length in ((3, 8), (1, 5)):
        for name, pattern in patterns(batch, length).items():
            feeds = {"ids": padded_feeds(pattern)["ids"], "hidden": ~pattern}
            want, got = (run(e, feeds) for e in (plain, skipping))
            finite = np.isfinite(want)
            np.testing.assert_allclose(got[finite], want[finite], 1e-5, 1e-5, err_msg=name)


@pytest.mark.parametrize("order", ["time first", "merged heads"])
def test_attention_in_other_orders_of_axes(order: str) -> None:
    """As PyTorch's layers of encoders are exported."""
    plain, skipping = engines(padded_model("selected", "turned mean", order=order), None)
    for batch, length in ((3, 8), (1, 5), (2, LONGEST)):
        for name, pattern in patterns(batch, length).items():
            check(plain, skipping, padded_feeds(pattern), name=name)


@pytest.mark.parametrize("dtype", ["bool", "int32", "float"])
def test_types_of_masks(dtype: str) -> None:
    held = {"bool": np.bool_, "int32": np.int32, "float": np.float32}[dtype]
    plain, skipping = engines(padded_model("selected", dtype=dtype), None)
    for pattern in patterns().values():
        check(plain, skipping, padded_feeds(pattern, held))


def test_masks_of_other_numbers() -> None:
    for mask in ("added", "selected"):
        plain, skipping = engines(padded_model(mask, "rows", layers=1), True)
        numbers = np.array([[1, 2, 0, 1], [1, 0, 1, -1]])
        feeds = padded_feeds(numbers != 0) | {"mask": numbers}
        check(plain, skipping, feeds, rows=True)


def test_onnxruntime_agrees() -> None:
    model = padded_model("by indices")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    engine = camshaft.build(model, **QUICK)
    assert engine.program.masks
    for pattern in list(patterns().values())[:4]:
        feeds = padded_feeds(pattern)
        (want,) = session.run(None, dict(feeds))
        np.testing.assert_allclose(engine(feeds)["y"], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [
    {"precision": {"int8"}, "layer_precision": {"h_0": "int8"}},
    {"precision": {"bf16"}, "layer_precision": {"h_0": "bf16", "k_1": "bf16"}},
    {"weight_only": "int8"},
], ids=["int8", "bf16", "weights"])  # fmt: skip
def test_precisions(options: dict[str, Any]) -> None:
    model = padded_model(layers=2)
    names = [n.output[0] for n in model.graph.node]
    for node in model.graph.node:
        node.name = node.output[0]
    assert "h_0" in names
    plain, skipping = engines(model, None, **options)
    precisions = [{s["precision"] for s in e.inspect()["steps"]} for e in (plain, skipping)]
    assert precisions[0] == precisions[1]
    for pattern in patterns().values():
        check(plain, skipping, padded_feeds(pattern), tolerance=0.03)


def test_calibrated_int8() -> None:
    model = padded_model(layers=1)
    batches = [padded_feeds(p, seed=n) for n, p in enumerate(list(patterns().values())[:4])]
    options = {"precision": {"int8"}, "calibration": batches}
    plain, skipping = engines(model, None, **options)
    for pattern in patterns().values():
        check(plain, skipping, padded_feeds(pattern), tolerance=0.1)


def steps_of(engine: Engine) -> dict[str, list[Any]]:
    """Extents of what each kind of step writes first, at any sizes."""
    found: dict[str, list[Any]] = {}
    for note, instruction in zip(engine.manifest.notes, engine.program.instructions, strict=True):
        found.setdefault(note.op, []).append(instruction)
    return found


def test_rows_of_padding_cost_nothing() -> None:
    model = padded_model(batch=4, length=LONGEST)
    plain, skipping = engines(model, None)
    with skipping.create_context(1) as context:
        for kept in (1, 7, 48):
            mask = (np.arange(48) < kept).reshape(4, LONGEST)
            context.run(padded_feeds(mask))
            assert context.sizes == {"kept_rows": kept}
    macs = [sum(s["macs"] for s in e.inspect()["steps"]) for e in (plain, skipping)]
    assert macs[1] <= macs[0]
    products = [n for n in skipping.manifest.notes if n.op in ("conv", "matmul")]
    assert products
    assert all("kept_rows" in str(n.macs) for n in products)
    heavy = [n for n in skipping.manifest.notes if n.op not in ("kept_rows",) and n.macs != 0]
    assert all("kept_rows" in str(n.macs) for n in heavy if n.op != "reduce")


def test_no_output_is_zeroed_in_python() -> None:
    engine = camshaft.build(padded_model(end="half rows", layers=1), skip_padding=True, **QUICK)
    assert {s["kind"] for s in engine.inspect()["steps"]} == {"kernel"}
    mask = patterns()["holes"]
    got = run(engine, padded_feeds(mask))
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got.any(axis=-1), mask)


def test_the_same_mask_is_looked_at_but_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = camshaft.build(padded_model(batch=2, length=6), **QUICK)
    counted = 0
    kept_type = type(engine.program.masks[0][1])
    count = kept_type.count

    def counting(self: Any, mask: np.ndarray, shapes: Any) -> int:
        nonlocal counted
        counted += 1
        return count(self, mask, shapes)

    monkeypatch.setattr(kept_type, "count", counting)
    mask = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]])
    with engine.create_context(1) as context:
        first = context.run(padded_feeds(mask))["y"]
        context.run(padded_feeds(mask, seed=1))
        assert counted == 1
        other = mask[:, ::-1].copy()
        moved = context.run(padded_feeds(other))["y"]
        assert counted == 2
        np.testing.assert_array_equal(context.run(padded_feeds(mask))["y"], first)
        assert not np.array_equal(moved, first)
        with pytest.raises(camshaft.BindingError, match="mask"):
            context.run(padded_feeds(mask, np.int32))
        with pytest.raises(camshaft.ShapeError, match="mask"):
            context.run(padded_feeds(mask) | {"mask": mask[:, :5].copy()})
        with pytest.raises(camshaft.ShapeError, match="mask"):
            context.run(padded_feeds(mask) | {"mask": mask[None].copy()})
        np.testing.assert_array_equal(context.run(padded_feeds(mask))["y"], first)


def test_files_keep_it(tmp_path: Path) -> None:
    engine = camshaft.build(padded_model(), **QUICK)
    engine.save(tmp_path / "e.engine")
    again = Engine.load(tmp_path / "e.engine")
    assert again.program == engine.program
    feeds = padded_feeds(patterns()["holes"])
    np.testing.assert_array_equal(again(feeds)["y"], engine(feeds)["y"])
    assert again.output_shapes({"ids": (2, 5), "mask": (2, 5)}) == {"y": (2, SIZE)}


def test_what_cannot_be_skipped() -> None:
    for end in ("rows", "plain mean"):
        assert not camshaft.build(padded_model(end=end), **QUICK).program.masks
    with pytest.raises(camshaft.ConfigError, match="skip_padding"):
        camshaft.build(padded_model(end="plain mean"), skip_padding=True, **QUICK)
    with pytest.raises(camshaft.ConfigError, match="skip_padding"):
        camshaft.build(padded_model(), skip_padding=1)  # type: ignore[arg-type]


def test_lengths_say_what_is_padding() -> None:
    model = padded_model("expanded", "mean", lengths="below", layers=1, dtype="int32")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    engine = camshaft.build(model, **QUICK)
    with engine.create_context(2) as context:
        for length, lengths in ((8, [8, 2, 5]), (8, [1, 8, 5]), (5, [1, 8, 5]), (3, [3]), (3, [1])):
            feeds = lengths_feeds(np.array(lengths), length, np.int32)
            (want,) = session.run(None, dict(feeds))
            poison(context)
            np.testing.assert_allclose(context.run(feeds)["y"], want, rtol=1e-4, atol=1e-5)
            assert context.sizes["kept_rows"] == np.minimum(lengths, length).sum()
        with pytest.raises(camshaft.ShapeError, match="ids"):
            context.run(feeds | {"ids": feeds["ids"][0]})
        with pytest.raises(camshaft.BindingError, match="lengths"):
            context.run(feeds | {"lengths": np.array([1])})


def test_an_edited_engine_whose_places_nothing_says(tmp_path: Path) -> None:
    camshaft.build(padded_model(lengths="below", layers=1), **QUICK).save(tmp_path / "engine")
    contents = read_engine_file(tmp_path / "engine")
    program = contents.manifest.program
    nbytes = {name: array.nbytes for name, array in contents.constants.items()}
    ((binding, kept),) = program.masks
    for said in (("ids", 2), ("nothing", 0), 0):
        edited = replace(binding, kept=replace(kept, lengths=said))
        inputs = tuple(edited if b is binding else b for b in program.inputs)
        with pytest.raises(camshaft.BuildError, match="neither a mask of rows nor lengths"):
            check_program(replace(program, inputs=inputs), nbytes, contents.code)
