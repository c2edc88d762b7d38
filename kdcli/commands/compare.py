"""``kd compare``: what differs between runs, and what came of it; no torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdcli.commands.compared_runs import last_runs, named_runs, readable
from kdcli.commands.flags import Flags
from kdcli.commands.paired import paired_line, paired_tests
from kdcli.commands.screen import escape_controls
from kdcli.commands.width import terminal_width
from kdcli.commands.words import Words, one_of, take_apart, whole_number
from kdcli.errors import UsageError
from kdcli.json_io import encode_json
from kdcli.report.comparison import BY_NAME, Comparison, Pivot, compare, pivot
from kdcli.report.comparison_table import comparison_text, for_pages, pivot_cells, pivot_text, remarks
from kdcli.report.formats import csv_text, latex, markdown
from kdcli.report.sweep import SEEDS, deviation, mean
from kdcli.report.text import encodable

KEYS = ("output_dir", "metric")


def run(args: list[str], flags: Flags) -> int:
    """Compare finished trainings."""
    words = take_apart(args, "compare", KEYS)
    root = Path(words.settings.get("output_dir", "outputs"))
    metric = one_of(words.settings["metric"], BY_NAME, "metric") if "metric" in words.settings else None
    asked = words.flags.get("--pivot")
    if metric and asked is None:
        raise UsageError(
            "metric= is that of a grid", where="metric", fix="add --pivot temperature:alpha, or leave it out"
        )
    comparison = _comparison(words, root, flags)
    grid = None if asked is None else _pivot(comparison, asked, metric)
    written = "json" if flags.json else words.flags.get("--format", "table")
    if written != "table":
        for remark in remarks(comparison) if written != "json" else []:
            _say(remark)
    text = {"table": _table, "json": _json, "csv": _csv, "md": _markdown, "latex": _latex}[written](
        comparison, grid, root, flags
    )
    sys.stdout.write(text if written == "json" else encodable(text, sys.stdout.encoding))
    return 0


def _say(line: str) -> None:
    sys.stderr.write(encodable(escape_controls(line).replace("\n", " "), sys.stderr.encoding) + "\n")


def _comparison(words: Words, root: Path, flags: Flags) -> Comparison:
    """The runs that are asked for, grouped.

    Raises:
        UsageError: There are fewer than two to compare.
    """
    runs = named_runs(words.names, root, smoke=flags.smoke)
    if "--last" in words.flags:
        newest = last_runs(whole_number(words.flags["--last"], "--last"), root, smoke=flags.smoke)
        runs += [run for run in newest if run.path not in [known.path for known in runs]]
    found = readable(runs, root, _say)
    if len(found) < 2:
        what = f"kd compare needs two finished trainings, got {len(found)}"
        raise UsageError(what, where="compare", fix="kd compare RUN RUN, kd compare SWEEP, or kd compare --last 5")
    return compare(found)


def _pivot(comparison: Comparison, asked: str, metric: str | None) -> Pivot:
    rows, colon, columns = asked.partition(":")
    if not (rows and colon and columns):
        raise UsageError(f"--pivot={asked} names no two keys", where="--pivot", fix="write --pivot temperature:alpha")
    if metric is None:
        everywhere = all(len(group.values("val_top1")) == len(group.runs) for group in comparison.groups)
        metric = "val_top1" if everywhere else "test_top1"
    keys = (_key(comparison, rows), _key(comparison, columns))
    return pivot(comparison, *keys, BY_NAME[metric])


def _key(comparison: Comparison, name: str) -> str:
    """The key that is meant: in full, or its last part."""
    keys = dict.fromkeys(key for run in comparison.runs for key in run.settings)
    ends = [key for key in keys if key.rpartition(".")[2] == name]
    if name in keys:
        return name
    if len(ends) == 1:
        return ends[0]
    from kdcli.commands.nearest import did_you_mean

    fix = f"keys that differ: {', '.join(comparison.differing) or 'none'}"
    what = f"--pivot: {f'{name!r} could be ' + ', '.join(ends) if ends else f'no run has {name!r}'}"
    raise UsageError(what + ("" if ends else did_you_mean(name, keys)), where="--pivot", fix=fix)


def _table(comparison: Comparison, grid: Pivot | None, root: Path, flags: Flags) -> str:
    width = terminal_width()
    if grid is not None:
        color = flags.color and sys.stdout.isatty()
        return pivot_text(grid, color=color, width=width) + "\n"
    tested = paired_line(comparison, root)
    return "\n".join([comparison_text(comparison, width=width), *[tested] * bool(tested)]) + "\n"


def _markdown(comparison: Comparison, grid: Pivot | None, root: Path, flags: Flags) -> str:
    return markdown(*(for_pages(comparison) if grid is None else pivot_cells(grid)))


def _latex(comparison: Comparison, grid: Pivot | None, root: Path, flags: Flags) -> str:
    return latex(*(for_pages(comparison) if grid is None else pivot_cells(grid)))


def _csv(comparison: Comparison, grid: Pivot | None, root: Path, flags: Flags) -> str:
    """A line a run, or a line a row of the grid with the means."""
    if grid is not None:
        cells = zip(grid.row_values, grid.cells, strict=True)
        rows = [[name, *(mean(cell) for cell in row)] for name, row in cells]
        return csv_text([f"{grid.rows}:{grid.columns}", *grid.column_values], rows)
    seeds = [key for key in SEEDS if any(key in run.settings for run in comparison.runs)]
    settings, measures = [*comparison.differing, *seeds], [measure.name for measure in comparison.kept()]
    lines = [
        [run.id, number, *(run.settings.get(key) for key in settings), *(run.measures.get(name) for name in measures)]
        for number, group in enumerate(comparison.groups, 1)
        for run in group.runs
    ]
    return csv_text(["run", "group", *settings, *measures], lines)


def _json(comparison: Comparison, grid: Pivot | None, root: Path, flags: Flags) -> str:
    content: dict[str, Any] = {
        "schema": 1,
        "differing": list(comparison.differing),
        "groups": [
            {
                "settings": {key: group.setting(key) for key in comparison.differing},
                "measures": group.statistics(),
                "runs": [
                    {
                        "id": run.id,
                        "path": run.path,
                        "seeds": {key: run.settings[key] for key in SEEDS if key in run.settings},
                        "measures": run.measures,
                    }
                    for run in group.runs
                ],
            }
            for group in comparison.groups
        ],
        "paired": paired_tests(comparison, root),
        "pivot": None if grid is None else _grid(grid),
        "remarks": remarks(comparison),
    }
    return encode_json(content).decode()


def _grid(grid: Pivot) -> Mapping[str, object]:
    return {
        "measure": grid.measure.name,
        "rows": grid.rows,
        "columns": grid.columns,
        "row_values": list(grid.row_values),
        "column_values": list(grid.column_values),
        "cells": [[{"n": len(cell), "mean": mean(cell), "sd": deviation(cell)} for cell in row] for row in grid.cells],
        "averaged": list(grid.averaged),
    }
