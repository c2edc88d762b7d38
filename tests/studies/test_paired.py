"""Tests of paired numbers, against scipy."""

from __future__ import annotations

import random

import pytest

from kdcli.studies.paired import paired_t_test, sign_test

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("count", range(2, 12))
def test_p_values_are_scipys(count: int) -> None:
    drawn = random.Random(count)
    first, second = ([drawn.gauss(mean, 1) for _ in range(count)] for mean in (0, 0.7))
    assert paired_t_test(first, second) == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=1e-12)
    more = sum(a > b for a, b in zip(first, second, strict=True))
    assert sign_test(first, second) == pytest.approx(stats.binomtest(more, count).pvalue, abs=1e-12)


def test_where_there_is_nothing_to_test_there_is_no_p() -> None:
    assert paired_t_test([1], [2]) is None
    assert paired_t_test([1, 2], [2, 3]) is None
    assert sign_test([1, 2], [1, 2]) is None


def test_equal_pairs_are_left_out_of_the_sign_test() -> None:
    assert sign_test([1, 5, 5, 5], [1, 1, 1, 1]) == pytest.approx(2 / 2**3)
