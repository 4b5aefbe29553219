"""Architectures of torchvision, timm and transformers as PyTorch users run them: are outputs those of eager PyTorch, what stays
in PyTorch, and how fast is it (`python -m benchmarks.architectures`)."""
