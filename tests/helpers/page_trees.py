"""A page as a tree, for tests that look at what is where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = ("br", "meta", "input")


@dataclass
class Element:
    """An element; text holds that of its own and of those within, in order."""

    name: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            yield from child.walk()

    def all(self, name: str, having: Callable[[Element], bool] = lambda _: True) -> list[Element]:
        return [e for e in self.walk() if e.name == name and having(e)]

    def of_class(self, class_: str) -> list[Element]:
        return [e for e in self.walk() if class_ in e.attributes.get("class", "").split()]

    def by_id(self, id_: str) -> Element | None:
        return next((e for e in self.walk() if e.attributes.get("id") == id_), None)


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(self.open[-1].children[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"{tag} has an attribute twice: {names}"
        self.open[-1].children.append(Element(tag, {n: v or "" for n, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"{self.open[-1].name} is closed as {tag}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def page_tree(html: str) -> Element:
    """The tree; AssertionError where tags do not match, or an attribute stands twice in one."""
    tree = _Tree()
    tree.feed(html)
    tree.close()
    assert tree.open == [tree.root], [e.name for e in tree.open]
    return tree.root
