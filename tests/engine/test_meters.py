"""The log of an epoch and the mask of those that must not change."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.engine.meters import HARD, NORM, SOFT, TOTAL, Meters
from kdcli.objective import LossTerms

CPU = torch.device("cpu")
NAN, INF = float("nan"), float("inf")
LARGE = 3e38  # close to the largest float32


def terms(total: list[float], hard: list[float] | None = None, soft: list[float] | None = None) -> LossTerms:
    def tensor(values: list[float] | None) -> Tensor | None:
        return None if values is None else torch.tensor(values)

    return LossTerms(torch.tensor(total), tensor(hard), tensor(soft), torch.zeros(0))


def test_means_weigh_the_steps_by_their_examples() -> None:
    meters = Meters(2, 2, CPU)
    meters.record(0, terms([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]), torch.tensor([1.0, 1.0]))
    meters.record(1, terms([4.0, 8.0], [0.0, 1.0], [2.0, 0.0]), torch.tensor([1.0, 1.0]))
    first, second = meters.means([6, 2])
    assert (first[TOTAL], first[HARD], first[SOFT]) == ((6 + 8) / 8, 18 / 8, (30 + 4) / 8)
    assert (second[TOTAL], second[HARD], second[SOFT]) == ((12 + 16) / 8, (24 + 2) / 8, 36 / 8)


def test_a_term_that_no_network_has_counts_as_zero() -> None:
    meters = Meters(1, 1, CPU)
    meters.record(0, terms([1.5]), torch.tensor([2.0]))
    assert meters.log[0, 0].tolist() == [1.5, 0.0, 0.0, 2.0]


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("column", [HARD, SOFT])
def test_a_term_alone_blocks_nobody(value: float, column: int) -> None:
    """It has weight 0, or the total would not be finite either."""
    meters = Meters(1, 1, CPU)
    columns = {HARD: [1.0], SOFT: [1.0], column: [value]}
    meters.record(0, terms([1.0], columns[HARD], columns[SOFT]), torch.ones(1))
    assert meters.blocked.tolist() == [0.0]
    assert meters.first_bad(0) is None
    assert not math.isfinite(meters.means([4])[0][column])


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("column", [TOTAL, NORM])
def test_a_number_that_is_not_finite_blocks_its_network_alone(value: float, column: int) -> None:
    meters = Meters(3, 2, CPU)
    fine = terms([1.0, 1.0], [1.0, 1.0], [1.0, 1.0])
    meters.record(0, fine, torch.ones(2))
    assert meters.blocked.tolist() == [0.0, 0.0]
    columns = [torch.ones(2) for _ in range(4)]
    columns[column][1] = value
    meters.record(1, LossTerms(columns[TOTAL], columns[HARD], columns[SOFT], torch.zeros(0)), columns[NORM])
    meters.record(2, fine, torch.ones(2))
    assert meters.blocked.tolist() == [0.0, 1.0]
    assert meters.first_bad(0) is None
    bad = meters.first_bad(1)
    assert bad is not None
    row, values = bad
    assert row == 1
    assert math.isnan(values[column]) if math.isnan(value) else values[column] == value


def test_large_losses_are_not_a_divergence() -> None:
    """Their sum overflows, but each of them is finite."""
    meters = Meters(1, 1, CPU)
    meters.record(0, terms([LARGE], [LARGE], [LARGE]), torch.ones(1))
    assert meters.blocked.tolist() == [0.0]
    assert meters.first_bad(0) is None


def test_reset_forgets_the_log_and_blocks_those_that_have_stopped() -> None:
    meters = Meters(1, 3, CPU)
    meters.record(0, terms([NAN, 1.0, 1.0]), torch.ones(3))
    meters.reset([False, True, False])
    assert meters.blocked.tolist() == [0.0, 1.0, 0.0]
    assert not meters.log.any()


def test_the_log_holds_no_graph() -> None:
    meters = Meters(1, 1, CPU)
    total = torch.ones(1, requires_grad=True) * 2
    meters.record(0, LossTerms(total, None, total, torch.zeros(0)), torch.ones(1))
    assert not meters.log.requires_grad
    assert not meters.blocked.requires_grad
