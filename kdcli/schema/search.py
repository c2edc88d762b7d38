"""``kd search``: its settings, what its directory records, and the values that a key may take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from kdcli.schema.base import Interval, Section, Seed

Value = str | int | float
Objective = Literal["top1", "nll"]

_OVERRIDE = re.compile(r"(?:\+{1,2}|~)?(?!hydra\b)[a-zA-Z_][\w./]*(?:=|$)")


class SearchSettings(Section):
    """How much is tried, how much of it at once, and what the best is."""

    trials: Annotated[int, Interval(1, 100_000)]
    batch: Annotated[int, Interval(1, 1000)]
    objective: Objective


class SearchSection(Section):
    """The settings under the name that they have on the command line."""

    search: SearchSettings


def _check_override(text: str) -> str:
    """Refuse settings of Hydra's own, which can name code to run, and packages, which lead to them."""
    if _OVERRIDE.match(text) is None:
        raise PydanticCustomError("override", "a search takes key=value of kd's own alone")
    return text


Override = Annotated[str, AfterValidator(_check_override)]


class SearchFile(Section):
    """``config.yaml`` of a search.

    ``fixed`` is what all trials share, ``searched`` the keys that are searched, both as they are typed; ``seed`` is the
    sampler's.
    """

    command: Literal["train-teacher", "distill-student"]
    fixed: list[Override]
    searched: list[Override]
    config_dir: str | None
    config_name: str | None
    seed: Seed
    search: SearchSettings


@dataclass(frozen=True)
class Choice:
    """One of these, each as it is typed."""

    values: tuple[str, ...]

    def text(self, value: Value) -> str:
        """A value as it is typed."""
        return str(value)

    def parse(self, text: str) -> str:
        """The value that is typed so.

        Raises:
            ValueError: It is none of these.
        """
        if text not in self.values:
            raise ValueError(f"{text!r} is none of {', '.join(self.values)}")
        return text

    def ends(self) -> Sequence[str]:
        """The values to try before anything is trained: all of them."""
        return self.values

    @property
    def size(self) -> int | None:
        """How many values there are."""
        return len(self.values)

    def at(self, index: int) -> str:
        """A value by its place among them."""
        return self.values[index]


@dataclass(frozen=True)
class Numbers:
    """Numbers from ``low`` to ``high``, both included: whole ones, or in steps, or any.

    Args:
        low: The least.
        high: The greatest.
        step: From one to the next; None for any number.
        log: Equal ratios are equally likely.
        whole: Whole numbers.
    """

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False
    whole: bool = False

    def text(self, value: Value) -> str:
        """A value as it is typed: every digit of it."""
        return repr(value)

    def parse(self, text: str) -> int | float:
        """The value that is typed so.

        Raises:
            ValueError: It is no such number.
        """
        value = int(text) if self.whole else float(text)
        if not self.low <= value <= self.high:
            raise ValueError(f"{text} is not between {self.low} and {self.high}")
        return value

    def ends(self) -> Sequence[int | float]:
        """The values to try before anything is trained: the least and the greatest."""
        return (self.low, self.high)

    @property
    def size(self) -> int | None:
        """How many values there are; None where they cannot be counted."""
        return None if self.step is None else round((self.high - self.low) / self.step) + 1

    def at(self, index: int) -> int | float:
        """A value by its place among those that can be counted."""
        assert self.step is not None
        return min(self.low + self.step * index, self.high)


Dimension = Choice | Numbers
