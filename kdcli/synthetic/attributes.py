"""Inputs as a table of attributes in float64, and back."""

from __future__ import annotations

import torch
from torch import Tensor


def to_rows(inputs: Tensor) -> Tensor:
    """The attributes, float64 ``(N, D)``, of images or of the rows of a table; a pixel is an attribute."""
    return inputs.flatten(1).double()


def to_inputs(rows: Tensor, like: Tensor) -> Tensor:
    """Rows, float64 ``(M, D)``, in the shape and dtype of ``like``: pixels are rounded and clamped to 0 ... 255."""
    if like.dtype == torch.uint8:
        rows = rows.round().clamp(0, 255)
    return rows.to(like.dtype).view(len(rows), *like.shape[1:])


def spread_of(inputs: Tensor) -> Tensor:
    """What scales every attribute to [0, 1], float64 ``(D,)``: its range, or 1 if it is constant.

    The pixels of images share one scale, that of a byte. Scaled one by one, a pixel of the margin that is nearly
    always black would weigh as much as one in the middle.
    """
    if inputs.dtype == torch.uint8:
        return torch.full((inputs[0].numel(),), 255.0, dtype=torch.float64)
    rows = to_rows(inputs)
    spread = rows.amax(0) - rows.amin(0)
    return spread.where(spread > 0, 1.0)


def nominal_mask(nominal: tuple[int, ...], num_attributes: int) -> Tensor:
    """Which attributes are nominal, bool ``(D,)``."""
    mask = torch.zeros(num_attributes, dtype=torch.bool)
    mask[list(nominal)] = True
    return mask
