from __future__ import annotations

import pytest
import torch

from kdcli.synthetic.attributes import nominal_mask, spread_of
from kdcli.synthetic.distance import MixedDistance

TABLE = torch.tensor([[0.0, 3.0, 5.0], [4.0, 3.0, 7.0], [8.0, 1.0, 5.0], [2.0, 9.0, 5.0]])


def test_squares_of_scaled_differences_and_mismatches_are_added() -> None:
    rows = TABLE.double()
    distance = MixedDistance.of(rows, spread_of(TABLE), nominal_mask((1,), 3))
    # range 8 of the first, codes in the second, range 2 of the third
    assert distance.exact(rows[0], rows[1]).item() == (4 / 8) ** 2 + 0 + 1
    assert distance.exact(rows[0], rows[2]).item() == 1 + 1 + 0
    assert distance.exact(rows[3], rows[0]).item() == (2 / 8) ** 2 + 1 + 0


def test_codes_are_as_far_apart_as_rows() -> None:
    rows = TABLE.double()
    distance = MixedDistance.of(rows, spread_of(TABLE), nominal_mask((1,), 3))
    codes = distance.encode(rows).double()
    assert codes.shape == (4, 1 + 3 + 1)
    for first in range(4):
        for second in range(4):
            exact = float(distance.exact(rows[first], rows[second]))
            assert float((codes[first] - codes[second]).square().sum()) == pytest.approx(exact, rel=1e-6)


def test_a_constant_attribute_has_no_part_in_the_distance() -> None:
    rows = torch.tensor([[1.0, 7.0], [2.0, 7.0]])
    assert spread_of(rows).tolist() == [1.0, 1.0]
    distance = MixedDistance.of(rows.double(), spread_of(rows), nominal_mask((), 2))
    assert distance.exact(rows[0].double(), rows[1].double()).item() == 1.0


def test_pixels_share_one_scale() -> None:
    images = torch.tensor([[[[0, 3]]], [[[250, 0]]]], dtype=torch.uint8)
    assert spread_of(images).tolist() == [255.0, 255.0]
