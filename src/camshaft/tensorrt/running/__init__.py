"""The runtime of TensorRT's API: engines, contexts, and what they call back."""
