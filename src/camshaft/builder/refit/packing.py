"""Constants as a kernel wants them, again: by the tactic's name and the spec and parameters of its candidate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.backends.base import Candidate, Tactic
from camshaft.builder.refit.attrs import (
    spec_of_json,
    spec_to_json,
    symbols_of_json,
    symbols_to_json,
)
from camshaft.errors import EngineFileError
from camshaft.ir.op import Attr

PACKED = "camshaft.machine.packing:packed"
"""The function of recipes that pack."""


def packing_params(
    tactic: str, candidate: Candidate, target: Any, threads: int
) -> tuple[tuple[str, Attr], ...]:
    """What `packed_by` needs to find the candidate again.  target: of the backend."""
    spec = candidate.spec
    record = {
        "tactic": tactic,
        "params": sorted(candidate.params.items()),
        "threads": threads,
        "symbols": symbols_to_json({s.name: s for s in spec.symbols}),
        "spec": spec_to_json(spec),
    }
    text = json.dumps(record, separators=(",", ":"))
    _known[target, text] = candidate
    return ("candidate", text), ("caches", tuple(target.caches)), ("target", target.name)


def packed_by(
    tactics: Sequence[Tactic[Any]], target: Any, constants: Sequence[np.ndarray], text: str
) -> Sequence[np.ndarray]:
    """What a candidate makes of constants.  EngineFileError where these tactics do not have it."""
    found = _known.get((target, text))
    if found is None:
        found = _known[target, text] = _planned(tactics, target, text)
    return found.prepack(constants)


_known: dict[tuple[Any, str], Candidate] = {}
"""Those that have been needed, or built with, in this process: planning takes longer than packing."""


def _planned(tactics: Sequence[Tactic[Any]], target: Any, text: str) -> Candidate:
    record = json.loads(text)
    spec = spec_of_json(record["spec"], symbols_of_json(record["symbols"]))
    wanted = dict(record["params"])
    for tactic in tactics:
        if tactic.name == record["tactic"]:
            for candidate in tactic.plan(spec, target, record["threads"]):
                if dict(candidate.params) == wanted:
                    return candidate
    raise EngineFileError(
        f"this camshaft has no kernel {record['tactic']} with {wanted} for a layer of the engine; build it again"
    )
