"""Names of tensors: no two in the graphs of one model have the same."""

from __future__ import annotations

from collections.abc import Iterable

from camshaft.errors import ModelError


class Names:
    """taken: name -> what has it, None for what is no tensor of a graph.

    reserved: names that fresh ones avoid (those still to come in a rebuild).
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self.taken: dict[str, object] = {}
        self.reserved = frozenset(reserved)
        self._counter: dict[str, int] = {}

    def fresh(self, base: str) -> str:
        """`base` if nothing has that name yet, else `base` with a number."""
        if base not in self.taken:
            return base
        number = self._counter.get(base, 0)
        while True:
            number += 1
            candidate = f"{base}#{number}"
            if candidate not in self.taken and candidate not in self.reserved:
                self._counter[base] = number
                return candidate

    def unreserved(self, name: str) -> str:
        """The name, with apostrophes while it is a reserved one."""
        while name in self.reserved:
            name += "'"
        return name

    def take(self, name: str, what: object = None) -> None:
        """Give a name away.  ModelError if something has it."""
        if name in self.taken:
            raise ModelError(f"two tensors are called {name!r}")
        self.taken[name] = what
