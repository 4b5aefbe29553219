"""The documentation as a site: every page is in the navigation, and what is built needs no net."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from doc_pages import PAGES, ROOT

GENERATED = {"command-line.md", "contributing.md"}
"""Pages that scripts/site_hooks.py makes."""


def test_every_page_is_in_the_navigation_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"^ +- (?:.*: )?(\S+\.md)", text, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == {p.relative_to(ROOT / "docs").as_posix() for p in PAGES} | GENERATED


def test_decisions_are_listed_with_their_titles() -> None:
    page = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    records = sorted(p for p in PAGES if p.parent.name == "adr" and p.name != "README.md")
    titles = [(p.read_text(encoding="utf-8").splitlines()[0][2:], p.name) for p in records]
    assert re.findall(r"^- \[(.*)\]\((.*)\)$", page, re.MULTILINE) == titles


# -- the built site --------------------------------------------------------------------------------


class Fetched(HTMLParser):
    """What a browser fetches for a page, and where its links lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.assets: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = {name: value or "" for name, value in attrs}
        self.anchors |= {held[name] for name in ("id", "name") if name in held}
        if tag == "a":
            self.links += [held["href"]] if "href" in held else []
        elif "href" in held or "src" in held:
            self.assets.append(held.get("src") or held["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; a warning fails."""
    if any(importlib.util.find_spec(m) is None for m in ("mkdocs", "material", "mkdocstrings")):
        pytest.skip("the site needs the extra `docs`; `make docs` installs it and runs this")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_site_opens_without_a_net(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        for asset in Fetched(page).assets:
            assert not re.match(r"(?:\w+:)?//", asset), f"{page.name} fetches {asset}"
            assert page.name == "404.html" or (page.parent / asset.partition("?")[0]).exists(), (
                asset
            )
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(|@import )[\"']?(?:\w+:)?//", text), sheet.name
    assert (site / "search" / "search_index.js").exists()


@pytest.mark.slow
def test_links_of_the_site_lead_somewhere(site: Path) -> None:
    pages = {p.resolve(): Fetched(p) for p in site.rglob("*.html") if p.name != "404.html"}
    for page, fetched in pages.items():
        for link in fetched.links:
            path, _, anchor = link.partition("#")
            if not re.match(r"\w+:", link):
                target = (page.parent / path).resolve() if path else page
                assert target in pages, f"{page.name}: {link}"
                assert not anchor or anchor in pages[target].anchors, f"{page.name}: {link}"


@pytest.mark.slow
def test_reference_holds_everything_that_camshaft_offers(site: Path) -> None:
    import camshaft

    text = (site / "api.html").read_text(encoding="utf-8")
    names = set(camshaft.__all__) - {"__version__"}
    assert names == set(re.findall(r'id="camshaft\.[\w.]*\b(\w+)"', text)) & names
    assert "<code>calibrator</code>:" in text  # fields of docstrings are lists
