"""Numbers as people read them. A value that does not apply is None and becomes an empty text."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

_SIZES = ("bytes", "kB", "MB", "GB", "TB")
_TINY = 1e-4
_HUGE = 1e9


def percent(fraction: float | None) -> str:
    """A fraction in [0, 1] as a percentage with two decimals, without the sign: ``97.81``."""
    return "" if fraction is None else f"{100 * fraction:.2f}"


def points(difference: float | None) -> str:
    """A difference of two fractions in percentage points, with its sign: ``-0.62``."""
    return "" if difference is None else f"{100 * difference:+.2f}"


def decimals(value: float | None, digits: int) -> str:
    """A number with a fixed count of decimals; with an exponent where it is huge, as after a divergence."""
    if value is None:
        return ""
    return f"{value:,.{digits}f}" if abs(value) < _HUGE else f"{value:.3e}"


def short(value: float | str | None) -> str:
    """A number in as many digits as it needs, at most four; a name as it is."""
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.4g}"


def count(value: float | None) -> str:
    """A count, with commas."""
    return "" if value is None else f"{value:,.0f}"


def plural(number: int, noun: str) -> str:
    """A count and what is counted: ``1 error``, ``1,234 errors``."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def times(factor: float) -> str:
    """A factor: ``1.9``, ``12``, ``1,234``."""
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:.1f}"


def clock(seconds: float | None) -> str:
    """A duration as ``1:12`` or ``1:02:03``; never negative."""
    if seconds is None:
        return ""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """A duration with its unit: ``8.2 s``, ``1:12 min``, ``1:02:02 h``."""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    return f"{clock(seconds)} min" if seconds < 3600 else f"{clock(seconds)} h"


def milliseconds(seconds: float | None) -> str:
    """A latency in milliseconds, in three digits."""
    if seconds is None:
        return ""
    value = 1000 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def size(num_bytes: int | None) -> str:
    """A size on disk: ``5.1 MB``."""
    if num_bytes is None:
        return ""
    value, unit = float(num_bytes), 0
    while value >= 1000 and unit < len(_SIZES) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} bytes" if unit == 0 else f"{value:.1f} {_SIZES[unit]}"


def p_value(p: float) -> str:
    """A p-value in two digits: ``p = 0.031``, ``p < 0.0001``."""
    return f"p < {_TINY:.4f}" if p < _TINY else f"p = {p:.2g}"


def mean_sd(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Mean and sample standard deviation over seeds with their number: ``97.81 ± 0.12 (3)``; one value stands alone."""
    if not values:
        return ""
    mean = show(statistics.fmean(values))
    return mean if len(values) == 1 else f"{mean} ± {show(statistics.stdev(values))} ({len(values)})"
