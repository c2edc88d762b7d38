"""Residual networks for small images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class ResNetCifar(nn.Module):
    """A 3x3 stem and three stages of ``(depth - 2) / 6`` basic blocks; stages two and three halve the image.

    Shortcuts that change the shape are 1x1 convolutions with batch norm. ``widths`` ``(16, 16, 32, 64)`` makes the
    networks of the paper (depth 20, 32, 44, 56, 110); ``(32, 64, 128, 256)`` those known as resnet8x4 and resnet32x4.

    Args:
        depth: Layers with weights, ``6n + 2`` with n >= 1.
        in_channels: Channels of the images.
        classes: Units of the output layer.
        widths: Channels of the stem and of each of the three stages.

    Raises:
        ValueError: If there is no network of this depth, or ``widths`` does not hold four numbers.

    Reference:
        He, Zhang, Ren, Sun. "Deep residual learning for image recognition". arXiv:1512.03385, section 4.2.
    """

    def __init__(self, depth: int, in_channels: int, classes: int, *, widths: Sequence[int] = (16, 16, 32, 64)) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth must be 6n + 2 (8, 14, 20, 26, 32, ...), got {depth}")
        if len(widths) != 4:
            raise ValueError(f"widths must name the stem and three stages, got {list(widths)}")
        blocks = (depth - 2) // 6
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        pairs = zip(pairwise(widths), (1, 2, 2), strict=True)
        self.stages = nn.Sequential(*[_stage(fan_in, width, blocks, stride) for (fan_in, width), stride in pairs])
        self.output = nn.Linear(widths[3], classes)
        he_initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of images ``(B, C, H, W)``."""
        logits: Tensor = self.output(self.stages(self.stem(images)).mean((2, 3)))
        return logits


def he_initialise(net: nn.Module) -> None:
    """Draw the weights of every convolution from N(0, 2 / fan_out); arXiv:1502.01852, section 2.2."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _stage(in_channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [_BasicBlock(width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(_BasicBlock(in_channels, width, stride), *rest)


class _BasicBlock(nn.Module):
    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = nn.Sequential()
        if in_channels != width or stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.residual(x) + self.shortcut(x)
        return total.relu()
