"""Scripts under `python -m camshaft.tensorrt`: who answers their imports, in them and in what they start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from camshaft.tensorrt.standins import FOLDER

SOURCE = Path(__file__).parents[2] / "src"
LAUNCHER = [sys.executable, "-m", "camshaft.tensorrt"]


def run(
    command: list[str], folder: Path, path: list[Path] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder. path: what comes on Python's path before camshaft."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("CAMSHAFT_TRT")}
    known["PYTHONPATH"] = os.pathsep.join(map(str, [*(path or []), SOURCE]))
    return subprocess.run(
        command, cwd=folder, env=known | environment, capture_output=True, text=True, timeout=120
    )


def script(folder: Path, text: str, name: str = "script.py") -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return name


ROUND_TRIP = """
import numpy as np
import tensorrt as trt, tensorrt.tensorrt, tensorrt_bindings, tensorrt_lean, tensorrt_dispatch
from cuda import cuda, cudart
from cuda.bindings import driver, nvrtc, runtime
import pycuda.autoinit, pycuda.driver as drv, pycuda.gpuarray, pycuda._driver, pycuda.compiler

assert cudart is runtime and cuda is driver
assert tensorrt_bindings is trt is tensorrt.tensorrt
assert drv.LogicError is pycuda._driver.LogicError
error, address = cudart.cudaMalloc(16)
source, target = np.arange(4, dtype=np.float32), np.zeros(4, np.float32)
cudart.cudaMemcpy(address, source, 16, cudart.cudaMemcpyKind.cudaMemcpyHostToDevice)
drv.memcpy_dtoh(target, address)
print(target.tolist(), trt.__file__)
"""


def test_script_finds_all_stand_ins_and_one_memory(tmp_path: Path) -> None:
    done = run([*LAUNCHER, script(tmp_path, ROUND_TRIP)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"[0.0, 1.0, 2.0, 3.0] {FOLDER / 'tensorrt' / '__init__.py'}\n"
    (notice,) = done.stderr.splitlines()
    assert "answers for tensorrt, tensorrt_lean, tensorrt_dispatch, cuda, pycuda" in notice


def test_script_has_its_arguments_folder_and_exit_code(tmp_path: Path) -> None:
    script(tmp_path, "NAME = 'helper'", "sub/helper.py")
    name = script(
        tmp_path,
        "import sys, os, helper\n"
        "print(__name__, sys.argv, helper.NAME, __file__, os.getcwd() in sys.path)\n"
        "sys.exit(7)",
        "sub/script.py",
    )
    done = run([*LAUNCHER, name, "--force", "-m", "x"], tmp_path)
    assert done.returncode == 7
    argv = [name, "--force", "-m", "x"]
    assert done.stdout == f"__main__ {argv} helper {name} False\n"


def test_module_has_its_arguments_and_exit_code(tmp_path: Path) -> None:
    script(tmp_path, "import sys, cuda.cudart\nprint(sys.argv[1:])\nraise SystemExit('no')", "m.py")
    done = run([*LAUNCHER, "-m", "m", "-v", "a"], tmp_path)
    assert (done.returncode, done.stdout) == (1, "['-v', 'a']\n")
    assert done.stderr.endswith("no\n")


def test_exception_of_a_script_is_its_own(tmp_path: Path) -> None:
    done = run([*LAUNCHER, script(tmp_path, "import cuda\n{}['key']")], tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith("KeyError: 'key'\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no script is given"),
        (["absent.py"], "there is no file absent.py"),
        (["--what", "script.py"], "unknown option --what"),
        (["-m"], "unknown option -m"),
    ],
)
def test_wrong_command_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run([*LAUNCHER, *arguments], tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


CHILD = (
    "import subprocess, sys\nsys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)"
)


def test_processes_that_a_script_starts_find_them_too(tmp_path: Path) -> None:
    script(tmp_path, CHILD, "parent.py")
    child = script(tmp_path, ROUND_TRIP)
    done = run([*LAUNCHER, "parent.py", child], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[0.0, 1.0, 2.0, 3.0]")
    assert len(done.stderr.splitlines()) == 1


def test_folder_on_pythonpath_is_enough(tmp_path: Path) -> None:
    folder = run([*LAUNCHER, "--shims"], tmp_path)
    assert (folder.stdout, folder.stderr) == (f"{FOLDER}\n", "")
    child = script(tmp_path, ROUND_TRIP)
    known = {k: v for k, v in os.environ.items() if not k.startswith("CAMSHAFT_TRT")}
    done = subprocess.run(
        [sys.executable, child],
        cwd=tmp_path,
        env=known | {"PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[0.0, 1.0, 2.0, 3.0]")
    assert done.stderr.count("answers for") == 1


def test_start_of_processes_stays_light(tmp_path: Path) -> None:
    code = "import sys; print([m for m in ('camshaft', 'numpy', 'onnx') if m in sys.modules])"
    done = run([sys.executable, "-c", code], tmp_path, [FOLDER])
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_hidden_sitecustomize_runs(tmp_path: Path) -> None:
    script(tmp_path, "import sys\nsys.hidden = __name__", "site/sitecustomize.py")
    code = "import sys, cuda.cudart; print(sys.hidden, sys.modules['sitecustomize'].__file__)"
    done = run([sys.executable, "-c", code], tmp_path, [FOLDER, tmp_path / "site"])
    assert done.stdout == f"sitecustomize {tmp_path / 'site' / 'sitecustomize.py'}\n", done.stderr


REAL_CUDA = {
    "package": {"cuda/__init__.py": "", "cuda/cudart.py": "OURS = False"},
    "namespace": {"cuda/bindings/__init__.py": "", "cuda/bindings/runtime.py": "OURS = False"},
}
ASK_CUDA = "from cuda import cudart\nimport pycuda.driver\nprint(getattr(cudart, 'OURS', True))"


@pytest.mark.parametrize("form", REAL_CUDA)
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("process", ["script", "child"])
def test_installed_cuda_is_replaced_with_force_only(
    form: str, force: bool, process: str, tmp_path: Path
) -> None:
    for name, text in REAL_CUDA[form].items():
        script(tmp_path / "site", text, name)
    script(tmp_path, CHILD, "parent.py")
    asked = script(tmp_path, ASK_CUDA)
    command = [asked] if process == "script" else ["parent.py", asked]
    options = ["--force"] if force else []
    done = run([*LAUNCHER, *options, *command], tmp_path, [tmp_path / "site"])
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{force}\n"
    (notice,) = done.stderr.splitlines()
    assert ("not replaced without --force: cuda (" in notice) == (not force)


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_other_packages_of_a_namespace_stay(options: list[str], tmp_path: Path) -> None:
    script(tmp_path / "site", "NAME = 'theirs'", "cuda/pathfinder/__init__.py")
    asked = script(
        tmp_path, "import cuda.pathfinder as p, cuda.bindings.runtime as r\nprint(p.NAME, r)"
    )
    done = run([*LAUNCHER, *options, asked], tmp_path, [tmp_path / "site"])
    assert done.stdout.startswith("theirs <module 'camshaft.tensorrt.standins.cuda.runtime'")
    assert "not replaced" not in done.stderr


def test_where_tensorrt_is_installed_nothing_of_ours_is_mixed_in(tmp_path: Path) -> None:
    script(tmp_path / "site", "NAME = 'theirs'", "tensorrt/__init__.py")
    asked = script(tmp_path, "import tensorrt\nprint(tensorrt.NAME)\nimport pycuda")
    done = run([*LAUNCHER, asked], tmp_path, [tmp_path / "site"])
    assert (done.returncode, done.stdout) == (1, "theirs\n")
    assert "TensorRT is installed (" in done.stderr.splitlines()[0]
    assert "No module named 'pycuda'" in done.stderr
    forced = run([*LAUNCHER, "--force", asked], tmp_path, [tmp_path / "site"])
    assert "has no attribute 'NAME'" in forced.stderr


def test_install_in_code_and_the_notice_once(tmp_path: Path) -> None:
    code = (
        "from camshaft.tensorrt.standins import install\n"
        "import os\n"
        "before = os.environ['PYTHONPATH']\n"
        "install(); install()\n"
        "import tensorrt, cuda.cudart, sys\n"
        "print(sys.path.count(sys.path[-1]), before == os.environ['PYTHONPATH'])"
    )
    done = run([sys.executable, "-c", code], tmp_path)
    assert done.stdout == "1 True\n", done.stderr
    assert len(done.stderr.splitlines()) == 1
    silent = run([sys.executable, "-c", code], tmp_path, CAMSHAFT_TRT_NOTICE="0")
    assert (silent.returncode, silent.stderr) == (0, "")


def test_packages_that_only_run_engines_lack_the_builder(tmp_path: Path) -> None:
    code = (
        "import camshaft.tensorrt as ours\n"
        "ours.Builder = ours.Runtime = 'ours'\n"
        "import tensorrt, tensorrt_lean, tensorrt_dispatch\n"
        "print(tensorrt.Builder, tensorrt_lean.Runtime, tensorrt_dispatch.Runtime)\n"
        "print('Builder' in dir(tensorrt), 'Builder' in dir(tensorrt_lean))\n"
        "tensorrt_dispatch.Builder"
    )
    done = run([*LAUNCHER, script(tmp_path, code)], tmp_path)
    assert done.stdout == "ours ours ours\nTrue False\n"
    assert "module 'tensorrt_dispatch' has no attribute 'Builder'" in done.stderr


def test_placeholder_is_where_polygraphy_looks_and_is_distributed() -> None:
    library = FOLDER / "nvidia" / "cuda_runtime" / "lib" / "libcudart.so.12"
    assert library.is_file()
    root = SOURCE.parent
    listed = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert f"{library.parent.relative_to(SOURCE / 'camshaft')}/*" in listed
