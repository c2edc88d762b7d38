"""The report of a sweep, from its directory: read back, drawn, written, and what to run next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcli.commands.ending import data_words
from kdcli.commands.flags import parse_line
from kdcli.disk import remove_leftovers, write_atomic
from kdcli.errors import CheckpointError, KDError, UsageError
from kdcli.json_io import read_json
from kdcli.report.paste import override
from kdcli.report.sweep import NOTHING, Numbers, Reference, SweepRow, rank, standing
from kdcli.report.text import clean
from kdcli.rundir import RunDir
from kdcli.rundir.run import ENVIRONMENT, REPORT
from kdcli.schema import convert
from kdcli.schema.results import Summary, TestMeasures
from kdcli.schema.sweep import LedgerEntry, baseline_name, job_name

if TYPE_CHECKING:
    from kdcli.report.plots import Drawing

_VIEWS = ("views", "view_pixels")


def write_page(sweep: RunDir, entries: Sequence[LedgerEntry], rows: Sequence[SweepRow]) -> Path:
    """Draw the jobs of a sweep that has ended, and write its report.html.

    Args:
        sweep: The sweep.
        entries: Its jobs as they were planned.
        rows: What they came to.

    Raises:
        CheckpointError: Its files are damaged, or lead elsewhere.
        MachineError: It cannot be written.
    """
    from kdcli.report.sweep_figures import draw_sweep
    from kdcli.report.sweep_page import SweepFacts, sweep_page

    figures = sweep.path / "figures"
    if figures.is_symlink():
        raise CheckpointError("a symbolic link where figures are kept", where=str(figures), fix="remove it")
    for folder in (sweep.path, figures):
        remove_leftovers(folder)
    runs = [RunDir.open(sweep.path / job_name(entry.job)) for entry in entries]
    facts = SweepFacts(
        command=runs[0].record.command,
        path=str(sweep.path),
        smoke=sweep.record.smoke,
        shared=shared([run.config() for run in runs]),
        environment=read_json(sweep.path / ENVIRONMENT),
        repeat=shlex.join(["kd", *sweep.record.argv[1:]]),
        best=_rerun_best(sweep, entries, rows),
    )
    path = sweep.path / REPORT
    text = sweep_page(rows, facts, draw_sweep(rows, figures), _tradeoff(sweep, rows, figures))
    write_atomic(path, text.encode())
    return path


def _tradeoff(sweep: RunDir, rows: Sequence[SweepRow], figures: Path) -> Drawing | None:
    """What accuracy costs, where the jobs have networks of several sizes that left their findings."""
    from kdcli.commands.sweep_costs import priced_networks
    from kdcli.report.tradeoff import tradeoff, worth_drawing

    points = priced_networks(sweep, rows)
    return tradeoff(points, figures / "tradeoff") if worth_drawing(points) else None


def shared(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The keys whose values all configurations have in common."""
    first, others = configs[0], configs[1:]
    common: dict[str, Any] = {}
    for key, value in first.items():
        if not all(key in other for other in others):
            continue
        values = [other[key] for other in others]
        if isinstance(value, Mapping) and all(isinstance(each, Mapping) for each in values):
            if inner := shared([value, *values]):
                common[key] = inner
        elif all(each == value for each in values):
            common[key] = value
    return common


def _best(entries: Sequence[LedgerEntry], rows: Sequence[SweepRow]) -> LedgerEntry | None:
    """The first job of the best group; of a sweep over nothing but seeds, the first that finished."""
    best = standing(rank(rows))
    return None if best is None else entries[rows.index(best.rows[0])]


def _rerun_best(sweep: RunDir, entries: Sequence[LedgerEntry], rows: Sequence[SweepRow]) -> str | None:
    """The command that runs the best job again; None where none is better than the others."""
    best = _best(entries, rows)
    return _rerun(sweep, best) if best is not None and any(row.settings for row in rows) else None


def _rerun(sweep: RunDir, entry: LedgerEntry) -> str:
    """The command that runs a job again by itself, with the very teacher that it had."""
    run = RunDir.open(sweep.path / job_name(entry.job))
    teacher = run.config().get("teacher")
    flags = [flag for flag in _hydra_flags(sweep.record.argv) if flag.startswith("--config-")]
    words = [
        shlex.quote(text) if teacher is None or text.partition("=")[0] != "teacher" else override("teacher", teacher)
        for text in entry.overrides
    ]
    return " ".join(["kd", run.record.command, *map(shlex.quote, flags), *words, *["--smoke"] * sweep.record.smoke])


def _hydra_flags(argv: Sequence[str]) -> list[str]:
    try:
        return parse_line(argv[1:]).hydra
    except UsageError:  # it was started from another program than kd
        return []


