"""LeNet-5 with ReLU and max-pooling."""

from __future__ import annotations

from torch import Tensor, nn

PAPER_SIZE = 32


def _features_side(side: int, padding: int) -> int:
    return ((side + 2 * padding - 4) // 2 - 4) // 2


class LeNet(nn.Module):
    """Two 5x5 convolutions (6 and 16 channels), each with ReLU and 2x2 max-pooling, then 120, 84 and ``classes`` units.

    As in the paper the first convolution sees at least 32x32 pixels: smaller images are padded by 2 on each side.

    Args:
        in_channels: Channels of the images.
        size: Height and width of the images in pixels, each at least 28.
        classes: Units of the output layer.

    Raises:
        ValueError: If the images are smaller than 28x28.

    Reference:
        LeCun, Bottou, Bengio, Haffner. "Gradient-based learning applied to document recognition". Proc. IEEE 86, 1998.
    """

    MIN_SIZE = 28

    def __init__(self, in_channels: int, size: tuple[int, int], classes: int) -> None:
        super().__init__()
        if min(size) < self.MIN_SIZE:
            raise ValueError(f"images must be at least {self.MIN_SIZE}x{self.MIN_SIZE}, got {size[0]}x{size[1]}")
        padding = 2 if min(size) < PAPER_SIZE else 0
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=padding)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * _features_side(size[0], padding) * _features_side(size[1], padding), 120)
        self.fc2 = nn.Linear(120, 84)
        self.output = nn.Linear(84, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of images ``(B, C, H, W)``."""
        x = self.pool(self.conv1(images).relu())
        x = self.pool(self.conv2(x).relu()).flatten(1)
        logits: Tensor = self.output(self.fc2(self.fc1(x).relu()).relu())
        return logits
