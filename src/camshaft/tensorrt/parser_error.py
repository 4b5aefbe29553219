"""`ParserError`: what a parser could not read."""

from __future__ import annotations

from camshaft.tensorrt.enums.reports import ErrorCode
from camshaft.tensorrt.objects import Result


class ParserError(Result):
    """An error: a code, a description, and the node, if it is one's."""

    _code: ErrorCode
    _desc: str
    _node: int
    _name: str
    _operator: str

    @classmethod
    def _made(
        cls, code: ErrorCode, desc: str, node: int = -1, name: str = "", operator: str = ""
    ) -> ParserError:
        made = cls.__new__(cls)
        made._code, made._desc, made._node = code, desc, node
        made._name, made._operator = name, operator
        return made

    def code(self) -> ErrorCode:
        """What kind of error."""
        return self._code

    def desc(self) -> str:
        """What is wrong."""
        return self._desc

    def file(self) -> str:
        """Where the parser found it."""
        return "camshaft/tensorrt/parser.py"

    def line(self) -> int:
        """Where in `file`; 0: not said."""
        return 0

    def func(self) -> str:
        """What the parser was doing."""
        return "parse" if self._node < 0 else "parseNode"

    def node(self) -> int:
        """Index of the node in the model's graph; -1: it is no node's."""
        return self._node

    def node_name(self) -> str:
        """Name of the node."""
        return self._name

    def node_operator(self) -> str:
        """Operator of the node."""
        return self._operator

    def local_function_stack(self) -> list[str]:
        """Local functions around the node: none, since they are inlined before."""
        return []

    def local_function_stack_size(self) -> int:
        """How many there are."""
        return 0

    def __repr__(self) -> str:
        said = f"({self.func()}): {self._code.name}: {self._desc}"
        if self._node < 0:
            return f"In node -1 {said}"
        return f"In node {self._node} with name: {self._name} and operator: {self._operator} {said}"