def last_lines(sweep: RunDir, entries: Sequence[LedgerEntry], rows: Sequence[SweepRow], page: Path) -> str:
    """Where the sweep and its report are, the command that reruns the best job, and what to run next."""
    best, again = _best(entries, rows), _rerun_best(sweep, entries, rows)
    lines = {
        "sweep": str(sweep.path),
        "see": str(page),
        "best": again,
        "next": None if best is None else _next(sweep, best),
    }
    return "".join(f"{name:<5} {clean(text)}\n" for name, text in lines.items() if text is not None)


def _next(sweep: RunDir, entry: LedgerEntry) -> str:
    from kdcli.report.verdict import next_command

    run = RunDir.open(sweep.path / job_name(entry.job))
    summary = _summary(run).model_copy(update={"run": str(run.path)})
    if summary.baseline is not None and entry.baseline is not None:
        place = str(sweep.path / baseline_name(entry.baseline))
        summary = summary.model_copy(update={"baseline": summary.baseline.model_copy(update={"run": place})})
    return next_command(summary, data_words(run)) + " --smoke" * sweep.record.smoke


def _summary(run: RunDir) -> Summary:
    return convert(Summary, run.summary(), error=CheckpointError, where=str(run.path / "summary.json"))


def read_rows(sweep: RunDir, entries: Sequence[LedgerEntry], results: Sequence[Mapping[str, Any]]) -> list[SweepRow]:
    """The jobs of a sweep as its table needs them, in grid order.

    Args:
        sweep: The sweep.
        entries: Its jobs as they were planned.
        results: How they ended, as the sweep's summary says it.

    Raises:
        CheckpointError: The files of a job are damaged.
    """
    references = _References(sweep)
    common = set.intersection(*(set(entry.overrides) for entry in entries))
    rows = []
    for entry, result in zip(entries, results, strict=True):
        swept = [text.partition("=") for text in entry.overrides if text not in common]
        overrides = {key.lstrip("+~"): value for key, _, value in swept}
        rows.append(_row(entry, result, overrides, references))
    return rows


def _row(
    entry: LedgerEntry, result: Mapping[str, Any], overrides: Mapping[str, str], references: _References
) -> SweepRow:
    name = job_name(entry.job)
    row = SweepRow(
        label=entry.label,
        overrides=overrides,
        status=result["status"],
        run=name,
        reason=result["error"] or "",
        baseline=None if entry.baseline is None else references.baseline(entry.baseline),
    )
    if result["summary"] is None:
        return row
    where = f"{references.sweep.path / name}/summary.json"
    summary = convert(Summary, result["summary"], error=CheckpointError, where=where)
    return replace(
        row,
        numbers=_numbers(summary.test, summary.val),
        dataset=summary.dataset,
        teacher=references.teacher(summary, name),
        p_value=None if summary.baseline is None else summary.baseline.p_value,
    )


def _numbers(test: TestMeasures, val: TestMeasures | None) -> Numbers:
    of_test = Numbers(test_errors=test.errors, test_top1=test.top1, test_n=test.n, agreement=test.agreement)
    return of_test if val is None else replace(of_test, val_top1=val.top1, val_nll=val.nll, val_n=val.n)


class _References:
    """What the jobs of a sweep are compared with, each read once."""

    def __init__(self, sweep: RunDir) -> None:
        self.sweep = sweep
        self._baselines: dict[int, Reference] = {}
        self._teachers: dict[str, TestMeasures | None] = {}

    def baseline(self, number: int) -> Reference:
        """A baseline, finished or not."""
        if number not in self._baselines:
            name = baseline_name(number)
            run = RunDir.open(self.sweep.path / name)
            summary = _summary(run) if run.record.status == "finished" else None
            numbers = NOTHING if summary is None else _numbers(summary.test, summary.val)
            self._baselines[number] = Reference(name, numbers, run.status)
        return self._baselines[number]

    def teacher(self, summary: Summary, name: str) -> Reference | None:
        """Whom a job learned from; on validation only where the teacher's own run had the same part."""
        if summary.teacher is None:
            return None
        dataset = _data(RunDir.open(self.sweep.path / name))
        key = json.dumps([summary.teacher.run, dataset], sort_keys=True)
        if key not in self._teachers:
            self._teachers[key] = self._validation(summary.teacher.run, dataset)
        return Reference(summary.teacher.sha256, _numbers(summary.teacher.test, self._teachers[key]))

    def _validation(self, paths: Sequence[str], dataset: Mapping[str, Any]) -> TestMeasures | None:
        from kdcli.program.teaching import recorded_run

        try:
            run = recorded_run(paths[0], self.sweep)
            return _summary(run).val if len(paths) == 1 and _data(run) == dataset else None
        except KDError:  # it is gone, or never finished: the jobs hold what is needed
            return None


def _data(run: RunDir) -> Mapping[str, Any]:
    """What decides which examples the validation part has."""
    section = run.config().get("dataset")
    return {key: value for key, value in section.items() if key not in _VIEWS} if isinstance(section, Mapping) else {}
