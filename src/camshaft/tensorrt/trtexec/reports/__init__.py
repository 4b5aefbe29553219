"""What trtexec prints and writes: what was asked for, times, layers, tensors."""
