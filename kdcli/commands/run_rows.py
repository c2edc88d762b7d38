"""What a list of runs shows of each: read from its summary, or from its configuration while there is none."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from kdcli.commands.run_entries import Entry, as_object, moment, typed
from kdcli.errors import CheckpointError, KDError
from kdcli.json_io import read_json
from kdcli.report.runs import RunRow
from kdcli.yaml_io import load_yaml

SUMMARY = "summary.json"
TRAININGS = ("train-teacher", "distill-student", "train-specialists")
_SEEDS = ("seed=", "data_seed=")
Facts = dict[str, Any]


def row_of(entry: Entry, root: Path) -> RunRow:
    """All that is shown of a run; what cannot be read makes it a broken one."""
    label, smoke = entry.record.get("label"), bool(entry.record.get("smoke"))
    known: Facts = {
        "id": entry.name,
        "path": str(entry.path),
        "command": entry.command,
        "label": label if isinstance(label, str) else None,
        "smoke": smoke,
        "started": entry.started,
    }
    if entry.problem is not None:
        return RunRow(**known, status=entry.status, problem=entry.problem)
    try:
        return RunRow(**known, status=entry.status, seconds=_seconds(entry), **_facts(entry, root))
    except KDError as problem:
        return RunRow(**known, status="broken", problem=problem.what)


def _seconds(entry: Entry) -> float:
    """How long it has taken so far."""
    ended = entry.record.get("ended")
    end = moment(ended) if isinstance(ended, str) else datetime.now(UTC)
    return (end - entry.started).total_seconds() if ended or entry.status == "running" else 0.0


def _facts(entry: Entry, root: Path) -> Facts:
    finished = entry.status == "finished"
    match entry.command:
        case "sweeps":
            return _of_sweep(_summary(entry.path), root) if (entry.path / SUMMARY).exists() else _planned(entry)
        case "search":
            return _of_search(_summary(entry.path), root) if (entry.path / SUMMARY).exists() else {}
        case "studies":
            return _of_study(entry.path / "results.json") if finished else {}
        case "evaluate":
            return _of_evaluation(entry.path / "evaluation.json") if finished else {}
        case name if name in TRAININGS:
            return _of_training(_summary(entry.path), root) if finished else _of_config(entry.path, root)
    return _of_training(_summary(entry.path), root) if (entry.path / SUMMARY).exists() else {}


def _summary(path: Path) -> Mapping[str, Any]:
    return as_object(read_json(path / SUMMARY), SUMMARY)


def _of_training(summary: Mapping[str, Any], root: Path) -> Facts:
    facts = {key: typed(summary, key, str, SUMMARY) for key in ("model", "dataset")}
    facts |= {key: _setting(summary.get(key), key) for key in ("temperature", "alpha")}
    facts |= {"seed": typed(summary, "seed", int, SUMMARY), "top1": _top1(summary, "test")}
    if summary.get("val") is not None:
        facts["val_top1"] = _top1(summary, "val")
    members = summary.get("members")
    if isinstance(members, list):
        facts["model"] = f"{len(members)} x {facts['model']}"
    teacher = summary.get("teacher")
    if teacher is not None:
        teacher = as_object(teacher, f"{SUMMARY}: teacher")
        facts |= _taught(teacher.get("run"), root) | {"teacher_top1": _top1(teacher, "test")}
    return facts


def _setting(value: Any, key: str) -> float | str | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float | str)):
        raise CheckpointError(f"{SUMMARY}: {key} is {ascii(value)[:40]}")
    return value


def _top1(values: Mapping[str, Any], part: str) -> float:
    measures = as_object(values.get(part), f"{SUMMARY}: {part}")
    top1 = measures.get("top1")
    if isinstance(top1, bool) or not isinstance(top1, int | float):
        raise CheckpointError(f"{SUMMARY}: {part}.top1 is {ascii(top1)[:40]}, not a number")
    return float(top1)


def _taught(runs: Any, root: Path) -> Facts:
    paths = [str(each) for each in (runs if isinstance(runs, list) else [runs])]
    return {"teacher": paths, "teacher_model": ", ".join(dict.fromkeys(_model_at(path, root) for path in paths))}


@cache
def _model_at(path: str, root: Path) -> str:
    """What kind of network a recorded run is; its name where it is gone."""
    for place in (Path(path), root / Path(*Path(path).parts[1:]), root.parent / path):
        try:
            summary = _summary(place)
            members, model = summary.get("members"), typed(summary, "model", str, SUMMARY)
        except KDError:
            continue
        return f"{len(members)} x {model}" if isinstance(members, list) else str(model)
    return Path(path).name


def _of_config(path: Path, root: Path) -> Facts:
    """What a training that has not finished will be."""
    config = load_yaml(path / "config.yaml")
    model, dataset = config.get("model"), config.get("dataset")
    facts: Facts = {"model": _label(model), "dataset": _kind(dataset)}
    if type(config.get("seed")) is int:
        facts["seed"] = config["seed"]
    if "teacher" in config:
        facts |= {key: _value(config.get(key)) for key in ("temperature", "alpha")}
        facts |= _taught(config["teacher"], root)
    return facts


def _label(model: Any) -> str | None:
    """As `kdcli.schema.model.model_label` for fully connected networks, whose kind says too little."""
    if _kind(model) != "mlp":
        return _kind(model)
    hidden = [str(width) for width in model.get("hidden") or []]
    return f"mlp_{hidden[0] if len(hidden) == 2 and hidden[0] == hidden[1] else 'x'.join(hidden)}"


def _kind(section: Any) -> str | None:
    kind = section.get("kind") if isinstance(section, Mapping) else None
    return kind if isinstance(kind, str) else None


def _value(section: Any) -> float | str | None:
    value = section.get("value") if isinstance(section, Mapping) else None
    return value if isinstance(value, int | float) else _kind(section)


def _planned(entry: Entry) -> Facts:
    jobs = load_yaml(entry.path / "config.yaml").get("jobs")
    return {"jobs": jobs} if isinstance(jobs, int) else {}


def _of_sweep(summary: Mapping[str, Any], root: Path) -> Facts:
    """What the jobs have in common, and the mean over seeds of the setting that is the best on validation."""
    jobs = [as_object(job, f"{SUMMARY}: jobs") for job in typed(summary, "jobs", list, SUMMARY)]
    done = [(job, _of_training(as_object(job["summary"], SUMMARY), root)) for job in jobs if job.get("summary")]
    groups: dict[tuple[str, ...], list[Facts]] = {}
    for job, facts in done:
        own = [text for text in typed(job, "overrides", list, SUMMARY) if not str(text).startswith(_SEEDS)]
        groups.setdefault(tuple(map(str, own)), []).append(facts)
    return {"jobs": len(jobs)} | _in_common([facts for _, facts in done]) | _of_best(list(groups.values()))


def _in_common(jobs: Sequence[Facts]) -> Facts:
    common: Facts = {}
    for key in ("model", "dataset", "teacher", "teacher_model", "temperature", "alpha"):
        values = list({str(facts.get(key)): facts.get(key) for facts in jobs}.values())
        if len(values) == 1:
            common[key] = values[0]
        elif values and key != "teacher":
            common[key] = _several(values)
    return common


def _several(values: Sequence[Any]) -> str:
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) == len(values):
        return f"{min(numbers):.3g}..{max(numbers):.3g}"
    return ",".join(map(str, values)) if len(values) < 4 else f"{len(values)} kinds"


def _of_best(groups: Sequence[Sequence[Facts]]) -> Facts:
    """The top-1 of the best setting; without validation none is called best."""
    if not groups or not all("val_top1" in facts for jobs in groups for facts in jobs):
        return {}
    best = max(groups, key=lambda jobs: statistics.fmean(facts["val_top1"] for facts in jobs))
    names = ("val_top1", "top1", "teacher_top1")
    return {name: statistics.fmean(facts[name] for facts in best) for name in names if name in best[0]}


def _of_search(summary: Mapping[str, Any], root: Path) -> Facts:
    trials = [as_object(trial, f"{SUMMARY}: trials") for trial in typed(summary, "trials", list, SUMMARY)]
    done = [_of_training(as_object(trial["summary"], SUMMARY), root) for trial in trials if trial.get("summary")]
    best = summary.get("best")
    number = best.get("trial") if isinstance(best, Mapping) else None
    chosen = [trial for trial in trials if trial.get("trial") == number and trial.get("summary")]
    found = _of_training(chosen[0]["summary"], root) if chosen else {}
    kept = {name: found[name] for name in ("val_top1", "top1", "teacher_top1") if name in found}
    return {"jobs": len(trials)} | _in_common(done) | kept


def _of_study(path: Path) -> Facts:
    results = as_object(read_json(path), path.name)
    rows = [as_object(row, path.name) for row in typed(results, "rows", list, path.name)]
    judged = [row for row in rows if row.get("verdict")]
    good = sum(row.get("verdict") == "as expected" for row in judged)
    return {"remark": f"{good}/{len(judged)} as expected"} if judged else {}


def _of_evaluation(path: Path) -> Facts:
    runs = typed(as_object(read_json(path), path.name), "runs", list, path.name)
    return {"model": ", ".join(str(as_object(run, path.name).get("model")) for run in runs)}
