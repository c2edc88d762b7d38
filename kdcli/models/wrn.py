"""Wide residual networks."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from kdcli.models.resnet_cifar import he_initialise


class WideResNet(nn.Module):
    """WRN-d-k: a 3x3 stem of 16 channels and three stages of ``(depth - 4) / 6`` pre-activation blocks.

    The stages have ``16k``, ``32k`` and ``64k`` channels; stages two and three halve the image.

    Args:
        depth: Layers with weights, ``6n + 4`` with n >= 1.
        widen: The widening factor k, at least 1.
        in_channels: Channels of the images.
        classes: Units of the output layer.

    Raises:
        ValueError: If there is no network of this depth or factor.

    Reference:
        Zagoruyko, Komodakis. "Wide residual networks". arXiv:1605.07146.
    """

    def __init__(self, depth: int, widen: int, in_channels: int, classes: int) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth must be 6n + 4 (10, 16, 22, 28, 34, 40, ...), got {depth}")
        if widen < 1:
            raise ValueError(f"widen must be at least 1, got {widen}")
        blocks = (depth - 4) // 6
        widths = (16, 16 * widen, 32 * widen, 64 * widen)
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        pairs = zip(pairwise(widths), (1, 2, 2), strict=True)
        self.stages = nn.Sequential(*[_stage(fan_in, width, blocks, stride) for (fan_in, width), stride in pairs])
        self.norm = nn.BatchNorm2d(widths[3])
        self.output = nn.Linear(widths[3], classes)
        he_initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of images ``(B, C, H, W)``."""
        features: Tensor = self.norm(self.stages(self.stem(images)))
        logits: Tensor = self.output(features.relu().mean((2, 3)))
        return logits


def _stage(in_channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [_PreActivationBlock(width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(_PreActivationBlock(in_channels, width, stride), *rest)


class _PreActivationBlock(nn.Module):
    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        self.shortcut: nn.Module | None = None
        if in_channels != width or stride != 1:
            self.shortcut = nn.Conv2d(in_channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activation(x)
        # A shortcut that changes the shape starts from the activated input, an identity from the raw one.
        kept = x if self.shortcut is None else self.shortcut(activated)
        total: Tensor = self.residual(activated) + kept
        return total
