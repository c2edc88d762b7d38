"""Normalisation by the numbers of one run's training examples."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from kdcli.data.files import ImageFiles
from kdcli.data.types import Kind, Split

_CHUNK = 1024


@dataclass(frozen=True)
class Normalization:
    """Turn a raw batch into float32: ``(x - mean) / std``, images scaled to [0, 1] first.

    Attributes:
        mean: One number a channel, of values in [0, 1], or one an attribute of a table.
        std: The same, all greater than 0.
        device: Where the batches are.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device | str = field(default="cpu", compare=False)
    _mean: Tensor = field(init=False, repr=False, compare=False)
    _scale: Tensor = field(init=False, repr=False, compare=False)
    _pixel_scale: Tensor = field(init=False, repr=False, compare=False)
    _offset: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        mean, std = (torch.tensor(numbers, dtype=torch.float64) for numbers in (self.mean, self.std))
        if mean.shape != std.shape or not bool((std > 0).all()):
            raise ValueError(f"mean {self.mean} and std {self.std} must be of one length, and std positive")
        constants = {"_mean": mean, "_scale": 1 / std, "_pixel_scale": 1 / (255 * std), "_offset": -mean / std}
        for name, numbers in constants.items():
            object.__setattr__(self, name, numbers.float().to(self.device))

    @classmethod
    def of(cls, split: Split, kind: Kind) -> Normalization:
        """Measure it on training examples, in float64 or exactly; the std of what is constant counts as 1."""
        if isinstance(split.inputs, ImageFiles):
            return _of_files(split.inputs)
        return _of_images(split.inputs) if kind == "image" else _of_table(split.inputs)

    def to(self, device: torch.device | str) -> Normalization:
        """The same for batches on another device."""
        return replace(self, device=device)

    def __call__(self, batch: Tensor) -> Tensor:
        """Normalise uint8 images ``(B, C, H, W)`` or float32 rows ``(B, D)``."""
        if batch.dtype == torch.uint8:
            return batch.float().mul_(self._pixel_scale.view(-1, 1, 1)).add_(self._offset.view(-1, 1, 1))
        # Not folded into one product as above: an attribute may be far from 0 beside its spread, and would cancel.
        return batch.sub(self._mean).mul_(self._scale)


def _of_images(images: Tensor) -> Normalization:
    num_channels = images.shape[1]
    total = torch.zeros(num_channels, dtype=torch.float64)
    squares = torch.zeros(num_channels, dtype=torch.float64)
    for chunk in torch.split(images, _CHUNK):
        pixels = chunk.transpose(0, 1).reshape(num_channels, -1).double()
        total += pixels.sum(1).cpu()
        squares += torch.linalg.vecdot(pixels, pixels).cpu()
    num = images[:, 0].numel()
    return _of_sums(num, total, squares)


def _of_files(files: ImageFiles) -> Normalization:
    assert files.moments is not None, "files are surveyed before they are used"
    total, squares = files.moments.sum(0)
    return _of_sums(len(files) * files.form.size**2, total, squares)


def _of_sums(num: int, total: Tensor, squares: Tensor) -> Normalization:
    moments = [_moments(num, int(s), int(q)) for s, q in zip(total, squares, strict=True)]
    return Normalization(tuple(mean for mean, _ in moments), tuple(std for _, std in moments))


def _moments(num: int, total: int, squares: int) -> tuple[float, float]:
    """Mean and std of ``num`` bytes, scaled to [0, 1], from integer sums."""
    spread = num * squares - total * total
    return total / (255 * num), spread**0.5 / (255 * num) if spread else 1.0


def _of_table(rows: Tensor) -> Normalization:
    values = rows.double()
    std = values.std(0, correction=0).where((rows != rows[0]).any(0), 1.0)
    return Normalization(tuple(values.mean(0).tolist()), tuple(std.tolist()))
