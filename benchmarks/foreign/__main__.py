"""The table of models that other tools quantized.

    python -m benchmarks.foreign                        # every tool that is installed, every net
    python -m benchmarks.foreign small_conv --tools nncf

The tools are no requirement of camshaft: install onnxruntime, nncf, nvidia-modelopt (without its packages for GPUs),
onnx-neural-compressor and torchao in an environment of their own.  Times are processor time of one thread.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout

from benchmarks.foreign.judge import judge
from benchmarks.foreign.nets import NETS
from benchmarks.foreign.tools import TOOLS
from benchmarks.packages import ROOT

FOLDER = ROOT / "build" / "foreign"


def row(net: str, tool: str, level: int, seconds: float) -> str:
    """One line of the table."""
    folder = FOLDER / net
    source, path = folder / "float.onnx", folder / f"{tool.replace(' ', '_')}.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    if not source.exists():
        NETS[net].export(source)
    if not path.exists():
        try:
            with redirect_stdout(sys.stderr):  # tools print what they do
                TOOLS[tool](NETS[net], source, path)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is its answer
            path.unlink(missing_ok=True)
            return f"| {tool} | {net} | the tool fails: {_line(error)} | | | | | |"
    v = judge(path, source, NETS[net].draw(1)[0], level, seconds)
    if v.refused:
        also = "; ONNX Runtime refuses it too" if v.also else ""
        return f"| {tool} | {net} | no{also}: {v.refused} | | | | | |"
    return (
        f"| {tool} | {net} | yes, {v.steps} steps | {v.integer} of {v.quantized} | {v.error:.1e} | "
        f"{v.theirs:.1e} | {v.lost:.1e} | {v.ratio:.2f} |"
    )


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def main() -> None:
    """Command line: prints the table as it grows."""
    parser = argparse.ArgumentParser("python -m benchmarks.foreign")
    parser.add_argument("nets", nargs="*", default=list(NETS))
    parser.add_argument("--tools", default="", help="beginnings of their names, comma-separated")
    parser.add_argument("--level", type=int, default=2, help="of optimization")
    parser.add_argument("--seconds", type=float, default=4.0, help="to time each file")
    options = parser.parse_args()
    begins = tuple(options.tools.split(","))
    columns = ("loads", "integer products", "error", "ONNX Runtime's", "file's", "speed ratio")
    print("| tool and setting | net |", " | ".join(columns), "|")
    print("|---" * (2 + len(columns)) + "|")
    for net in options.nets:
        for tool in TOOLS:
            if tool.startswith(begins):
                print(row(net, tool, options.level, options.seconds), flush=True)


if __name__ == "__main__":
    main()
