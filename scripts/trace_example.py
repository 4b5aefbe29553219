"""One Conv + BatchNorm + ReLU followed through every stage of a build, with real dumps.

    python scripts/trace_example.py                               print every dump
    python scripts/trace_example.py --write docs/architecture.md  put them into the document

The network is two convolutions: `conv1` (3x3) with its batch norm and ReLU is the one to watch,
`conv2` (1x1) is there so that `conv1`'s result is stored as bytes, `pool` so that no transpose is
left at the output.  The document holds a dump
between `<!-- trace:NAME -->` and `<!-- trace:end -->`; `tests/test_docs.py` checks that those in
STABLE, which depend neither on the machine nor on timing, are what this script prints.  The others belong to
the target in `<!-- traced on TARGET -->`: on a machine of another one they are left as they are.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open

import camshaft
from camshaft.atomic import write_atomically
from camshaft.backends.base import Source
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.tactics import PREFERENCES, TACTICS
from camshaft.backends.cpu.target import CpuTarget
from camshaft.builder.bufferize import Copy, bufferize
from camshaft.builder.tasks import Task, tasks_of
from camshaft.config import BuildConfig
from camshaft.ir.dumps.text import graph_text, node_text
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.ir.types import dtype_of
from camshaft.machine.backend import cpu_backend
from camshaft.passes.pipeline import optimize
from camshaft.program.program import Note
from camshaft.program.text import instruction_text, note_text
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession

WATCHED = "conv1"
CALIBRATION_BATCHES = 8
STABLE = ("onnx", "imported", "passes", "quantized", "lowered", "views", "spec")
TARGET = re.compile(r"<!-- traced on (\w+) -->")
MARK = re.compile(r"<!-- trace:(\w+) -->\n(?:```text\n(.*?)\n```\n)?<!-- trace:end -->", re.DOTALL)


def model() -> onnx.ModelProto:
    """x f32[1,16,8,8] > conv1 3x3 > bn1 > relu1 > conv2 1x1 > mean > y f32[1,8,1,1]; weights fixed."""
    rng = np.random.default_rng(0)
    arrays = {
        "w1": rng.standard_normal((32, 16, 3, 3)) * np.sqrt(2 / 144),
        "scale": rng.uniform(0.5, 1.5, 32),
        "shift": rng.standard_normal(32) * 0.1,
        "mean": rng.standard_normal(32) * 0.1,
        "var": rng.uniform(0.5, 1.5, 32),
        "w2": rng.standard_normal((8, 32, 1, 1)) * np.sqrt(2 / 32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["c1", "scale", "shift", "mean", "var"], ["b1"], name="bn1"
        ),
        helper.make_node("Relu", ["b1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2"),
        helper.make_node("GlobalAveragePool", ["c2"], ["y"], name="pool"),
    ]
    graph = helper.make_graph(
        nodes,
        "example",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 1, 1])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def batches() -> list[dict[str, np.ndarray]]:
    """Calibration data."""
    rng = np.random.default_rng(1)
    shape = (1, 16, 8, 8)
    return [{"x": rng.standard_normal(shape, np.float32)} for _ in range(CALIBRATION_BATCHES)]


@dataclass
class Trace:
    """A build of the example and what can be shown of it.

    level: optimization level; 1 times nothing, which is enough for the STABLE dumps.
    """

    folder: Path
    level: int = 3
    session: BuildSession = field(init=False)
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        config = BuildConfig(
            precision=frozenset({"int8"}),
            layer_precision={"conv1": "int8", "conv2": "int8"},
            optimization_level=self.level,
            threads=1,
            timing_cache=self.folder / "timing.json",
        )
        self.session = BuildSession(model(), config, batches())
        self.engine = self.session.run()

    def dumps(self, names: Sequence[str]) -> dict[str, str]:
        """The dumps called `names`."""
        return {name: getattr(self, f"show_{name}")().rstrip("\n") for name in names}

    # -- graphs ------------------------------------------------------------------------------

    def show_onnx(self) -> str:
        """The model's nodes."""
        return "\n".join(
            f"{n.op_type}({', '.join(n.input)}) -> {', '.join(n.output)}"
            f"   # {n.name}{''.join(f' {a.name}={list(a.ints)}' for a in n.attribute)}"
            for n in model().graph.node
        )

    def show_imported(self) -> str:
        """What the importer makes of them."""
        return graph_text(_built(self.session.import_model()))

    def show_passes(self) -> str:
        """The graph after every pass that changed it."""
        last = [graph_text(_built(self.session.import_model()))]
        lines: list[str] = []

        def show(name: str, graph: Graph) -> None:
            text = graph_text(graph)
            if text == last[0]:
                lines.append(f"after {name}: unchanged\n")
            else:
                nodes = "".join(f"  {node_text(n)}\n" for n in graph.nodes)
                lines.append(f"after {name}:\n{nodes}")
            last[0] = text

        optimize(_built(self.session.import_model()), level=self.level, on_pass=show)
        return "".join(lines)

    def show_quantized(self) -> str:
        """The fused graph with Q/DQ where calibration put them."""
        return graph_text(_built(self.session.quantized))

    def show_lowered(self) -> str:
        """The same, computed in integers."""
        return graph_text(_built(self.session.final))

    # -- views, tasks, specs -----------------------------------------------------------------

    def show_views(self) -> str:
        """Where tensors lie, and the work that is left."""
        found = bufferize(_built(self.session.final), PREFERENCES)
        lines = [f"{name}: {v}" for name, v in found.views.items()]
        lines.append("work, in order:")
        lines += [
            f"  copy {w.tensor.name}" if isinstance(w, Copy) else f"  {w.name}" for w in found.work
        ]
        return "\n".join(lines)

    @property
    def task(self) -> Task:
        """The watched convolution's task."""
        tasks = tasks_of(bufferize(_built(self.session.final), PREFERENCES))
        return next(t for t in tasks if t.origin[0] == WATCHED)

    def show_spec(self) -> str:
        """The kernel specification of the watched task."""
        task = self.task
        assert task.spec is not None
        lines = [f"task     {task.name}", f"origin   {', '.join(task.origin)}"]
        lines += [f"macs     {task.macs}", f"bytes    {task.bytes}", f"op       {task.spec.op}"]
        lines += [f"in{i}      {o}" for i, o in enumerate(task.spec.inputs)]
        lines += [f"out{i}     {o}" for i, o in enumerate(task.spec.outputs)]
        lines += [f"{k:<13} {v!r}" for k, v in task.spec.attrs]
        return "\n".join(lines)

    # -- kernels: these depend on the machine --------------------------------------------------

    def show_candidates(self) -> str:
        """What was timed for the watched task, from the timing cache, the winner first."""
        note = self._note()
        winner = {"tactic": note.tactic, "params": dict(note.params), "time_us": note.time_us}
        cache = json.loads((self.folder / "timing.json").read_text(encoding="utf-8"))
        records = next(e for e in cache["entries"].values() if e[0] == winner)
        lines = [
            f"{r['time_us']:6.2f} us  {r['tactic']} "
            + " ".join(f"{k}={v}" for k, v in sorted(r["params"].items()))
            for r in records
        ]
        return "\n".join([*lines, f"chosen: {note.tactic}; reason: {note.reason}"])

    def _note(self) -> Note:
        return next(n for n in self.engine.notes if n.origin[0] == WATCHED)

    def _source(self) -> tuple[Source, CpuTarget]:
        spec, note = self.task.spec, self._note()
        assert spec is not None
        target: CpuTarget = cpu_backend("host").target
        tactic = next(t for t in TACTICS if t.name == note.tactic)
        plan = tactic.plan(spec, target, 1)
        return next(c for c in plan if dict(c.params) == dict(note.params)).emit(), target

    def show_llvm(self) -> str:
        """The innermost loop as the tactic wrote it, shortened."""
        source, _ = self._source()
        return "\n".join(_shortened(_densest(_blocks(source.text), "vpdpbusd")))

    def show_assembly(self) -> str:
        """The same loop as machine code."""
        source, target = self._source()
        text = CpuCompiler(target).assembly(source)
        return "\n".join(_densest(_blocks(text), "vpdpbusd")).replace("\t", "    ")

    # -- program, file, run --------------------------------------------------------------------

    def show_program(self) -> str:
        """The watched instruction and the note on it."""
        note, program = self._note(), self.engine.program
        index = self.engine.notes.index(note)
        return f"{instruction_text(program, index)}\nnote:\n{note_text(note)}"

    def show_file(self) -> str:
        """The tensors of the engine file."""
        path = self.folder / "example.engine"
        size = self.engine.save(path)
        lines = [f"{size} bytes"]
        with safe_open(path, "np") as file:
            metadata = file.metadata()
            for name in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                array = file.get_tensor(name)
                lines.append(f"{name:<32} {dtype_of(array)}{list(array.shape)}")
        shown = ", ".join(f"{k} ({len(v)} characters)" for k, v in sorted(metadata.items()))
        return "\n".join([*lines, f"metadata: {shown}"])

    def show_run(self) -> str:
        """The loaded engine beside the float model and the Q/DQ graph, both by reference."""
        path = self.folder / "example.engine"
        if not path.exists():
            self.engine.save(path)
        feeds = {"x": np.random.default_rng(2).standard_normal((1, 16, 8, 8), np.float32)}
        got = camshaft.load(path)(feeds)["y"]
        exact = interpret(_built(self.session.import_model()), feeds)["y"]
        qdq = interpret(_built(self.session.quantized), feeds)["y"]
        noise = float(np.sqrt(np.mean((got - exact) ** 2) / np.mean(exact**2)))
        return "\n".join(
            (
                f"output                    y {got.dtype}{list(got.shape)}",
                f"largest |y|               {np.abs(exact).max():.4f}",
                f"furthest from Q/DQ graph  {np.abs(got - qdq).max():.2e}",
                f"furthest from float model {np.abs(got - exact).max():.4f}",
                f"noise over signal         {noise:.2%}",
            )
        )


