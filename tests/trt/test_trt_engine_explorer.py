"""NVIDIA's engine explorer reads what trtexec prints and writes: run from a checkout of NVIDIA/TensorRT, never part of the project.

ENGINE_EXPLORER names its folder tools/experimental/trt-engine-explorer (of 10.16, the last that has it); ENGINE_EXPLORER_PYTHON a Python that
has what it asks for: pandas below 3, graphviz, tabulate, and what camshaft needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from camshaft.tensorrt.standins.activation import FOLDER
from trtexec_runs import QUICK, save_net

CHECKOUT = os.environ.get("ENGINE_EXPLORER", "")
PYTHON = os.environ.get("ENGINE_EXPLORER_PYTHON", sys.executable)
SOURCE = Path(__file__).parents[2] / "src"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHECKOUT, reason="ENGINE_EXPLORER names no checkout of the explorer"),
]

READS = """
import json, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/utils"]
import parse_trtexec_log, trex
from trex.graphing import layer_type_formatter, to_dot
base = sys.argv[2]
for name, parse in (("build", parse_trtexec_log.parse_build_log), ("profile", parse_trtexec_log.parse_profiling_log)):
    with open(f"{base}.{name}.metadata.json", "w") as file:
        json.dump(parse(f"{base}.{name}.log", None), file)
plan = trex.EnginePlan(f"{base}.graph.json", f"{base}.profile.json", f"{base}.profile.metadata.json", f"{base}.build.metadata.json")
convolutions = plan.get_layers_by_type("Convolution")
trex.clean_for_display(plan.df)
for linter in (trex.ConvLinter, trex.ReformatLinter, trex.SliceLinter, trex.QDQLinter):
    linter(plan).lint()
print(json.dumps({
    "types": list(plan.df["type"]), "times": list(plan.df["latency.avg_time"]),
    "ends": [[t.name for t in side] for side in plan.get_bindings()],
    "summary": plan.performance_summary, "device": plan.device_properties, "config": plan.builder_cfg,
    "macs": [int(n) for n in convolutions["attr.macs"]], "weights": int(plan.total_weights_size),
    "dot": str(to_dot(plan, layer_type_formatter)),
}))
"""


def trtexec(log: Path, *flags: str) -> None:
    command = [sys.executable, "-m", "camshaft.tensorrt.trtexec", "--verbose", *flags]
    with log.open("w") as file:
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=True)


def test_the_explorer_reads_logs_and_json(tmp_path: Path) -> None:
    model = save_net(tmp_path / "net.onnx", (2, 3, 16, 16))
    base = tmp_path / "net"
    shared = (f"--exportLayerInfo={base}.graph.json", "--profilingVerbosity=detailed")
    trtexec(
        Path(f"{base}.build.log"),
        f"--onnx={model}",
        f"--saveEngine={base}.plan",
        "--builderOptimizationLevel=1",
        "--skipInference",
        *shared,
    )
    trtexec(
        Path(f"{base}.profile.log"),
        "--noDataTransfers",
        "--useCudaGraph",
        "--separateProfileRun",
        "--useSpinWait",
        f"--loadEngine={base}.plan",
        f"--exportTimes={base}.timing.json",
        f"--exportProfile={base}.profile.json",
        *shared,
        *QUICK,
    )
    done = subprocess.run(
        [PYTHON, "-c", READS, CHECKOUT, str(base)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(FOLDER)])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert "Partial profiling data" not in done.stderr
    assert "Convolution" in found["types"]
    assert all(time > 0 for time in found["times"])
    assert found["ends"] == [["x"], ["y"]]
    assert len(found["summary"]["Latency"]) == 7
    assert found["summary"]["Throughput"] > 0
    assert found["device"]["SMs"] >= 1
    assert found["config"]["Precision"] == "FP32"
    assert sum(found["macs"]) == 2 * 16 * 16 * 4 * 27
    assert found["weights"] == 4 * 27 * 4
    assert "digraph" in found["dot"]
