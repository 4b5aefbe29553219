"""The page in a browser: it raises no errors, fits the window, and does what its controls say."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_page import EVIL, full

from browsers import BROWSERS, find_browser, in_browser
from camshaft.report.page.page import page_html

BROWSER = find_browser()
needs_browser = pytest.mark.skipif(
    BROWSER is None,
    reason=f"none of {', '.join(BROWSERS)} is installed (Debian: apt-get install chromium-headless-shell)",
)

USED = """
const all = (query) => [...document.querySelectorAll(query)];
const click = (node) => node.dispatchEvent(new MouseEvent("click", { bubbles: true }));
const rows = () => all("#table tbody tr").filter((r) => !r.hidden).map((r) => r.dataset.steps);
const head = (name) => all("#table th button").find((b) => b.textContent === name);
const press = (node, key) => node.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const found = { fetched: performance.getEntriesByType("resource").length };
found.wide = document.documentElement.scrollWidth - innerWidth;
found.rows = rows();
click(head("time")); found.slowest = rows();
click(head("time")); found.fastest = rows();
click(head("step")); found.named = rows();
found.sorted = head("step").parentNode.getAttribute("aria-sort");
const field = document.getElementById("filter");
field.value = "why I8"; field.dispatchEvent(new Event("input")); found.filtered = rows();
found.count = document.getElementById("count").textContent;
field.value = ""; field.dispatchEvent(new Event("input"));
const hits = () => all(".hit").map((e) => e.tagName.toLowerCase() + e.dataset.steps).sort().join(" ");
click(all(".side .box[data-steps='0']")[0]); found.chosen = hits();
press(document.body, "Escape"); found.let_go = hits();
const box = all(".side .box")[0];
box.focus(); press(box, "ArrowDown");
found.moved = document.activeElement.dataset.steps;
press(document.activeElement, "Enter"); found.entered = hits();
press(document.activeElement, "Escape");
const view = document.querySelector(".window");
const scale = Number(view.dataset.scale);
click(document.querySelector("[data-zoom=in]")); found.larger = Number(view.dataset.scale) / scale;
const bar = document.querySelector(".strip i");
bar.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: 50, clientY: 50 }));
found.tip = document.getElementById("tip").textContent.split("\\n")[1];
const back = () => getComputedStyle(document.body).backgroundColor;
const before = back();
click(document.getElementById("theme")); found.dark = back() !== before;
return found;
"""


@needs_browser
@pytest.mark.parametrize("width", [1200, 500])
def test_controls_do_what_they_say(tmp_path: Path, width: int) -> None:
    assert BROWSER
    html = page_html(full("conv1" if width == 1200 else EVIL))
    found = in_browser(BROWSER, html, USED, tmp_path, width)
    assert found["fetched"] == 0
    assert found["wide"] <= 0, "the page is wider than the window"
    assert found["rows"] == found["filtered"] + ["1", "2"] == ["0", "1", "2"]
    assert found["slowest"] == ["2", "0", "1"] and found["fastest"] == ["1", "0", "2"]
    assert sorted(found["named"]) == ["0", "1", "2"] and found["named"][-1] == "2"
    assert found["sorted"] == "ascending"
    assert found["count"] == "1 of 3 rows, 80.6 % of the time"
    assert found["chosen"] == found["entered"] == "g0 g0 i0 tr0" and found["let_go"] == ""
    assert found["moved"] == "0" and found["larger"] == pytest.approx(1.3)
    assert found["tip"] == "12.5 µs, 80.6%" and found["dark"]
