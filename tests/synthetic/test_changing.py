from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdcli.synthetic.attributes import nominal_mask, spread_of
from kdcli.synthetic.changing import BLOCK, ChangingTables
from kdcli.synthetic.distance import MixedDistance


def nearest_by_search(table: Tensor, index: int, spread: Tensor, nominal: Tensor) -> int:
    offset = (table - table[index]) / spread
    squares = torch.where(nominal, (offset != 0).double(), offset**2)
    total = torch.zeros(len(table), dtype=torch.float64)
    for a in range(table.shape[1]):
        total += squares[:, a]
    total[index] = torch.inf
    return int(total.argmin())  # the first of the least


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 2 * BLOCK + 30), st.integers(1, 5), st.integers(1, 4), st.integers(0, 10_000), st.booleans())
def test_the_nearest_row_is_that_of_a_search_however_rows_change(
    num: int, width: int, copies: int, seed: int, coarse: bool
) -> None:
    draw = torch.Generator().manual_seed(seed)

    def values(*shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=draw, dtype=torch.float64) * 1.5
        drawn[..., 0] = drawn[..., 0].round().clamp(-1, 1)
        return drawn.round() if coarse else drawn

    rows = values(num, width)
    nominal = nominal_mask((0,), width)
    spread = spread_of(rows.float())
    tables = ChangingTables(rows, copies, MixedDistance.of(rows, spread, nominal))
    for index in range(num):
        if index % BLOCK == 0:
            tables.begin(range(index, min(index + BLOCK, num)))
        other = tables.nearest(index)
        assert other.tolist() == [nearest_by_search(table, index, spread, nominal) for table in tables.rows]
        pair = values(copies, 2, width)
        pair[..., 0] = torch.stack([tables.rows[:, index, 0], tables.rows[torch.arange(copies), other, 0]], 1)
        tables.replace(index, other, pair)
        assert torch.equal(tables.rows[:, index], pair[:, 0])
        assert torch.equal(tables.rows[torch.arange(copies), other], pair[:, 1])


def test_float32_alone_would_not_find_the_nearest_row() -> None:
    # Two rows whose distances from the first differ by less than float32 can tell at these norms.
    rows = torch.tensor([[0.7, 0.1], [0.2, 0.3], [0.2, 0.3 - 1e-9], [-2e2, 5e2], [2e2, -5e2]], dtype=torch.float64)
    spread = torch.ones(2, dtype=torch.float64)
    nominal = torch.zeros(2, dtype=torch.bool)
    for last in (-1e-9, 1e-9):
        rows[2, 1] = 0.3 + last
        distance = MixedDistance.of(rows, spread, nominal)
        tables = ChangingTables(rows, 1, distance)
        tables.begin(range(5))
        codes = distance.encode(rows)
        assert len(torch.cdist(codes[:1], codes[1:3])[0].unique()) == 1
        assert tables.nearest(0).tolist() == [2 if last < 0 else 1]


def test_the_copies_change_by_themselves() -> None:
    rows = torch.tensor([[0.0], [1.0], [3.0], [10.0]], dtype=torch.float64)
    tables = ChangingTables(rows, 2, MixedDistance.of(rows, torch.tensor([10.0]), torch.tensor([False])))
    tables.begin(range(4))
    assert tables.nearest(0).tolist() == [1, 1]
    tables.replace(0, torch.tensor([1, 1]), torch.tensor([[[0.0], [9.0]], [[0.0], [2.5]]]).double())
    assert tables.nearest(1).tolist() == [3, 2]
    assert tables.nearest(2).tolist() == [0, 1]
