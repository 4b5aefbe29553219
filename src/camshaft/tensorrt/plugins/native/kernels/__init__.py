"""Kernels of TensorRT's own plugins, in the kernel language.

scan         scores that pass a threshold, in order
ranking      the best of them, the best first; exponential: of boxes, as NumPy rounds it
suppression  boxes that are kept, and which others they suppress
detections   EfficientNMS_TRT and EfficientNMS_ONNX_TRT
classes      BatchedNMS_TRT and BatchedNMSDynamic_TRT
regions      ROIAlign_TRT
"""
