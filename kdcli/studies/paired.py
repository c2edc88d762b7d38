"""Tests of paired numbers, one pair a seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def paired_t_test(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The two-sided p of Student's paired t-test; None with fewer than two pairs, or where all differences are equal.

    Args:
        first: One number a seed.
        second: The numbers of the same seeds.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if len(differences) < 2:
        return None
    deviation = statistics.stdev(differences)
    if deviation == 0:
        return None
    t = statistics.fmean(differences) * math.sqrt(len(differences)) / deviation
    return 1 - _within(abs(t), len(differences) - 1)


def _within(t: float, freedom: int) -> float:
    """The probability that Student's t lies in [-t, t]: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term, total = (math.cos(angle), 0.0) if odd else (1.0, 0.0)
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= math.cos(angle) ** 2 * k / (k + 1)
    tail = math.sin(angle) * total
    return 2 / math.pi * (angle + tail) if odd else tail


def sign_test(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The two-sided p of the exact sign test; pairs that are equal are left out, None where no other is there."""
    signs = [a > b for a, b in zip(first, second, strict=True) if a != b]
    if not signs:
        return None
    fewer, count = min(sum(signs), len(signs) - sum(signs)), len(signs)
    return float(min(1.0, 2 * sum(math.comb(count, k) for k in range(fewer + 1)) / 2**count))
