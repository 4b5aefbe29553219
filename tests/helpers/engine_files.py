"""Engine files with parts changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from camshaft.runtime.file.checksum import tree_digest


def header_of(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return header


def rewritten(data: bytes, change: Callable[[dict[str, Any]], None], seal: bool = True) -> bytes:
    """The file with its header changed, its checksum made good again if `seal`."""
    length = int.from_bytes(data[:8], "little")
    header = header_of(data)
    header["__metadata__"]["checksum"] = "0" * 64
    change(header)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    head, body = len(text).to_bytes(8, "little") + text, data[8 + length :]
    if seal:
        spans = sorted(tuple(v["data_offsets"]) for k, v in header.items() if k[0] != "_")
        digest = tree_digest([head, *(body[a:b] for a, b in spans)])
        head = head.replace(b'"checksum":"' + b"0" * 64, b'"checksum":"' + digest.encode())
    return head + body
