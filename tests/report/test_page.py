"""The page: it stands by itself, escapes what layers are called, and leaves out what is not known."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from math import inf, nan
from pathlib import Path

from camshaft.report.page.data import (
    Accuracy,
    Block,
    Box,
    Drawing,
    Fact,
    Histogram,
    LayerNoise,
    Memory,
    Page,
    Point,
    Step,
    Trial,
)
from camshaft.report.page.figures import count_text, share_text, ticks, time_text
from camshaft.report.page.page import page_html
from page_trees import Element, page_tree

ROOT = Path(__file__).parents[2]
EVIL = "</script><img src=x onerror=alert(1)>\"'&\x00\ud800<!--</style></title>"


def full(name: str = "conv1") -> Page:
    """A page that has everything; name: what all in it is called."""
    boxes = (
        Box("input", name, ("f32[batch,3,8,8]",)),
        Box("step", "conv", (name, "relu1"), (name, "reads it"), (0,), "i8", (0,), 12.5),
        Box("host", name, (name,), (name,), (1,), "", (1,), 3.0),
        Box("output", name, ("f32[batch,10]",), (name,), (2,)),
    )
    drawing = Drawing(name, boxes)
    steps = (
        Step(0, "step", name, "conv", "conv_direct block=2", (name, "relu1"), "i8", f"why {name}",
             "batch < 4", True, 12.5, 1000, 2000, 300, 4_000_000),
        Step(1, "host", name, name, "in Python", (name,), time_us=3.0),
        Step(2, "step", "other", "conv", precision="f32", where="batch >= 4", runs=False, time_us=99.0),
    )  # fmt: skip
    memory = Memory(
        name, 4096, 4000, (name, "b"), (Block(name, 0, 4096, 0, 1), Block("w", 0, 64, 1, 1, True))
    )
    accuracy = Accuracy(
        (LayerNoise("good", 40.0, "i8"), LayerNoise(name, 9.5, "i8", name), LayerNoise("exact", inf)),
        (Histogram(name, (10.0, 80.0, 10.0), (0.0, 1.0, 2.0, 3.0), 0.0, 2.0),),
        (Point(name, 1.5, 70.0), Point("kept", 2.0, 75.0, True)),
        (Trial(name, 70.0, 0.0, 1.5, name),),
        name, 76.0, 74.0,
    )  # fmt: skip
    facts = (Fact(name, name, name, True), Fact("sizes", "batch 1..8, typically 2"))
    return Page(name, facts, (drawing,), (drawing,), steps, name, (name,), (memory,), accuracy)


def sections(tree: Element) -> list[str]:
    return [e.attributes["id"] for e in tree.all("section")]


def test_page_stands_by_itself() -> None:
    html = page_html(full())
    tree = page_tree(html)
    assert sections(tree) == ["graph", "steps", "memory", "accuracy"]
    links = [
        v for e in tree.walk() for k, v in e.attributes.items() if k in ("href", "src", "action")
    ]
    assert links == ["#graph", "#steps", "#memory", "#accuracy"]
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest|\bimport\b", html)
    assert len(tree.all("script")) == len(tree.all("style")) == 1


def test_layers_may_be_called_anything() -> None:
    html = page_html(full(EVIL))
    tree, plain = page_tree(html), page_tree(page_html(full()))
    assert [e.name for e in tree.walk()] == [e.name for e in plain.walk()]
    assert "\x00" not in html and html.encode()
    shown = EVIL.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert tree.all("h1")[0].text == shown
    names = [e.text for e in tree.all("td") if e.attributes["data-name"] == "step"]
    assert all(shown in text for text in names[:2])


def test_what_is_not_known_is_left_out() -> None:
    tree = page_tree(page_html(Page("net")))
    assert sections(tree) == [] and tree.all("h1")[0].text == "net" and not tree.all("a")
    known = full()
    assert sections(page_tree(page_html(replace(known, accuracy=Accuracy())))) == [
        "graph",
        "steps",
        "memory",
    ]
    some = page_tree(page_html(Page("net", accuracy=Accuracy(noise=(LayerNoise("a", 3.0),)))))
    assert [e.text for e in some.all("h3")] == ["Noise by layer, the worst first"]
    untimed = tuple(replace(s, time_us=None) for s in known.steps)
    heads = [e.text for e in page_tree(page_html(replace(known, steps=untimed))).all("th")]
    assert "time" not in heads[:7] and "MACs" in heads
    alone = page_tree(page_html(replace(known, before=())))
    assert [e.text for e in alone.all("h3")][:1] == ["What runs"]


def test_figures_that_are_none_are_words() -> None:
    known = full()
    times = zip(known.steps, (nan, inf, 5.0), strict=True)
    steps = tuple(replace(s, time_us=t, runs=True) for s, t in times)
    for bad in (nan, inf, -inf):
        accuracy = Accuracy(
            tuple(LayerNoise(str(db), db) for db in (nan, inf, -inf, bad)),
            (Histogram("h", (bad, 1.0), (0.0, bad, 2.0), bad, 1.0), Histogram("none", (), (), 0.0, 0.0)),
            (Point("a", bad, 1.0), Point("b", 1.0, bad), Point("one", 2.0, 3.0)),
            (Trial("t", bad, bad, bad),),
            "score", bad, bad,
        )  # fmt: skip
        html = page_html(replace(known, steps=steps, accuracy=accuracy))
        tree = page_tree(html)
        values = [
            v
            for e in tree.walk()
            for k, v in e.attributes.items()
            if k not in ("title", "aria-label")
        ]
        assert not [v for v in values if re.search(r"\b(nan|inf)\b", v)]
        table = tree.by_id("table")
        assert table
        texts = [e.text for e in table.all("td") if e.attributes["data-name"] == "time"]
        assert texts == ["–", "–", "5 µs100.0%"]
        points = [e.text for e in tree.of_class("point")]
        assert [p for p in points if "one" in p] == points
        assert "2 without a finite time or score are left out" in tree.of_class("chart")[0].text


def test_noise_is_worst_first() -> None:
    noise = tuple(
        LayerNoise(n, db) for n, db in (("b", 20.0), ("odd", nan), ("exact", inf), ("a", -3.0))
    )
    rows = page_tree(page_html(Page("n", accuracy=Accuracy(noise=noise)))).of_class("noise")
    assert [r.of_class("name")[0].text for r in rows] == ["a", "b", "exact", "odd"]
    assert [r.of_class("n")[0].text for r in rows] == ["−3 dB", "20 dB", "exact", "– dB"]


def test_histogram_shows_the_range_and_what_is_clipped() -> None:
    tree = page_tree(page_html(full()))
    (histogram,) = tree.of_class("histogram")
    assert "0 to 2, 10.0% clipped" in histogram.text
    assert len(histogram.of_class("in")) == 2 and len(histogram.of_class("out")) == 1
    (frame,) = histogram.of_class("range")
    assert float(frame.attributes["width"]) > 0
    fine = Histogram("fine", (1.0,) * 2048, tuple(map(float, range(2049))), 0.0, 2048.0)
    (histogram,) = page_tree(page_html(Page("n", accuracy=Accuracy(histograms=(fine,))))).of_class(
        "histogram"
    )
    assert 80 <= len(histogram.of_class("in")) <= 96 and "0.0% clipped" in histogram.text


def test_rows_and_boxes_of_a_step_find_each_other() -> None:
    tree = page_tree(page_html(full()))
    marked = {e.name for e in tree.walk() if "0" in e.attributes.get("data-steps", "").split()}
    assert marked == {"tr", "g", "i"}
    elsewhere = tree.of_class("elsewhere")
    assert [e.attributes["data-steps"] for e in elsewhere] == ["2"]
    assert "batch >= 4, so not here" in elsewhere[0].text


def test_shares_are_of_the_steps_that_run() -> None:
    tree = page_tree(page_html(full()))
    parts = tree.of_class("strip")[0].children
    assert [p.attributes["title"].split(", ")[-1] for p in parts] == ["80.6%", "19.4%"]


def test_figures_have_units() -> None:
    assert [time_text(t) for t in (0.42, 999.7, 1234.0, 2.5e6)] == [
        "0.42 µs",
        "1 ms",
        "1.23 ms",
        "2.5 s",
    ]
    assert [count_text(n) for n in (950, 10_840_000, 999_900)] == ["950", "10.8 M", "1 M"]
    assert count_text(2.5e10, "op/s") == "25 Gop/s"
    assert [share_text(s) for s in (0.0, 0.0001, 0.5)] == ["0.0%", "<0.1%", "50.0%"]
    assert list(ticks(0, 10)) == [0, 2, 4, 6, 8, 10] and list(ticks(3, 3)) == [3]


def test_files_beside_the_code_are_in_the_package() -> None:
    """Of all of them, not only the page's: an installed camshaft lacks what no pattern names."""
    package = ROOT / "src" / "camshaft"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["camshaft"]
    named = {path for pattern in patterns for path in package.glob(pattern)}
    files = {p for p in package.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert files == named
