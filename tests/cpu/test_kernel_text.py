"""Static kernels keep their code: the LLVM text of a fixed corpus is held against recorded hashes.

A change of a kernel's code on purpose raises the tactic's `version` and renews the record:

    PYTHONPATH=src:tests/helpers/kernels:tests/helpers/models python tests/cpu/test_kernel_text.py --update

The record, kernel_text.json, holds for every name of the corpus the hash of its spec, and for every
tactic that takes it, over all targets, the hash of its candidates' parameters and of what the first
few and the last of them emit: phases, expansions, text.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.tactics import TACTICS
from camshaft.backends.cpu.target import AVX2, AVX512_VNNI, PORTABLE, CpuTarget
from kernel_corpus import specs

RECORD = Path(__file__).with_name("kernel_text.json")
THREADS = 2
FIRST = 2
SSE2 = replace(
    PORTABLE, triple=AVX2.triple, cpu="x86-64", requires=("sse2",)
)  # the portable preset as x86 has it, on every machine
TARGETS: tuple[CpuTarget, ...] = (AVX512_VNNI, AVX2, SSE2)

Record = dict[str, dict[str, str]]


def digest(*parts: object) -> str:
    """A short hash of the parts' text."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def code_of(spec: KernelSpec) -> dict[str, str]:
    """By tactic: the hash of everything that its candidates emit for `spec`."""
    found: dict[str, str] = {}
    for tactic in TACTICS:
        parts: list[object] = []
        for target in TARGETS:
            candidates = list(tactic.plan(spec, target, THREADS))
            if candidates:
                parts += [target.name, *(sorted(c.params.items()) for c in candidates)]
            for candidate in candidates[:FIRST] + candidates[FIRST:][-1:]:
                source = candidate.emit()
                phases = [(p.symbol, p.items) for p in source.phases]
                made = [
                    (e.packed, e.nbytes, e.phase.symbol, e.phase.items) for e in source.expansions
                ]
                parts += [phases, made, source.text]
        if parts:
            found[tactic.name] = digest(*parts)
    return found


def record() -> Record:
    """What the code at hand emits for the corpus."""
    return {name: {"spec": digest(s.key()), **code_of(s)} for name, s in specs().items()}


def changes(old: Record, new: Record) -> list[str]:
    """What differs, one line a spec."""
    lines = [f"{name}: not in the record" for name in new if name not in old]
    lines += [f"{name}: no longer in the corpus" for name in old if name not in new]
    for name in new.keys() & old.keys():
        a, b = old[name], new[name]
        if a["spec"] != b["spec"]:
            lines.append(f"{name}: the spec is another one")
        elif a != b:
            tactics = [t for t in a.keys() | b.keys() if a.get(t) != b.get(t)]
            lines.append(f"{name}: code of {', '.join(sorted(tactics))}")
    return sorted(lines)


def test_static_kernels_keep_their_code() -> None:
    found = changes(json.loads(RECORD.read_text()), record())
    assert not found, "kernels changed (see this file's docstring):\n" + "\n".join(found)


def test_every_tactic_is_in_the_corpus() -> None:
    seen = {name for entry in json.loads(RECORD.read_text()).values() for name in entry}
    open_only = {"extents"}  # has nothing to do where every extent is known
    tiles_only = {"conv_amx", "matmul_amx"}  # no target of the record has tiles
    of_users = {"plugin", "plugin_llvm", "plugin_function"}  # their code is the users'
    assert seen - {"spec"} == {t.name for t in TACTICS} - open_only - tiles_only - of_users


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit(__doc__)
    RECORD.write_text(json.dumps(record(), indent=1, sort_keys=True) + "\n")
