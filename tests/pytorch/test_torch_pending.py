"""Engines that come later: built in the background, or calibrated by the first calls."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

import camshaft.torch as ct  # noqa: E402
from camshaft.config import BuildConfig  # noqa: E402
from camshaft.errors import BuildError, ConfigError  # noqa: E402
from camshaft.frontends.onnx import Imported  # noqa: E402
from camshaft.ir.graph import GraphBuilder  # noqa: E402
from camshaft.session import BuildSession  # noqa: E402
from camshaft.torch.backend import Compiler  # noqa: E402
from camshaft.torch.kept import Kept  # noqa: E402
from camshaft.torch.pending import Pending  # noqa: E402

pytestmark = pytest.mark.peers
QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}


class Gate:
    """Holds builds until it is opened; errors: raised by them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.builds = threading.Event(), 0
        self.error: Exception | None = None
        run = BuildSession.run

        def held(session: BuildSession) -> Any:
            assert self.opened.wait(60)
            self.builds += 1
            if self.error is not None:
                raise self.error
            return run(session)

        monkeypatch.setattr(BuildSession, "run", held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    torch.compiler.reset()
    return Gate(monkeypatch)


def net() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 5, 3)
    ).eval()


def images(seed: int = 0) -> Any:
    return torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(seed))


def close(got: Any, want: Any) -> None:
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_module_is_eager_until_its_engine_is_there(gate: Gate) -> None:
    model, x = net(), images()
    fast = ct.compile(model, (x,), background=True, **QUICK)
    assert torch.equal(fast(x), model(x)) and not fast.wait(0)
    wrong: list[int] = []

    def call(seed: int) -> None:
        with torch.no_grad():
            while not wrong:
                given, done = images(seed), fast.wait(0)
                if not torch.allclose(fast(given), model(given), atol=1e-5):
                    wrong.append(seed)
                if done:
                    return

    threads = [threading.Thread(target=call, args=(n,)) for n in range(3)]
    for t in threads:
        t.start()
    gate.opened.set()
    assert fast.wait(60) and ct.wait(60)
    for t in threads:
        t.join()
    assert not wrong and gate.builds == 1
    assert fast.engine.inputs


@torch.no_grad()
def test_the_backend_builds_beside_calls(gate: Gate) -> None:
    model, x = net(), images()
    compiler = Compiler({**QUICK, "background": True})
    fast = torch.compile(model, backend=compiler)
    assert torch.equal(fast(x), model(x)) and not ct.wait(0.01)
    ((part,),) = [s.parts for s in compiler.made]
    assert part.engine is None and part.pending is not None
    gate.opened.set()
    assert ct.wait(60) and part.engine is not None
    close(fast(x), model(x))


@torch.no_grad()
def test_a_build_that_fails_is_told_once(gate: Gate) -> None:
    model, x = net(), images()
    gate.error = BuildError("no room")
    fast = ct.compile(model, (x,), background=True, **QUICK)
    gate.opened.set()
    assert not fast.wait(60)
    with pytest.warns(UserWarning, match=r"PyTorch goes on computing: no room") as told:
        for _ in range(3):
            assert torch.equal(fast(x), model(x))
    assert len(told) == 1
    with pytest.raises(BuildError, match="no room"):
        _ = fast.engine


@torch.no_grad()
@pytest.mark.parametrize("background", [False, True])
def test_first_calls_calibrate(background: bool) -> None:
    torch.compiler.reset()
    model = net()
    options = {**QUICK, "precision": {"int8"}, "calibration": 3, "background": background}
    compiler = Compiler(options)
    fast = torch.compile(model, backend=compiler)
    for seed in range(3):
        x = images(seed)
        assert torch.equal(fast(x), model(x))
        x.fill_(1e6)  # what was recorded is a copy
    assert ct.wait(60)
    ((part,),) = [s.parts for s in compiler.made]
    assert part.engine is not None
    assert "u8" in {s["precision"] for s in part.engine.inspect()["steps"]}
    off = (fast(images()) - model(images())).abs().max()
    assert 0 < off < 0.05


@torch.no_grad()
def test_kept_engines_are_those_of_their_calibration(tmp_path: Path) -> None:
    model = net()
    options = {**QUICK, "precision": {"int8"}, "calibration": 1, "cache_dir": str(tmp_path)}
    for scale, files in ((1, 1), (1, 1), (2, 2)):
        torch.compiler.reset()
        torch.compile(model, backend="camshaft", options=options)(images() * scale)
        assert len(list(tmp_path.glob("*.engine"))) == files


def test_what_is_told_of_a_build_does_not_tell_engines_apart() -> None:
    model = Imported((), GraphBuilder("none").graph({}), digest="0")
    configs = [BuildConfig(progress=p) for p in (None, lambda *_: None)]
    assert len({Kept(c, None).key(model, ()) for c in configs}) == 1
    assert Kept(BuildConfig(optimization_level=0), None).key(model, ()) != Kept(
        configs[0], None
    ).key(model, ())


def test_calls_beyond_those_awaited_are_not_recorded() -> None:
    seen: list[Any] = []
    pending = Pending(lambda feeds: seen.append(feeds) or "engine", calls=2)  # type: ignore[arg-type, func-returns-value]
    threads = [
        threading.Thread(target=pending.record, args=({"x": np.full(1, n)},)) for n in range(6)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    ((one, two),) = seen
    assert one != two and not pending.records and pending.wait(1)


def test_a_build_that_fails_in_a_call_is_its_error() -> None:
    def fail(_: Any) -> Any:
        raise BuildError("no room")

    pending = Pending(fail, calls=1)
    with pytest.raises(BuildError, match="no room"):
        pending.record({})
    assert not pending.records and not pending.wait(1)
    pending.tell()  # was told already: warnings are errors here


def test_a_process_ends_while_engines_are_built() -> None:
    code = (
        "import threading, time\n"
        "from camshaft.torch.pending import Pending\n"
        "def make(_):\n    time.sleep(0.5)\n    print('built', flush=True)\n"
        "for n in range(2):\n    Pending(make, background=True)\n"
        "print('end', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["end", "built"]  # what is begun is ended, the next is not begun
    assert not done.stderr


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="background"):
        Compiler({"background": 1})
    with pytest.raises(ConfigError, match="calibration is -1"):
        Compiler({"precision": {"int8"}, "calibration": -1})
    with pytest.raises(ConfigError, match="is for INT8"):
        Compiler({"calibration": 2})
