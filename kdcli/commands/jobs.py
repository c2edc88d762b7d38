"""What the sweeper hands over: one job for each combination of the values that a command line lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kdcli.schema import Config


@dataclass(frozen=True)
class Job:
    """One job of a sweep, composed and checked.

    Args:
        index: Its place in the grid, from 0.
        overrides: The ``key=value`` texts that make it, as they would be typed for this job alone.
        config: Its typed configuration.
        choices: The chosen option of each config group; of ``temperature`` and ``alpha`` perhaps a number's text.
        label: What it is called; None for the overrides that not all jobs share.
    """

    index: int
    overrides: list[str]
    config: Config
    choices: Mapping[str, str]
    label: str | None = None
