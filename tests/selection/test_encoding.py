"""What the models of a library read."""

from __future__ import annotations

import numpy as np
import torch

from kdcli.selection.encoding import Encoding

TABLE = torch.tensor([[1.0, 7.0, 5.0, 0.0], [3.0, 7.0, 9.0, 2.0], [5.0, 7.0, 5.0, 2.0]])


def test_quantities_get_mean_0_and_variance_1_and_categories_indicators() -> None:
    rows = Encoding.of(TABLE, nominal=(2, 3))(TABLE)
    spread = (8 / 3) ** 0.5
    expected = [
        [-2 / spread, 0, 1, 0, 1, 0],
        [0, 0, 0, 1, 0, 1],
        [2 / spread, 0, 1, 0, 0, 1],
    ]
    np.testing.assert_allclose(rows, expected, atol=1e-12)
    assert rows.dtype == np.float64


def test_other_rows_are_encoded_by_the_numbers_of_the_training_part() -> None:
    rows = Encoding.of(TABLE, nominal=(2,))(torch.tensor([[3.0, 8.0, 6.0, 4 / 3]]))
    np.testing.assert_allclose(rows, [[0, 1, 0, 0, 0]], atol=1e-6)


def test_a_table_of_categories_only_is_encoded_too() -> None:
    codes = torch.tensor([[0.0], [2.0], [0.0]])
    np.testing.assert_array_equal(Encoding.of(codes, nominal=(0,))(codes), [[1, 0], [0, 1], [1, 0]])
