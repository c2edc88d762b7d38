"""``kd runs``: what there is, the newest first; without torch, hydra or pydantic, so that it comes at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcli.commands.flags import Flags
from kdcli.commands.run_entries import FILTERS, find_entries
from kdcli.commands.run_filters import check_filters, chosen, needs_rows, wanted
from kdcli.commands.width import terminal_width
from kdcli.commands.words import Words, take_apart, whole_number
from kdcli.errors import UsageError
from kdcli.json_io import encode_json

if TYPE_CHECKING:
    from kdcli.report.runs import RunRow

KEYS = (*FILTERS, "sort", "limit", "output_dir")
_ACTIONS = ("rm", "restore")
_MOST = "20"


def run(args: list[str], flags: Flags) -> int:
    """List runs; ``rm`` and ``restore`` take them away and bring them back."""
    words = take_apart(args, "runs", KEYS)
    root = Path(words.settings.get("output_dir", "outputs"))
    if words.names:
        return _act(words, root, flags)
    for flag in ("--purge", "--force"):
        if flag in words.flags:
            raise UsageError(f"{flag} belongs to kd runs rm", where=flag, fix=f"kd runs rm RUN {flag}")
    check_filters(words.settings)
    limit = whole_number(words.flags.get("--limit", words.settings.get("limit", _MOST)), "limit")
    rows, total = listed(root, words, smoke=flags.smoke, limit=limit)
    if flags.json:
        content = {"schema": 1, "total": total, "runs": [as_json(row) for row in rows]}
        sys.stdout.write(encode_json(content).decode())
    else:
        sys.stdout.write(_shown(rows, total, root, words))
    return 0


def _act(words: Words, root: Path, flags: Flags) -> int:
    action, *names = words.names
    if action not in _ACTIONS:
        fix = "kd runs lists them; kd runs rm RUN takes one away; filters are written key=value"
        raise UsageError(f"kd runs does not take {action!r}", where="runs", fix=fix)
    from kdcli.commands.trash import remove, restore

    if not names:
        raise UsageError(f"kd runs {action} needs a RUN", where="runs", fix=f"kd runs {action} RUN")
    if action == "restore":
        return restore(names, root, flags)
    return remove(names, root, flags, purge="--purge" in words.flags, force="--force" in words.flags)


def listed(root: Path, words: Words, *, smoke: bool, limit: int) -> tuple[list[RunRow], int]:
    """The rows to show, and how many pass the filters in all.

    Args:
        root: The output directory.
        words: The filters, the order, and ``--all``.
        smoke: Smoke runs count.
        limit: How many rows at most, 0 for all.
    """
    from kdcli.commands.run_rows import row_of

    settings, everything = words.settings, "--all" in words.flags
    entries = find_entries(root, jobs=everything or "sweep" in settings)
    kept = [entry for entry in entries if wanted(entry, settings, smoke=smoke, everything=everything)]
    most = limit or len(kept)
    if not needs_rows(settings):
        return [row_of(entry, root) for entry in kept[:most]], len(kept)
    rows = chosen([row_of(entry, root) for entry in kept], settings)
    return rows[:most], len(rows)


def as_json(row: RunRow) -> dict[str, Any]:
    """A row as plain data: in full precision, times as the records write them."""
    started = row.started.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return asdict(row) | {"started": started, "difference": row.difference}


def _shown(rows: Sequence[RunRow], total: int, root: Path, words: Words) -> str:
    from kdcli.report.runs import runs_table
    from kdcli.report.text import clean, encodable

    if not rows:
        return encodable(clean(_nothing(root, words)) + "\n", sys.stdout.encoding)
    text = runs_table(rows, total=total, width=terminal_width(), encoding=sys.stdout.encoding)
    return encodable(text + "\n", sys.stdout.encoding)


def _nothing(root: Path, words: Words) -> str:
    """Why no run is shown, and what to do."""
    asked = [f"{name}={value}" for name, value in words.settings.items() if name in FILTERS]
    if asked:
        return f"There is no run that fits {', '.join(asked)} under {root}. All there are: kd runs -n 0 --all"
    if smoke := sum(bool(entry.record.get("smoke")) for entry in find_entries(root, jobs=False)):
        return f"There is no run under {root} but for trials with --smoke ({smoke}): kd runs --smoke"
    return f"There is no run under {root}. Train one: kd train-teacher"
