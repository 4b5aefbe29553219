"""Comparing a built engine with another runtime, tensor by tensor.

`camshaft compare` is written on top of this.  The other side is ONNX Runtime or ONNX's reference
evaluator on the model, with intermediate tensors added to its outputs; camshaft's side is the
engine itself for the outputs, and a second engine of the same built graph with taps for what lies
between (see `BuildSession.tapped`).  Tensors are matched by name, which passes keep; what fusion
made disappear cannot be compared.

    comparison    a whole model: all tensors, worst first
    tensor_error  one tensor
    others        ONNX Runtime and ONNX's reference evaluator
    stored        what a built graph's tensors hold of the model's
    bisection     each layer on what the engine gave it: the first that departs
    in_float      the layer that helps most in FP32
    cuts          models cut at their tensors
    precisions    what errors rounding explains
    files         models as files of any size
    reduction/    the smallest part of a model that still fails
"""
