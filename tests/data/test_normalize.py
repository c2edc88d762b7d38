from __future__ import annotations

import statistics

import pytest
import torch

from kdcli.data import load
from kdcli.data.normalize import Normalization
from kdcli.data.types import Split


def _images(num: int = 6) -> torch.Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(256, (num, 3, 4, 5), generator=draws, dtype=torch.uint8)


def _split(inputs: torch.Tensor) -> Split:
    return Split(inputs, torch.zeros(len(inputs), dtype=torch.int64))


def test_mnist_has_its_published_mean_and_std() -> None:
    measured = Normalization.of(load("mnist", {}).train, "image")
    assert measured.mean == pytest.approx((0.1307,), abs=5e-5)
    assert measured.std == pytest.approx((0.3081,), abs=5e-5)


def test_images_are_measured_channel_by_channel() -> None:
    images = _images(1030)
    measured = Normalization.of(_split(images), "image")
    for channel in range(3):
        pixels = [value / 255 for value in images[:, channel].flatten().tolist()]
        assert measured.mean[channel] == pytest.approx(statistics.fmean(pixels), rel=1e-12)
        assert measured.std[channel] == pytest.approx(statistics.pstdev(pixels), rel=1e-12)


def test_tables_are_measured_attribute_by_attribute() -> None:
    rows = torch.randn(50, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 100.0, 1e-3]) + 7
    measured = Normalization.of(_split(rows), "table")
    for attribute in range(3):
        values = rows[:, attribute].tolist()
        assert measured.mean[attribute] == pytest.approx(statistics.fmean(values), rel=1e-12)
        assert measured.std[attribute] == pytest.approx(statistics.pstdev(values), rel=1e-9)


def test_what_is_constant_is_centred_and_not_scaled() -> None:
    rows = torch.tensor([[0.1, 1.0], [0.1, 3.0], [0.1, 5.0]])
    measured = Normalization.of(_split(rows), "table")
    assert measured.std[0] == 1.0
    assert torch.allclose(measured(rows)[:, 0], torch.zeros(3))
    images = torch.full((3, 1, 2, 2), 77, dtype=torch.uint8)
    assert Normalization.of(_split(images), "image") == Normalization((77 / 255,), (1.0,))


def test_images_are_scaled_then_standardised() -> None:
    mean, std = (0.1, 0.5, 0.9), (0.3, 0.01, 1.5)
    out = Normalization(mean, std)(_images())
    assert (out.dtype, out.shape) == (torch.float32, (6, 3, 4, 5))
    wanted = (_images().double() / 255 - torch.tensor(mean).double().view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(out.double(), wanted, rtol=1e-5, atol=1e-5)


def test_attributes_far_from_zero_keep_their_digits() -> None:
    rows = 1e6 + torch.tensor([[0.0], [0.5], [1.0], [1.5]])
    out = Normalization.of(_split(rows), "table")(rows)
    assert out.flatten().tolist() == pytest.approx([x / 5**0.5 for x in (-3, -1, 1, 3)], rel=1e-6)


def test_training_examples_come_out_with_mean_0_and_std_1() -> None:
    for split, kind in ((_split(_images(200)), "image"), (load("letter", {}).train, "table")):
        out = Normalization.of(split, kind)(split.inputs).double()  # type: ignore[arg-type]
        flat = out.transpose(0, 1).flatten(1)
        torch.testing.assert_close(flat.mean(1), torch.zeros(len(flat)).double(), rtol=0, atol=1e-6)
        torch.testing.assert_close(flat.std(1, correction=0), torch.ones(len(flat)).double(), rtol=0, atol=1e-6)


def test_the_raw_batch_is_not_changed() -> None:
    images, rows = _images(), torch.ones(2, 2)
    Normalization((0.5,) * 3, (0.5,) * 3)(images)
    Normalization((0.5, 0.5), (2.0, 2.0))(rows)
    assert torch.equal(images, _images())
    assert torch.equal(rows, torch.ones(2, 2))


def test_another_device_is_the_same_normalization() -> None:
    numbers = Normalization((0.5,), (0.25,))
    moved = numbers.to("meta")
    assert moved == numbers
    assert moved(torch.zeros(2, 1, 3, 3, dtype=torch.uint8, device="meta")).device.type == "meta"


def test_numbers_that_do_not_fit_are_misuse() -> None:
    for mean, std in (((0.0,), (0.0,)), ((0.0,), (-1.0,)), ((0.0, 1.0), (1.0,)), ((0.0,), (float("nan"),))):
        with pytest.raises(ValueError, match="std positive"):
            Normalization(mean, std)
