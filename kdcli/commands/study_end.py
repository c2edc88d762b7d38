"""What a study ends with: results.json, its table, its figures and its report."""

from __future__ import annotations

import shlex
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdcli.commands.flags import Flags
from kdcli.commands.screen import escape_controls
from kdcli.disk import write_atomic
from kdcli.errors import UsageError
from kdcli.json_io import encode_json, read_json, write_json_atomic
from kdcli.report.study import StudyRow, study_markdown, study_table
from kdcli.report.study_page import StudyFacts, study_page
from kdcli.report.text import clean, encodable, wrap
from kdcli.report.verdict import SMOKE
from kdcli.rundir import RunDir
from kdcli.rundir.record import now
from kdcli.rundir.run import ENVIRONMENT, REPORT
from kdcli.studies.figures import draw, picture
from kdcli.studies.form import Study
from kdcli.studies.listed import asks_for_code
from kdcli.studies.outcome import Outcome, Results, fill_in
from kdcli.studies.reading import lay_out
from kdcli.studies.results import PointResult, RowResult, StudyResults

RESULTS = "results.json"


def conclude(study: Study, home: RunDir, outcomes: Mapping[str, Sequence[Outcome]], flags: Flags) -> None:
    """Write what came of a study, and show it."""
    from kdcli.program.contest import Contest

    laid_out = lay_out(study, str(home.path))
    trusted = any(asks_for_code(run) for run in study.runs.values())
    contest = Contest(smoke=home.record.smoke, trust_code=trusted)
    source = Results(laid_out.axes, laid_out.points, outcomes, contest.p_value)
    try:
        rows = fill_in(study, source)
        pictures = {figure.name: picture(figure, study.rows, source) for figure in study.figures}
    except ValueError as problem:
        raise UsageError(str(problem), where=str(home.path), fix="see docs/commands/study.md") from problem
    drawn = {}
    for figure in study.figures:
        drawing = draw(figure, pictures[figure.name], home.path / "figures" / figure.name)
        if drawing is not None:
            drawn[figure.title] = drawing.svg
    results = _results(study, home, rows, source, drawn)
    write_json_atomic(home.path / RESULTS, results)
    lines = _reused(outcomes)
    write_atomic(home.path / "table.md", _markdown(study, rows, [_made(results), *lines]).encode())
    facts = StudyFacts(study.title, study.source, study.claim, str(home.path), home.record.smoke, lines)
    environment = read_json(home.path / ENVIRONMENT)
    page = study_page(rows, facts, drawn, study.model_dump(exclude_defaults=True), environment, _command(home))
    write_atomic(home.path / REPORT, page.encode())
    _show(study, home, rows, results, lines, flags)


def _show(
    study: Study,
    home: RunDir,
    rows: Sequence[StudyRow],
    results: Mapping[str, Any],
    reused: Sequence[str],
    flags: Flags,
) -> None:
    if flags.json:
        sys.stdout.write(encode_json(results).decode())
        return
    width = shutil.get_terminal_size((100, 24)).columns
    blocks = [f"{study.title}\n{wrap(study.claim, width)}", study_table(rows, width=width)]
    blocks += ["\n".join(reused)] * bool(reused)
    blocks += [SMOKE] * home.record.smoke
    place = f"study {home.path}\nsee   {home.path / 'report.html'}"
    text = "\n" + "\n\n".join([*blocks, escape_controls(place)]) + "\n"
    sys.stdout.write(encodable(text, sys.stdout.encoding))


def _markdown(study: Study, rows: Sequence[StudyRow], remarks: Sequence[str]) -> str:
    said = "".join(f"\n- {remark}" for remark in remarks)
    return f"# {study.title}\n\n{study.source}. {study.claim}\n\n{study_markdown(rows)}{said}\n"


def _made(results: Mapping[str, Any]) -> str:
    """By which command, when, on what."""
    environment = results["environment"]
    versions = ", ".join(f"{name} {environment['versions'][name]}" for name in ("python", "torch", "kdcli"))
    when = " to ".join(results[key][:16].replace("T", " ") for key in ("started", "ended"))
    return f"`{results['command']}`: {when} UTC; {environment['cpus']} CPUs, {environment['platform']}, {versions}"


def _command(home: RunDir) -> str:
    return shlex.join(["kd", *home.record.argv[1:]])


def _reused(outcomes: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """Which runs were there already, a line a part."""
    lines = []
    for label, each in outcomes.items():
        paths = [one.run for one in each if one.reused]
        if paths:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            lines.append(f"{label}: {clean(paths[0])}{more} {'were' if more else 'was'} there already")
    return lines


def _results(
    study: Study, home: RunDir, rows: Sequence[StudyRow], source: Results, figures: Mapping[str, Path]
) -> dict[str, Any]:
    known = home.path / RESULTS
    runs = {label: _points(source, label) for label in source.outcomes}
    before = read_json(known) if known.exists() else {}
    same = before.get("runs") == {label: [one.model_dump() for one in each] for label, each in runs.items()}
    results = StudyResults(
        schema=1,
        study=home.record.id,
        budget=home.path.name.rpartition("-")[0],
        title=study.title,
        source=study.source,
        claim=study.claim,
        smoke=home.record.smoke,
        command=_command(home),
        started=home.record.started,
        ended=before["ended"] if same else now(),
        environment=read_json(home.path / ENVIRONMENT),
        rows=[_row(row) for row in rows],
        figures=[str(path.relative_to(home.path)) for path in figures.values()],
        runs=runs,
    )
    return results.model_dump(by_alias=True)


def _points(source: Results, label: str) -> list[PointResult]:
    return [
        PointResult(
            point=dict(point.values),
            seed=point.seed,
            run=outcome.run,
            reused=outcome.reused,
            result=dict(outcome.result),
        )
        for point, outcome in zip(source.points[label], source.outcomes[label], strict=True)
    ]


def _row(row: StudyRow) -> RowResult:
    values = list(row.values)
    mean = statistics.fmean(values) if values else None
    return RowResult(
        name=row.name,
        paper=row.paper,
        values=values,
        mean=mean,
        sd=statistics.stdev(values) if len(values) > 1 else None,
        difference=None if mean is None or row.paper is None else mean - row.paper,
        verdict=row.verdict,  # type: ignore[arg-type]  # checked there
        why=row.why,
        note=row.note,
    )
