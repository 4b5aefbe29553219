"""Resemblyzer's speaker encoder in torch: three LSTMs, a dense layer (voice_encoder.py of the package says the same)."""

from __future__ import annotations

import torch

from benchmarks.packages import Package

CHANNELS, WIDTH, LAYERS = 40, 256, 3


class SpeakerEncoder(torch.nn.Module):
    """Mel spectra [n, t, 40] -> embeddings [n, 256] of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(CHANNELS, WIDTH, LAYERS, batch_first=True)
        self.linear = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        _, (hidden, _) = self.lstm(mels)
        raw = torch.relu(self.linear(hidden[-1]))
        return raw / torch.linalg.vector_norm(raw, dim=1, keepdim=True)


def encoder_of(package: Package) -> SpeakerEncoder:
    """The encoder with the package's weights."""
    held = torch.load(package.file("resemblyzer/pretrained.pt"), map_location="cpu")
    net = SpeakerEncoder()
    net.load_state_dict(held["model_state"], strict=False)  # it also holds those of the loss
    net.eval()
    return net
