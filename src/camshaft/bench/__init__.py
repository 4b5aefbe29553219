"""Timing camshaft beside the runtimes a user would otherwise pick.

    runners     one model in one runtime behind one face: camshaft, onnxruntime, openvino
    interleave  rounds in which every runner gets a turn; medians and ratios per round
    latency     the distribution of one engine's times
    peers       the other runtimes: what they raise, and what they read

`camshaft bench` and the project's own `make bench` are both written on top of this.  It stands
beside the command line: nothing below imports it, and the other runtimes are imported only when a
runner for them is made.
"""
