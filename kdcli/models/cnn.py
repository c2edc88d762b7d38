"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class SmallCnn(nn.Module):
    """3x3 convolution → BatchNorm → ReLU → 2x2 max-pooling for each width, then global average pooling and a Linear.

    Args:
        in_channels: Channels of the images.
        classes: Units of the output layer.
        channels: Width of each convolution; each halves the image.

    Raises:
        ValueError: If there is no convolution.
    """

    def __init__(self, in_channels: int, classes: int, *, channels: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        if not channels:
            raise ValueError("channels must name the width of at least one convolution")
        self.min_size = 2 ** len(channels)
        self.blocks = nn.Sequential(*[_block(fan_in, width) for fan_in, width in pairwise([in_channels, *channels])])
        self.output = nn.Linear(channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of images ``(B, C, H, W)``, H and W at least ``min_size``."""
        logits: Tensor = self.output(self.blocks(images).mean((2, 3)))
        return logits


def _block(in_channels: int, width: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2))
