"""What is searched: the keys of a command line that have several values, in Hydra's own syntax for sweeps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from hydra.core.override_parser.types import IntervalSweep, Override, ParsedElementType, RangeSweep, Transformer

from kdcli.errors import UsageError
from kdcli.report.units import short
from kdcli.schema.search import Choice, Dimension, Numbers, Value

Point = Mapping[str, Value]
"""A value for each key."""

_VIEWS = ("dataset.views", "dataset.view_pixels")


@dataclass(frozen=True)
class Space:
    """The keys that are searched, in the order of the command line, each with the values that it may take."""

    dimensions: Mapping[str, Dimension]

    @property
    def size(self) -> int | None:
        """How many points there are; None where they cannot be counted."""
        sizes = [dimension.size for dimension in self.dimensions.values()]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def words(self, point: Point) -> list[str]:
        """A point as it is typed."""
        return [f"{key}={dimension.text(point[key])}" for key, dimension in self.dimensions.items()]

    def label(self, point: Point) -> str:
        """A point as people read it: four digits of a number."""
        return " ".join(f"{key}={short(point[key])}" for key in self.dimensions)

    def read(self, words: Sequence[str]) -> dict[str, Value]:
        """The point that a command line is of.

        Raises:
            ValueError: A key is missing, or has a value that it may not take.
        """
        given = {key: text for key, _, text in (word.partition("=") for word in words)}
        missing = [key for key in self.dimensions if key not in given]
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        return {key: dimension.parse(given[key]) for key, dimension in self.dimensions.items()}

    def probes(self) -> list[dict[str, Value]]:
        """Few points, in which every choice and both ends of every interval occur."""
        ends = {key: dimension.ends() for key, dimension in self.dimensions.items()}
        most = max(map(len, ends.values()))
        return [{key: values[number % len(values)] for key, values in ends.items()} for number in range(most)]

    def grid(self) -> Iterator[dict[str, Value]]:
        """All points, the last key changing fastest; none where they cannot be counted."""
        for number in range(self.size or 0):
            point: dict[str, Value] = {}
            for key, dimension in reversed(list(self.dimensions.items())):
                assert dimension.size is not None
                number, index = divmod(number, dimension.size)
                point[key] = dimension.at(index)
            yield {key: point[key] for key in self.dimensions}


def split(overrides: Sequence[Override]) -> tuple[list[str], list[str], Space]:
    """What is fixed and what is searched, both as they are typed, and the space of the latter.

    Raises:
        UsageError: Nothing is searched, a key is given twice or cannot be searched, or its values cannot be.
    """
    searched = [override for override in overrides if override.is_sweep_override()]
    fixed = [override for override in overrides if not override.is_sweep_override()]
    if not searched:
        fix = "give a key several values, as in 'temperature=interval(1,20)' alpha=0.3,0.5,0.9"
        raise UsageError("there is nothing to search: every key has one value", where="kd search", fix=fix)
    keys = [override.key_or_group for override in overrides]
    for override in searched:
        if keys.count(override.key_or_group) > 1:
            key = override.key_or_group
            raise UsageError(f"{key} is given twice, once with several values", where=key, fix="leave one of them out")
    space = Space({str(override.get_key_element()): _dimension(override) for override in searched})
    return [str(one.input_line) for one in fixed], [str(one.input_line) for one in searched], space


def _dimension(override: Override) -> Dimension:
    key, value = override.key_or_group, override.value()
    reason = _why_not(key)
    if reason is not None:
        raise UsageError(f"{key} is not searched: {reason}", where=key, fix=f"give {key} one value")
    tags: set[str] = getattr(value, "tags", set())
    if tags - {"log"}:
        raise UsageError(f"{key}: unknown tag {', '.join(sorted(tags - {'log'}))}", where=key, fix="the one tag is log")
    if isinstance(value, IntervalSweep):
        return _checked(key, _interval(value))
    if isinstance(value, RangeSweep):
        return _checked(key, _range(key, value))
    choices = tuple(dict.fromkeys(map(str, override.sweep_iterator(transformer=_typed))))
    if not choices:
        raise UsageError(f"{key} has no values: a list or glob of them is empty", where=key, fix="name values")
    return Choice(choices)


def _why_not(key: str) -> str | None:
    """Why a key cannot be searched, None where it can."""
    if key in ("seed", "data_seed"):
        return "the best seed is luck; search with one seed, then sweep the best over seeds"
    if key.partition(".")[0] == "dataset" and key not in _VIEWS:
        return "numbers that are measured on different examples cannot be compared"
    return "a search has one directory" if key == "output_dir" else None


def _typed(value: ParsedElementType) -> str:
    """A choice as one types it: ``true``, not ``True``."""
    return str(value).lower() if isinstance(value, bool) else str(Transformer.str(value))


def _interval(value: IntervalSweep) -> Numbers:
    assert value.start is not None
    assert value.end is not None
    whole = isinstance(value.start, int) and isinstance(value.end, int)
    return Numbers(value.start, value.end, 1 if whole else None, "log" in value.tags, whole)


def _range(key: str, value: RangeSweep) -> Numbers:
    """Where ``-m`` would stop, a search does: before ``stop``. Decimals, for 0.1 is no sum of binary fractions."""
    start, stop, step = (Decimal(str(number)) for number in (value.start, value.stop, value.step))
    count = math.ceil((stop - start) / step) if step else 0
    if count < 1:
        raise UsageError(
            f"{key} has no values: the range is empty", where=key, fix=f"write '{key}=range(start,stop,step)'"
        )
    low, high = sorted((start, start + (count - 1) * step))
    number = int if all(isinstance(each, int) for each in (value.start, value.stop, value.step)) else float
    return Numbers(number(low), number(high), number(abs(step)), "log" in value.tags, number is int)


def _checked(key: str, numbers: Numbers) -> Numbers:
    if not math.isfinite(numbers.low) or not numbers.low <= numbers.high < math.inf:
        what = f"{key}: an interval goes from a number up to a greater one, got {numbers.low} and {numbers.high}"
        raise UsageError(what, where=key, fix=f"write '{key}=interval(low,high)'")
    if numbers.log and (numbers.low <= 0 or numbers.step not in (None, 1)):
        what = f"{key}: a logarithm needs numbers above 0, in an interval or as whole numbers one apart"
        raise UsageError(what, where=key, fix=f"write '{key}=tag(log,interval(low,high))' with low above 0")
    return numbers
