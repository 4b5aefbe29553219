"""Transformers of the zoo: networks, the files and peers that only they have, and their accuracy.

nets            PyTorch modules and their exports
variants        other ONNX files of the same network: fused by ONNX Runtime, of 4 bits, Attention-23, ...
openvino_forms  the same in OpenVINO's form
entries         the zoo's entries
peers           how camshaft and the peers are set up for them
texts           rated texts and their tokens
"""
