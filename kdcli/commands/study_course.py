"""The course of a study: its runs one after another, and what came of them."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from kdcli.commands.flags import Flags
from kdcli.commands.manner import make_manner
from kdcli.commands.resume import carry_on, untrusted
from kdcli.commands.screen import escape_controls
from kdcli.disk import write_atomic
from kdcli.errors import CheckpointError, Interrupted
from kdcli.json_io import encode_json, write_json_atomic
from kdcli.rundir import RunDir, create_at, describe_environment, list_runs
from kdcli.schema import convert
from kdcli.studies.form import Study, StudyRun

_CODE = ("model.target=", "loss.target=", "trust_code=")
_NAMING = re.compile(r"[+~]*(?:model|loss|dataset)\b.*(?:custom|\$\{)", re.DOTALL)


def carry_out(study: Study, name: str, place: Path, flags: Flags) -> int:
    """Run what a study lists, in order; what has finished already is not run again.

    Raises:
        Interrupted: It was asked to stop, and goes on with ``kd resume`` or when it is started again.
    """
    from kdcli.program.run import recorded

    home = RunDir.open(place) if (place / "run.json").exists() else _create(study, name, place, flags)
    say = make_manner([], flags).say
    say(f"study {name}: {study.title}\n{place}")
    try:
        with recorded([home]):
            summaries: dict[str, list[Mapping[str, Any]]] = {}
            for number, (label, part) in enumerate(study.runs.items(), 1):
                say(f"\n[{number}/{len(study.runs)}] {label}")
                summaries[label] = run_part(label, part, place, flags)
            conclude(study, home, summaries, flags)
            home.set_status("finished")
    except Interrupted as stopped:
        again = f"kd resume {shlex.quote(str(place))}"
        raise type(stopped)(stopped.what, where=str(place), fix=again) from stopped
    return 0


def resume_study(home: RunDir, flags: Flags, *, trust_code: bool) -> int:
    """Go on with a study as its directory recorded it.

    Raises:
        CheckpointError: The record is damaged.
        UsageError: It names code, and is not trusted.
    """
    where = str(home.path / "config.yaml")
    study = convert(Study, home.config(), error=CheckpointError, where=where)
    for part in study.runs.values():
        asks = asks_for_code(part)
        if asks and not trust_code:
            raise untrusted(where, asks[0])
    return carry_out(study, home.record.label or home.path.parent.name, home.path, flags)


def asks_for_code(part: StudyRun) -> list[str]:
    """The overrides by which a run of a study names code of the user's own."""
    return [text for text in part.overrides if text.lstrip("+").startswith(_CODE) or _NAMING.match(text)]


def _create(study: Study, name: str, place: Path, flags: Flags) -> RunDir:
    return create_at(
        place,
        id=name,
        command="studies",
        label=name,
        smoke=flags.smoke,
        argv=sys.argv,
        config=study.model_dump(),
        overrides=[],
        environment=describe_environment(None),
    )


def run_part(label: str, part: StudyRun, place: Path, flags: Flags) -> list[Mapping[str, Any]]:
    """Run one part of a study, go on with it, or read what is there: its summaries, one a seed."""
    folder = place / label
    found = _outcome(folder)
    if found is None or found.status != "finished":
        _start_or_resume(part, place, folder, found, replace(flags, json=False))
        found = _outcome(folder)
    assert found is not None
    summary = found.summary()
    return [job["summary"] for job in summary["jobs"]] if found.record.command == "sweeps" else [summary]


def _outcome(folder: Path) -> RunDir | None:
    """The newest run or sweep in a part's folder."""
    runs = [run for run in list_runs(folder)[0] if run.record.command == "sweeps" or run.path.parent.parent == folder]
    return runs[0] if runs else None


def _start_or_resume(part: StudyRun, place: Path, folder: Path, found: RunDir | None, flags: Flags) -> None:
    """Run a part, in silence: the study's own table says what its runs would say one by one."""
    from kdcli.commands.hydra_app import run_hydra

    with redirect_stdout(StringIO()):
        if found is not None:
            carry_on(found, replace(flags, smoke=found.record.smoke), trust_code=bool(asks_for_code(part)))
        else:
            run_hydra(part.command, _arguments(part, place, folder), flags)


def _arguments(part: StudyRun, place: Path, folder: Path) -> list[str]:
    args = [*part.overrides, _override("output_dir", str(folder))]
    if part.teacher is not None:
        names = [part.teacher] if isinstance(part.teacher, str) else part.teacher
        paths = [str(_finished(place / name).path) for name in names]
        args.append(_override("teacher", paths[0] if len(paths) == 1 else paths))
    if part.seeds > 1:
        args += ["seed=" + ",".join(map(str, range(part.seeds))), "--multirun"]
    return args


def _override(key: str, value: str | Sequence[str]) -> str:
    """``key=value`` as Hydra reads it whole, whatever the paths are called."""
    from kdcli.report.paste import override

    return shlex.split(override(key, value))[0]


def _finished(folder: Path) -> RunDir:
    found = _outcome(folder)
    assert found is not None, f"{folder} holds no run"
    assert found.status == "finished", f"{found.path} is {found.status}"
    return found


def conclude(study: Study, home: RunDir, summaries: Mapping[str, Sequence[Mapping[str, Any]]], flags: Flags) -> None:
    """Write results.json and the table of a study, and show it."""
    from kdcli.report.study import study_markdown, study_table
    from kdcli.report.text import encodable
    from kdcli.studies.outcome import fill_in

    rows = fill_in(study, summaries)
    results = {
        "schema": 1,
        "study": home.record.id,
        "title": study.title,
        "source": study.source,
        "claim": study.claim,
        "rows": [
            {"name": row.name, "paper": row.paper, "values": list(row.values), "verdict": row.verdict, "note": row.note}
            for row in rows
        ],
        "runs": {label: list(each) for label, each in summaries.items()},
    }
    write_json_atomic(home.path / "results.json", results)
    markdown = f"# {study.title}\n\n{study.source}. {study.claim}\n\n{study_markdown(rows)}\n"
    write_atomic(home.path / "table.md", markdown.encode())
    if flags.json:
        sys.stdout.write(encode_json(results).decode())
        return
    width = shutil.get_terminal_size((100, 24)).columns
    place = escape_controls(str(home.path))
    text = f"\n{study.title}\n{study.claim}\n\n{study_table(rows, width=width)}\n\nstudy {place}\n"
    sys.stdout.write(encodable(text, sys.stdout.encoding))
