"""``kd study NAME``: run a whole experiment and compare it with what is expected."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from kdcli.commands.conf_files import conf_dir
from kdcli.commands.flags import Flags
from kdcli.commands.manner import make_manner
from kdcli.commands.nearest import did_you_mean
from kdcli.errors import UsageError
from kdcli.json_io import read_json, write_json_atomic
from kdcli.rundir import RunDir, RunLock, create_at, describe_environment, list_runs
from kdcli.schema import convert
from kdcli.studies.form import BUDGETS, Parameter, Study, StudyFile, StudyRun, parameters_of, put_in
from kdcli.yaml_io import load_yaml


def run(args: list[str], flags: Flags) -> int:
    """Run a study, or list them all where none is named."""
    names = [arg for arg in args if "=" not in arg]
    if not names:
        return _list_studies()
    if len(names) > 1:
        raise UsageError(f"one study at a time, got {', '.join(names)}", where="study", fix=f"kd study {names[0]}")
    path = find_study(names[0])
    file = read_study(path)
    settings = dict(_setting(arg) for arg in args if "=" in arg)
    budget = "smoke" if flags.smoke else str(settings.pop("budget", "full"))
    if budget not in BUDGETS:
        raise UsageError(f"budget={budget} is not known", where="budget", fix=f"one of: {', '.join(BUDGETS)}")
    root = Path(str(settings.pop("output_dir", "outputs")))
    study = put_in(file, parameters_of(file, budget, settings), str(path))
    place = root / "studies" / study_name(path) / f"{budget}-{_hash(study)}"
    return carry_out(study, study_name(path), place, replace(flags, smoke=budget == "smoke"))


def find_study(name: str) -> Path:
    """The file of a study: one of kd's own by its name, or the user's by its path."""
    own = conf_dir() / "study" / f"{name}.yaml"
    if own.is_file():
        return own
    if name.endswith((".yaml", ".yml")) and Path(name).is_file():
        return Path(name)
    names = study_names()
    fix = f"there are: {', '.join(names)}; or give the path of a YAML file"
    raise UsageError(f"there is no study {name!r}{did_you_mean(name, names)}", where="study", fix=fix)


def study_names() -> list[str]:
    """The studies that come with kd."""
    folder = conf_dir() / "study"
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def study_name(path: Path) -> str:
    """How a study's outputs are called."""
    folder = conf_dir() / "study"
    return str(path.relative_to(folder).with_suffix("")) if path.is_relative_to(folder) else path.stem


def read_study(path: Path) -> StudyFile:
    """A study's file, checked."""
    return convert(StudyFile, load_yaml(path, error=UsageError, follow=True), where=str(path))


def _list_studies() -> int:
    for name in study_names():
        sys.stdout.write(f"{name}\n    {read_study(find_study(name)).title}\n")
    sys.stdout.write("\nrun one with: kd study NAME [budget=smoke|short|full] [parameter=value ...]\n")
    return 0


def _setting(text: str) -> tuple[str, Parameter]:
    key, _, value = text.partition("=")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as problem:
        raise UsageError(f"{text} cannot be read", where=key, fix="write key=value, lists as [1,2]") from problem


def _hash(study: Study) -> str:
    text = json.dumps(study.model_dump(exclude={"title", "source", "claim", "rows"}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def carry_out(study: Study, name: str, place: Path, flags: Flags) -> int:
    """Run what a study lists, in order; what has finished already is not run again."""
    home = RunDir.open(place) if (place / "run.json").exists() else _create(study, name, place, flags)
    manner = make_manner([], flags)
    manner.say(f"study {name}: {study.title}\n{place}")
    with RunLock(place):
        home.set_status("running")
        summaries: dict[str, list[Mapping[str, Any]]] = {}
        try:
            for number, (label, part) in enumerate(study.runs.items(), 1):
                manner.say(f"\n[{number}/{len(study.runs)}] {label}")
                summaries[label] = run_part(label, part, place, flags)
        except BaseException:
            home.set_status("interrupted")
            raise
        conclude(study, home, summaries, flags)
        home.set_status("finished")
    return 0


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
    from kdcli.commands import resume
    from kdcli.commands.hydra_app import run_hydra

    if found is not None:
        with redirect_stdout(StringIO()):
            resume.run([str(found.path), f"output_dir={folder}"], flags)
        return
    args = [*part.overrides, f"output_dir={folder}"]
    if part.teacher is not None:
        names = [part.teacher] if isinstance(part.teacher, str) else part.teacher
        paths = [str(_finished(place / name).path) for name in names]
        args.append(f"teacher={paths[0]}" if len(paths) == 1 else f"teacher=[{','.join(paths)}]")
    if part.seeds > 1:
        args += ["seed=" + ",".join(map(str, range(part.seeds))), "--multirun"]
    with redirect_stdout(StringIO()):  # the study's own table says what its runs would say one by one
        run_hydra(part.command, args, flags)


def _finished(folder: Path) -> RunDir:
    found = _outcome(folder)
    assert found is not None and found.status == "finished"
    return found


def conclude(study: Study, home: RunDir, summaries: Mapping[str, Sequence[Mapping[str, Any]]], flags: Flags) -> None:
    """Write results.json and the table of a study, and show it."""
    from kdcli.report.study import study_markdown, study_table
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
    (home.path / "table.md").write_text(f"# {study.title}\n\n{study.source}. {study.claim}\n\n{study_markdown(rows)}\n")
    if flags.json:
        sys.stdout.write(json.dumps(read_json(home.path / "results.json"), indent=2) + "\n")
        return
    width = shutil.get_terminal_size((100, 24)).columns
    sys.stdout.write(f"\n{study.title}\n{study.claim}\n\n{study_table(rows, width=width)}\n\nstudy {home.path}\n")
