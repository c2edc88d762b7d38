"""run.json: what a run is and how it stands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from kdcli.errors import KDError
from kdcli.strict import StrictModel, VersionedModel

Status = Literal["created", "running", "finished", "failed", "interrupted", "diverged"]
"""`created`: made, never started. The last four are ends; all but `finished` can go on with `kd resume`."""

_Time = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$")]


class ErrorRecord(StrictModel):
    """The error that ended a run, as it was shown."""

    code: int
    what: str
    where: str | None = None
    fix: str | None = None


class RunRecord(VersionedModel):
    """The content of run.json; times are UTC."""

    id: str
    command: str
    label: str | None
    status: Status
    smoke: bool
    pid: int
    host: str
    started: _Time
    ended: _Time | None
    argv: list[str]
    error: ErrorRecord | None = None


def now() -> str:
    """The time, in the form that records hold."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def error_record(error: KDError) -> ErrorRecord:
    """What a record keeps of an error."""
    return ErrorRecord(code=error.exit_code, what=error.what, where=error.where, fix=error.fix)
