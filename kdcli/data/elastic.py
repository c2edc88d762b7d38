"""Elastic distortions of images: smooth random fields of displacements (Simard, Steinkraus, Platt 2003, section 2)."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv1d, grid_sample

from kdcli.data.order import generator

FIELDS = 256
_ELASTIC = 24
_SIGMA = 4.0
_ALPHA = 34.0


@cache
def fields(height: int, width: int) -> Tensor:
    """How far each pixel is fetched from, in pixels: float32 ``(FIELDS, H, W, 2)``, x before y.

    Each is uniform noise in [-1, 1], blurred by a Gaussian of 4 pixels and scaled by 34, the paper's values; the first
    one is zero.
    """
    noise = torch.rand(FIELDS * 2, height, width, generator=generator(_ELASTIC, height, width)) * 2 - 1
    blurred = _blur(_blur(noise).transpose(1, 2)).transpose(1, 2).view(FIELDS, 2, height, width)
    blurred[0] = 0
    return (_ALPHA * blurred).permute(0, 2, 3, 1).contiguous()


def _blur(rows: Tensor) -> Tensor:
    """Blur the last dimension of ``(N, H, W)``; outside lies nothing."""
    reach = int(3 * _SIGMA)
    bell = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * _SIGMA**2))
    lines = rows.reshape(-1, 1, rows.shape[-1])
    return conv1d(lines, (bell / bell.sum()).view(1, 1, -1), padding=reach).view(rows.shape)


def distort(batch: Tensor, numbers: Tensor) -> Tensor:
    """Fetch each pixel of image i of ``(B, C, H, W)`` from where field ``numbers[i]`` says, bilinearly between pixels.

    Outside lies zero, whole numbers are rounded to, and with field 0 an image stays what it is. Dtype and device stay.
    """
    height, width = batch.shape[2:]
    moved = fields(height, width).to(batch.device)[numbers] * torch.tensor([2 / width, 2 / height], device=batch.device)
    straight = torch.eye(2, 3, device=batch.device).expand(len(batch), 2, 3)
    places = affine_grid(straight, list(batch.shape), align_corners=False) + moved
    seen = grid_sample(batch.float(), places, mode="bilinear", padding_mode="zeros", align_corners=False)
    seen = seen if batch.is_floating_point() else seen.round()
    return torch.where((numbers == 0).view(-1, 1, 1, 1), batch, seen.to(batch.dtype))
