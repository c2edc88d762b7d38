"""Dropout whose masks come from a generator of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 2**16


def draw_mask(mask: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """Fill ``mask`` in place with 0 (probability ``p``) or ``1 / (1 - p)``.

    Args:
        mask: Contiguous floating-point tensor; its size decides how far ``generator`` advances.
        p: Probability of a zero, in [0, 1); on a CPU rounded to a multiple of 1 / 65536.
        generator: On the device of ``mask``; None is the global generator of that device.

    Returns:
        ``mask`` itself.
    """
    if mask.device.type != "cpu":
        return mask.bernoulli_(1 - p, generator=generator).div_(1 - p)
    # One 64-bit draw serves four elements: bernoulli_ took a quarter of a training step of the 1200-unit network.
    dropped = round(p * _LEVELS)
    draws = torch.empty(mask.numel() // 4 + 1, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    kept = draws.view(torch.int16)[: mask.numel()].view(mask.shape) >= dropped - _LEVELS // 2
    return mask.copy_(kept).div_(1 - dropped / _LEVELS)


class Dropout(nn.Module):
    """Inverted dropout: training zeroes each element with probability ``p`` and scales the others by ``1 / (1 - p)``.

    In eval mode, or with ``p`` 0, it is the identity and draws nothing. ``generator`` is an attribute, so that networks
    that train side by side each keep their own sequence of masks; None is the global generator.

    Args:
        p: Probability of a zero, in [0, 1).

    Raises:
        ValueError: If ``p`` lies outside [0, 1).

    Reference:
        Hinton et al. "Improving neural networks by preventing co-adaptation of feature detectors". arXiv:1207.0580.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {p}")
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with its mask applied; same shape."""
        if not self.training or self.p == 0:
            return x
        mask = torch.empty_like(x, memory_format=torch.contiguous_format)
        return x * draw_mask(mask, self.p, self.generator)

    def extra_repr(self) -> str:
        """The probability, as ``print(net)`` shows it."""
        return f"p={self.p}"


def set_generator(module: nn.Module, generator: torch.Generator | None) -> None:
    """Give every :class:`Dropout` inside ``module`` the same generator (None: the global one)."""
    for child in module.modules():
        if isinstance(child, Dropout):
            child.generator = generator
