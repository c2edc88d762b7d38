from __future__ import annotations

import pytest

from kdcli.report import units


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-3, "0:00"), (0, "0:00"), (71.6, "1:12"), (3722, "1:02:02"), (None, "")]
)
def test_clock_reads_minutes_or_hours_and_is_never_negative(seconds: float | None, shown: str) -> None:
    assert units.clock(seconds) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(-1, "0.0 s"), (8.24, "8.2 s"), (72, "1:12 min"), (3722, "1:02:02 h")])
def test_duration_names_its_unit(seconds: float, shown: str) -> None:
    assert units.duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0000123, "0.0123"), (0.00021, "0.210"), (0.0121, "12.1"), (12.3456, "12,346"), (None, "")]
)
def test_latency_has_three_digits(seconds: float | None, shown: str) -> None:
    assert units.milliseconds(seconds) == shown


@pytest.mark.parametrize(
    ("num_bytes", "shown"), [(0, "0 bytes"), (999, "999 bytes"), (5_107_240, "5.1 MB"), (None, "")]
)
def test_size_uses_powers_of_a_thousand(num_bytes: int | None, shown: str) -> None:
    assert units.size(num_bytes) == shown


@pytest.mark.parametrize(
    ("p", "shown"), [(1.0, "p = 1"), (0.64, "p = 0.64"), (0.0312, "p = 0.031"), (6e-6, "p < 0.0001")]
)
def test_p_value_has_two_digits(p: float, shown: str) -> None:
    assert units.p_value(p) == shown


def test_mean_comes_with_the_sample_standard_deviation_and_the_count() -> None:
    # mean 4, squares of the differences 4 + 0 + 4, divided by n - 1 = 2
    assert units.mean_sd([2, 4, 6], lambda value: f"{value:.1f}") == "4.0 ± 2.0 (3)"
    assert units.mean_sd([2], lambda value: f"{value:.1f}") == "2.0"
    assert units.mean_sd([], str) == ""


def test_percentages_have_two_decimals_and_differences_a_sign() -> None:
    assert (units.percent(0.97814), units.percent(None)) == ("97.81", "")
    assert (units.points(-0.0062), units.points(0.0048)) == ("-0.62", "+0.48")


def test_factors_and_counts() -> None:
    assert [units.times(factor) for factor in (1.876, 12.3, 1234.5)] == ["1.9", "12", "1,234"]
    assert [units.plural(number, "error") for number in (0, 1, 1234)] == ["0 errors", "1 error", "1,234 errors"]
    assert [units.short(value) for value in (20.0, 0.1, 1 - 0.9, "cosine", None)] == ["20", "0.1", "0.1", "cosine", ""]


def test_huge_numbers_have_an_exponent() -> None:
    assert units.decimals(123456.789, 2) == "123,456.79"
    assert units.decimals(-8.447890952e30, 4) == "-8.448e+30"
    assert units.decimals(float("inf"), 4) == "inf"
