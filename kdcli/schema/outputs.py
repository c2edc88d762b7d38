"""What the reading commands print with ``--json``, and what sweeps and searches write: one document each.

The commands write plain data, some of them without pydantic, so that they start at once; the JSON Schemas in
``kdcli/schema/json`` are made from these models, and the tests hold the commands to them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kdcli.schema.results import SCHEMA, PairedTest, Result, Summary

Setting = str | int | float | bool | None


class Output(Result):
    """A document; ``schema`` is the version of its form."""

    schema_version: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)


class ListedRun(Result):
    """A run, sweep, search or study; null where it does not apply. Fractions in [0, 1], seconds, times in UTC."""

    id: str
    path: str
    command: str
    label: str | None
    status: Literal["finished", "running", "created", "interrupted", "failed", "diverged", "broken"]
    smoke: bool
    started: str
    seconds: float | None
    jobs: int | None
    model: str | None
    dataset: str | None
    seed: int | None
    teacher: list[str] | None
    teacher_model: str | None
    temperature: float | str | None
    alpha: float | str | None
    val_top1: float | None
    top1: float | None
    teacher_top1: float | None
    difference: float | None
    remark: str | None
    problem: str | None


class Runs(Output):
    """``kd runs --json``: the runs that are shown, of ``total`` that pass the filters."""

    total: int
    runs: list[ListedRun]


class RemovedRun(Result):
    """A run that was taken away; ``trash`` is null where it was deleted for good."""

    run: str
    trash: str | None


class Removed(Output):
    """``kd runs rm RUN ... --json``."""

    removed: list[RemovedRun]
    dry_run: bool


class Restored(Output):
    """``kd runs restore RUN ... --json``: where they are again."""

    restored: list[str]
    dry_run: bool


class Spread(Result):
    """Mean and sample standard deviation of ``n`` runs; the latter is null of one."""

    n: int
    mean: float | None
    sd: float | None


class RunInComparison(Result):
    """One training: its seeds, and what came of it by the names of measures."""

    id: str
    path: str
    seeds: dict[str, int]
    measures: dict[str, float | None]


class ComparedGroup(Result):
    """Runs that differ in the seed alone; ``settings`` are those in which groups differ."""

    settings: dict[str, Setting]
    measures: dict[str, Spread]
    runs: list[RunInComparison]


class Grid(Result):
    """A measure over two settings: ``cells`` has a row for each of ``row_values``; ``n`` is 0 where no run is."""

    measure: str
    rows: str
    columns: str
    row_values: list[str]
    column_values: list[str]
    cells: list[list[Spread]]
    averaged: list[str]


class Compared(Output):
    """``kd compare --json``."""

    differing: list[str]
    groups: list[ComparedGroup]
    paired: list[PairedTest]
    pivot: Grid | None
    remarks: list[str]


class Found(Result):
    """Something that is not as kd left it; harmless where ``kd resume`` sees to it."""

    where: str
    what: str
    harmless: bool


class Verified(Output):
    """``kd verify RUN --json``."""

    run: str
    whole: bool
    files: int
    checkpoints: int
    findings: list[Found]


class Checked(Result):
    """One check of the installation; ``fix`` is null where it is as it should be."""

    name: str
    found: str
    fix: str | None


class Examined(Output):
    """``kd doctor --json``; ``extras`` are optional: the ``fix`` of one says how to install what is missing of it."""

    healthy: bool
    checks: list[Checked]
    extras: list[Checked]


class ListedStudy(Result):
    """A study that comes with kd."""

    name: str
    title: str


class Studies(Output):
    """``kd study --json``."""

    studies: list[ListedStudy]


class WrittenReport(Result):
    """A page, and the run it is about."""

    run: str
    report: str


class Reports(Output):
    """``kd report RUN --json``."""

    reports: list[WrittenReport]


class SweepJob(Result):
    """How a job of a sweep ended; ``summary`` is null where it did not finish."""

    job: int
    label: str
    overrides: list[str]
    status: str
    run: str
    error: str | None
    summary: Summary | None


class SweepSummary(Output):
    """``summary.json`` of a sweep, and what it prints with ``--json``."""

    command: Literal["sweeps"]
    run: str
    jobs: list[SweepJob]


class BestTrial(Result):
    """The values that reached most on validation."""

    trial: int
    values: dict[str, str | int | float]
    value: float | None
    run: str
    rerun: str


class SearchTrial(Result):
    """A trial of a search."""

    trial: int
    values: dict[str, str | int | float]
    value: float | None
    run: str
    status: str
    error: str | None
    summary: Summary | None


class SearchSummary(Output):
    """``summary.json`` of a search, and what it prints with ``--json``."""

    command: Literal["search"]
    run: str
    trains: str
    objective: str
    best: BestTrial | None
    importance: dict[str, float] | None
    trials: list[SearchTrial]
