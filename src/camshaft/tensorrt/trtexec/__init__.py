"""The command `trtexec` of TensorRT 8.6 to 11 on this CPU: `python -m camshaft.tensorrt.trtexec --onnx=model.onnx`.

flags      which flags there are, as tables
parsing    arguments -> options;  shapes: shapes of inputs
building   a model -> an engine;  layers: what flags say of single layers
bindings   the tensors of a context;  inference: the calls that are timed;  debugging: tensors on the way
reports    what is printed and written;  log: lines
main       the command
"""