ORDER = (
    *STABLE,
    "candidates",
    "llvm",
    "assembly",
    "program",
    "file",
    "run",
)


def _built(graph: Graph | None) -> Graph:
    assert graph is not None
    return graph


def _blocks(text: str) -> Iterator[list[str]]:
    """Basic blocks of LLVM IR or assembly: runs of lines between labels."""
    block: list[str] = []
    for line in text.splitlines():
        if re.match(r"[\w.$]+:", line):
            yield block
            block = []
        if line.strip() and not re.match(r"\s*[.#]\w*\s", line):
            block.append(line.rstrip())
    yield block


def _densest(blocks: Iterator[list[str]], word: str) -> list[str]:
    """Of the blocks that jump back to themselves, the one that has `word` most often."""

    def loops(block: list[str]) -> bool:
        label = block[0].split(":")[0] if block else ""
        return bool(label) and any(re.search(rf"{re.escape(label)}\b", x) for x in block[1:])

    return max(blocks, key=lambda b: (sum(word in x for x in b), loops(b), -len(b)))


def _shortened(block: Sequence[str]) -> list[str]:
    """A loop's label, two of its carried values, its first two products, and its end."""
    carried = [x for x in block if " phi " in x]
    body = block[1 + len(carried) :]
    second = [i for i, x in enumerate(body) if "vpdpbusd" in x][1:2] or [len(body) - 1]
    end = max(second[0] + 1, len(body) - 3)
    return [
        block[0],
        *carried[:2],
        f"  ; ... {len(carried) - 2} more sums",
        *body[: second[0] + 1],
        f"  ; ... {end - second[0] - 1} more lines: the other pixels",
        *body[end:],
    ]


