"""If, Loop and Scan: decided and unrolled where the model says how, else steps with scripts of their own."""

from __future__ import annotations

from camshaft.frontends.onnx.scripts.control.branches import if_
from camshaft.frontends.onnx.scripts.control.loops import loop
from camshaft.frontends.onnx.scripts.control.scans import scan

CONTROL = {"If": if_, "Loop": loop, "Scan": scan}
