"""Elastic distortions, against loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.data.elastic import FIELDS, distort, fields
from kdcli.data.order import generator


def _fetched(image: Tensor, field: Tensor) -> Tensor:
    """Pixel by pixel, from between four neighbours; outside lies zero."""
    channels, height, width = image.shape
    out = torch.zeros(channels, height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            right, down = x + float(field[y, x, 0]), y + float(field[y, x, 1])
            left, top = math.floor(right), math.floor(down)
            for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(down - row)) * (1 - abs(right - column))
                    out[:, y, x] += share * image[:, row, column].double()
    return out


@pytest.mark.parametrize("size", [(9, 12), (28, 28)])
def test_every_pixel_is_fetched_from_where_its_field_says(size: tuple[int, int]) -> None:
    images = torch.rand(3, 2, *size, generator=torch.Generator().manual_seed(0))
    numbers = torch.tensor([1, 100, FIELDS - 1])
    out = distort(images, numbers)
    for image, number, seen in zip(images, numbers, out, strict=True):
        expected = _fetched(image, fields(*size)[number])
        torch.testing.assert_close(seen.double(), expected, rtol=0, atol=2e-5)
        assert float((seen - image).abs().max()) > 0.1, "nothing was moved"


def test_bytes_are_rounded_and_field_0_changes_nothing() -> None:
    images = torch.randint(0, 256, (2, 1, 28, 28), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    out = distort(images, torch.tensor([0, 7]))
    assert torch.equal(out[0], images[0])
    difference = out[1].double() - _fetched(images[1], fields(28, 28)[7])
    assert float(difference.abs().max()) < 0.5 + 1e-3


def test_a_field_is_noise_blurred_by_four_pixels_and_34_times_as_large() -> None:
    height, width, number = 20, 31, 3
    noise = torch.rand(FIELDS * 2, height, width, generator=generator(24, height, width)).double() * 2 - 1
    bell = [math.exp(-(distance**2) / 32) for distance in range(-12, 13)]
    total = sum(bell) ** 2
    for y, x in ((0, 0), (10, 15), (19, 30), (5, 29)):
        for axis in (0, 1):
            blurred = sum(
                bell[dy + 12] * bell[dx + 12] * float(noise[2 * number + axis, y + dy, x + dx])
                for dy in range(-12, 13)
                for dx in range(-12, 13)
                if 0 <= y + dy < height and 0 <= x + dx < width
            )
            assert float(fields(height, width)[number, y, x, axis]) == pytest.approx(34 * blurred / total, abs=1e-4)


def test_fields_move_a_digit_by_about_a_pixel_and_none_is_another() -> None:
    moves = fields(28, 28)
    assert moves[0].count_nonzero() == 0
    # Uniform noise has a variance of 1/3, of which a Gaussian of 4 pixels leaves 1 in 4 * pi * 16.
    expected = 34 * math.sqrt(1 / 3 / (4 * math.pi * 16))
    assert float(moves[1:, 10:18, 10:18].std()) == pytest.approx(expected, rel=0.05)
    assert len({tuple(field.flatten().tolist()[:50]) for field in moves}) == FIELDS
