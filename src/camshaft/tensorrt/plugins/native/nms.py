"""To come."""

from __future__ import annotations

from camshaft.tensorrt.plugins.native.base import Kind

KINDS: tuple[Kind, ...] = ()
