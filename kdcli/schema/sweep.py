"""What a sweep keeps beside its jobs: lines of ledger.jsonl, and the files of programs/."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kdcli.schema.base import Section

JobNumber = Annotated[int, Field(ge=0, lt=10**6)]


class LedgerEntry(Section):
    """A line of ledger.jsonl: a job, and the baseline it is compared with; later lines tell how the job ended."""

    job: JobNumber
    label: str
    overrides: list[str]
    baseline: JobNumber | None
    status: str = "created"


class ProgramFile(Section):
    """``programs/00.json``: the jobs that train as one, and the baselines that train with them."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    jobs: Annotated[list[JobNumber], Field(min_length=1)]
    baselines: list[JobNumber]


def job_name(job: int) -> str:
    """The directory of a job."""
    return f"{job:02d}"


def baseline_name(baseline: int) -> str:
    """The directory of a baseline that jobs share."""
    return f"baselines/{baseline:02d}"
