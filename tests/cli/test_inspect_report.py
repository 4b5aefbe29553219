"""`camshaft inspect --report`: what a page says of real engines."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper
from test_scripts import COUNTED

import camshaft
from camshaft.config import BuildConfig
from camshaft.report.page.data import Memory, Page
from camshaft.report.page.gather.collect import page_of
from camshaft.session import BuildSession
from cli_models import QUICK, call, complaint, residual_net, save, weight
from page_trees import page_tree
from script_models import text_model


def built(model: object) -> tuple[BuildSession, camshaft.Engine]:
    session = BuildSession(model, BuildConfig(optimization_level=1, threads=1))
    return session, session.run()


def require_sound(memory: Memory) -> None:
    """No two buffers lie in the same bytes at the same time."""
    for i, a in enumerate(memory.blocks):
        assert 0 <= a.first <= a.last < len(memory.steps) and a.offset + a.nbytes <= memory.nbytes
        for b in memory.blocks[:i]:
            together = a.first <= b.last and b.first <= a.last
            assert not (
                together and a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes
            )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    model = residual_net(tmp_path_factory.mktemp("report") / "net.onnx", batch="batch")
    session, engine = built(model)
    return page_of(engine, session)


def test_layers_know_their_steps_and_steps_what_they_read(page: Page) -> None:
    (before,), (after,) = page.before, page.after
    assert page.title == "net.onnx"
    layers = {box.lines[0]: box for box in before.boxes if box.kind == "layer"}
    assert layers["conv2"].steps == layers["add"].steps == layers["relu2"].steps != ()
    assert layers["conv2"].precision == "f32" and "became step" in layers["conv2"].details[-1]
    assert layers["flat"].steps == () and "no step of its own" in layers["flat"].details[-1]
    at = {box.lines: i for i, box in enumerate(after.boxes)}
    conv2 = after.boxes[at["conv2", "add", "relu2"]]
    assert conv2.reads == (at["conv1", "relu1"],)
    assert after.boxes[-1].kind == "output" and after.boxes[-1].reads == (at[("fc",)],)
    assert all(r < i for d in (before, after) for i, b in enumerate(d.boxes) for r in b.reads)


def test_figures_of_a_step(page: Page) -> None:
    conv2 = next(s for s in page.steps if "conv2" in s.origin)
    assert conv2.read == 8 * 8 * 8 * 4  # the convolution and the sum read one tensor
    assert conv2.written == 8 * 8 * 8 * 4 and conv2.macs == 8 * 8 * 8 * 8 * 9
    assert conv2.weights >= 8 * 8 * 9 * 4 and conv2.reason


def test_memory_is_a_plan(page: Page) -> None:
    (memory,) = page.memory
    assert len(memory.blocks) >= 3 and memory.lower_bound <= memory.nbytes
    require_sound(memory)


def test_open_sizes_are_text(page: Page) -> None:
    facts = {f.name: f.value for f in page.facts}
    assert facts["inputs"] == "x f32[batch,3,8,8]" and "batch 1.., typically 1" in facts["sizes"]
    assert page.after[0].boxes[0].lines == ("f32[batch,3,8,8]",)


def test_figures_are_of_the_sizes_measured(tmp_path: Path) -> None:
    model, report = residual_net(tmp_path / "net.onnx", batch="batch"), tmp_path / "r.html"
    call("build", model, *QUICK)
    engine = model.with_suffix(".engine")
    sizes = ("--shapes", "x:3x3x8x8", "--dump-profile", "--runs", 2)
    call("inspect", engine, *sizes, "--report", report)
    tree = page_tree(report.read_text(encoding="utf-8"))
    rows = [
        r
        for r in tree.all("tr")
        if "conv1" in r.text and "elsewhere" not in r.attributes.get("class", "")
    ]
    read = [e.text for r in rows for e in r.all("td") if e.attributes["data-name"] == "read"]
    assert read == ["2.3 kB"]  # 3 images, not the typical one
    assert "measured at batch = 3" in tree.all("dl")[0].text


def test_a_step_reads_all_that_wrote_a_part_of_its_input(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "one", pads=[1] * 4),
        helper.make_node("Conv", ["x", "w2"], ["b"], "two", pads=[1] * 4),
        helper.make_node("Concat", ["a", "b"], ["c"], "both", axis=1),
        helper.make_node("Conv", ["c", "w3"], ["y"], "last", pads=[1] * 4),
    ]
    weights = [weight("w1", 8, 3, 3, 3), weight("w2", 8, 3, 3, 3), weight("w3", 8, 16, 3, 3)]
    shapes = {"x": (1, 3, 8, 8)}, {"y": (1, 8, 8, 8)}
    _, engine = built(save(tmp_path / "net.onnx", nodes, *shapes, weights))
    (drawing,) = page_of(engine).after
    at = {box.details[0]: i for i, box in enumerate(drawing.boxes)}  # by the steps' names
    assert set(drawing.boxes[at["last"]].reads) == {at["one"], at["two"]}


def test_report_of_a_model_and_of_an_engine(tmp_path: Path) -> None:
    model, report = residual_net(tmp_path / "net.onnx"), tmp_path / "r.html"
    call("build", model, *QUICK)
    engine = model.with_suffix(".engine")
    assert f"report     {report}" in call("inspect", engine, "--report", report).stdout
    tree = page_tree(report.read_text(encoding="utf-8"))
    assert tree.all("h1")[0].text == "net.engine"
    assert [e.text for e in tree.all("h3")] == ["What runs"] and tree.by_id("table")
    call("inspect", model, *QUICK, "--dump-profile", "--runs", 2, "--report", report)
    tree = page_tree(report.read_text(encoding="utf-8"))
    assert [e.text for e in tree.all("h3")] == ["The model as imported", "What runs"]
    steps = tree.by_id("steps")
    assert steps and "measured over 2 runs with 1 thread" in steps.text
    assert "a call" in tree.of_class("tile")[0].text


def test_report_of_several_graphs(tmp_path: Path) -> None:
    onnx.save(text_model(COUNTED), tmp_path / "net.onnx")
    report = tmp_path / "r.html"
    profile = ("--dump-profile", "--runs", 2)
    call("inspect", tmp_path / "net.onnx", *QUICK, *profile, "--report", report)
    tree = page_tree(report.read_text(encoding="utf-8"))
    kinds = [e.text for e in tree.all("td") if e.attributes["data-name"] == "precision"]
    assert "Python" in kinds and "f32" in kinds
    assert "Loop(" in tree.all("pre")[0].text


def test_report_is_refused_before_any_work(tmp_path: Path) -> None:
    model = residual_net(tmp_path / "net.onnx")
    assert "cannot write" in complaint(
        "inspect", model, "--report", tmp_path / "no" / "r.html", code=2
    )
    assert "--report" in complaint("inspect", model, "--report", model, code=2)
    assert "leave --graph out" in complaint(
        "inspect", model, "--graph", "after", "--report", tmp_path / "r.html", code=2
    )