def written(document: str, dumps: dict[str, str]) -> str:
    """The document with these dumps in their places, and all others as they are."""

    def block(match: re.Match[str]) -> str:
        name = match[1]
        if name not in dumps:
            return match[0]
        return f"<!-- trace:{name} -->\n```text\n{dumps[name]}\n```\n<!-- trace:end -->"

    return MARK.sub(block, document)


def shown(document: str) -> dict[str, str]:
    """The dumps that the document holds."""
    return {m[1]: m[2] or "" for m in MARK.finditer(document)}


def renewable(document: str, target: str) -> tuple[Sequence[str], str]:
    """Names of the dumps that a machine of this target may renew in a document, and what to say of the others."""
    found = TARGET.search(document)
    if found is None:
        raise SystemExit(
            "error: the document does not say which target its dumps were made on; add a line "
            f"<!-- traced on {target} -->"
        )
    if found[1] == target:
        return ORDER, ""
    others = ", ".join(name for name in ORDER if name not in STABLE)
    return STABLE, (
        f"left alone: {others}, which were made on {found[1]}, and this machine is {target}; to renew them here, "
        f"change the line {found[0]}, and what the text says of the machine"
    )


def main() -> int:
    """Print the dumps, or write them into a document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", type=Path, metavar="FILE", help="document to bring up to date")
    path: Path | None = parser.parse_args().write
    names: Sequence[str] = ORDER
    remark = document = ""
    if path is not None:
        document = path.read_text(encoding="utf-8")
        names, remark = renewable(document, cpu_backend("host").target.name)
    with tempfile.TemporaryDirectory() as folder:
        dumps = Trace(Path(folder)).dumps(names)
    if path is None:
        for name, dump in dumps.items():
            print(f"--- {name}\n{dump}\n")
        return 0
    write_atomically(path, written(document, dumps).encode())
    if remark:
        print(remark, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
