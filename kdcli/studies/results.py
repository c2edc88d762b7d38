"""What a study writes for scripts to read: results.json."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from kdcli.schema.results import Result
from kdcli.studies.address import Value


class RowResult(Result):
    """A row: ``values`` are ours, one a seed; ``mean`` and ``sd`` of them, ``difference`` of the mean from the paper's.

    ``verdict`` is ``as expected``, ``not reached``, ``not measured``, or empty where nothing is expected.
    """

    name: str
    paper: float | None
    values: list[float]
    mean: float | None
    sd: float | None
    difference: float | None
    verdict: Literal["as expected", "not reached", "not measured", ""]
    why: str
    note: str


class PointResult(Result):
    """A point of a run: its place on each axis, its seed, the run's directory, and that run's result.

    ``reused`` says that the run had been trained before, for another study or by itself.
    """

    point: dict[str, Value]
    seed: int
    run: str
    reused: bool
    result: dict[str, Any]


class StudyResults(Result):
    """``results.json`` of a study."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    study: str
    budget: str
    title: str
    source: str
    claim: str
    smoke: bool
    command: str
    started: str
    ended: str
    environment: dict[str, Any]
    rows: list[RowResult]
    figures: list[str]
    runs: dict[str, list[PointResult]]
