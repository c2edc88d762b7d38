"""Run directories: making, reading and finding them; nothing here needs torch."""

from __future__ import annotations

from kdcli.rundir.create import Contents, create_at, create_child, create_run
from kdcli.rundir.environment import describe_environment
from kdcli.rundir.find import resolve_run
from kdcli.rundir.listing import list_runs, name_of
from kdcli.rundir.lock import RunLock
from kdcli.rundir.metrics import MetricsFile, read_metrics
from kdcli.rundir.record import ErrorRecord, RunRecord, Status
from kdcli.rundir.run import RunDir

__all__ = [
    "Contents",
    "ErrorRecord",
    "MetricsFile",
    "RunDir",
    "RunLock",
    "RunRecord",
    "Status",
    "create_at",
    "create_child",
    "create_run",
    "describe_environment",
    "list_runs",
    "name_of",
    "read_metrics",
    "resolve_run",
]
