"""Models whose integer inputs are numbers of a kind with sizes: rates, shapes, counts."""

from __future__ import annotations

from onnx import ModelProto, parser


def voice() -> ModelProto:
    """Frames of 512 samples at 16 kHz and of 256 otherwise, as voice activity detectors have them."""
    return parser.parse_model(
        """
        <ir_version: 9, opset_import: ["" : 17]>
        voice (float[batch, n] audio, int64 sr) => (float[a, b] y, int64[1] step) {
            high = Constant <value = int64 {16000}> ()
            rate = Constant <value = int64 {8000}> ()
            at_high = Equal (sr, high)
            one = Constant <value = int64[1] {1}> ()
            times = Div (sr, rate)
            step = Reshape (times, one)
            y = If (at_high) <
                then_branch = high_rate () => (float[p, q] left) {
                    frame = Constant <value = int64[2] {-1, 512}> ()
                    framed = Reshape (audio, frame)
                    again = Constant <value = bool {1}> ()
                    left = If (again) <
                        then_branch = inner () => (float[p1, q1] l) { l = Relu (framed) },
                        else_branch = other () => (float[p2, q2] r) { r = Neg (framed) }
                    >
                },
                else_branch = low_rate () => (float[s, t] right) {
                    frame = Constant <value = int64[2] {-1, 256}> ()
                    framed = Reshape (audio, frame)
                    right = Neg (framed)
                }
            >
        }
        """
    )


def small_model(body: str, inputs: str, outputs: str) -> ModelProto:
    """A model of opset 17 in ONNX's text form."""
    return parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 17]> net ({inputs}) => ({outputs}) {{ {body} }}'
    )
