"""What execution contexts have in common as context managers."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closing:
    """Closed by `with`."""

    def close(self) -> None:
        """Give back what is held."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
