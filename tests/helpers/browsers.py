"""A browser without a window, for tests of pages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

_BEFORE = """<script>
var faults = [];
addEventListener("error", (event) => faults.push(event.message));
addEventListener("unhandledrejection", (event) => faults.push(String(event.reason)));
</script>"""

_BEHIND = """<script>
addEventListener("load", () => setTimeout(() => {
  let found = null;
  try { found = (() => { BODY })(); } catch (error) { faults.push(String(error)); }
  const shown = document.createElement("pre");
  shown.id = "found";
  shown.textContent = JSON.stringify({ found, faults });
  document.body.append(shown);
}, 100));
</script></body>"""


def find_browser() -> str | None:
    """The path of the first that is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def in_browser(browser: str, html: str, script: str, folder: Path, width: int) -> Any:
    """What `script`, the body of a function, returns in a window of this width that shows `html`, as JSON.

    AssertionError for any error that the page or the script raises, or that the browser complains of.
    """
    page = folder / f"page{width}.html"
    text = html.replace("<head>", f"<head>{_BEFORE}", 1)
    page.write_text(text.replace("</body>", _BEHIND.replace("BODY", script)), encoding="utf-8")
    command = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--virtual-time-budget=5000",
        "--dump-dom", page.as_uri(),
    )  # fmt: skip
    ran = subprocess.run(
        [browser, *command], capture_output=True, text=True, timeout=120, check=True
    )
    said = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    assert not said, said
    shown = re.search(r'<pre id="found">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert shown, ran.stdout[-2000:] + ran.stderr[-2000:]
    result = json.loads(unescape(shown[1]))
    assert result["faults"] == []
    return result["found"]
