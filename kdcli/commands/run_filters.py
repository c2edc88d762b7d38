"""Which runs a list shows, and in what order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from kdcli.commands.run_entries import FILTERS, KINDS, ORDERS, STATUSES, Entry
from kdcli.commands.words import one_of
from kdcli.report.runs import RunRow

_BY_RECORD = ("command", "status", "label", "sweep")
_NEWEST = "started"


def _number(value: float | None) -> float:
    return math.inf if value is None else -value


# Numbers the largest first, names from A to Z; what a run does not have stands last.
_KEYS: Mapping[str, Callable[[RunRow], tuple[bool, float | str]]] = {
    _NEWEST: lambda row: (False, -row.started.timestamp()),
    "top1": lambda row: (row.top1 is None, _number(row.top1)),
    "difference": lambda row: (row.difference is None, _number(row.difference)),
    "time": lambda row: (not row.seconds, _number(row.seconds)),
    "id": lambda row: (False, row.id),
    "model": lambda row: (row.model is None, row.model or ""),
}


def check_filters(settings: Mapping[str, str]) -> None:
    """Refuse values that nothing can have.

    Raises:
        UsageError: An unknown command, status or order.
    """
    for command in _values(settings.get("command", "")):
        one_of(command, KINDS, "command")
    for status in _values(settings.get("status", "")):
        one_of(status, STATUSES, "status")
    one_of(settings.get("sort", _NEWEST).removeprefix("-"), ORDERS, "sort")


def _values(text: str) -> list[str]:
    return [value for value in text.split(",") if value]


def wanted(entry: Entry, settings: Mapping[str, str], *, smoke: bool, everything: bool) -> bool:
    """Whether an entry is to be listed, as far as its record tells.

    Args:
        entry: The entry.
        settings: The filters.
        smoke: Smoke runs count.
        everything: They do, and so do evaluations and the jobs of sweeps.
    """
    commands, sweep = _values(settings.get("command", "")), settings.get("sweep")
    # A broken run tells nothing of itself but where it lies.
    kinds = (entry.command, entry.kind) if entry.is_job or not entry.record else (entry.command,)
    if commands and not set(commands) & set(kinds):
        return False
    if not (everything or commands) and entry.command == "evaluate":
        return False
    if bool(entry.record.get("smoke")) and not (smoke or everything):
        return False
    label = entry.record.get("label")
    if not _fits(label if isinstance(label, str) else None, settings.get("label")):
        return False
    if sweep is not None:
        return entry.is_job and fnmatchcase(entry.name.partition("/")[0], f"{sweep}*")
    return everything or not entry.is_job


def needs_rows(settings: Mapping[str, str]) -> bool:
    """Whether what is shown of every run must be read before it is known which are to be shown."""
    told = {name for name in settings if name in FILTERS} - set(_BY_RECORD)
    return bool(told) or "status" in settings or settings.get("sort", _NEWEST) != _NEWEST


def chosen(rows: Sequence[RunRow], settings: Mapping[str, str]) -> list[RunRow]:
    """The rows that pass the filters, in the order that is asked for."""
    kept = [row for row in rows if _passes(row, settings)]
    order = settings.get("sort", _NEWEST)
    key = _KEYS[order.removeprefix("-")]
    kept.sort(key=lambda row: row.started, reverse=True)
    if not order.startswith("-"):
        return sorted(kept, key=key)
    last = [row for row in kept if key(row)[0]]
    return [*sorted((row for row in kept if row not in last), key=key, reverse=True), *last]


def _passes(row: RunRow, settings: Mapping[str, str]) -> bool:
    statuses = _values(settings.get("status", ""))
    taught = [Path(run).name for run in row.teacher or ()]
    return (
        (not statuses or row.status in statuses)
        and _fits(row.model, settings.get("model"))
        and _fits(row.dataset, settings.get("dataset"))
        and (
            _fits(row.teacher_model, settings.get("teacher")) or any(_fits(run, settings["teacher"]) for run in taught)
        )
    )


def _fits(value: str | None, patterns: str | None) -> bool:
    if patterns is None:
        return True
    return value is not None and any(fnmatchcase(value, pattern) for pattern in patterns.split(","))
