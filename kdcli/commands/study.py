"""``kd study NAME``: run a whole experiment and compare it with what is expected."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import yaml

from kdcli.commands.conf_files import conf_dir
from kdcli.commands.flags import Flags
from kdcli.commands.nearest import did_you_mean
from kdcli.commands.screen import escape_controls
from kdcli.commands.study_course import carry_out, check
from kdcli.commands.words import one_of
from kdcli.errors import UsageError
from kdcli.json_io import encode_json
from kdcli.schema import convert
from kdcli.studies.address import Value, written
from kdcli.studies.form import BUDGETS, Study, StudyFile
from kdcli.studies.listed import LISTED, earlier_of
from kdcli.studies.published import Published, json_schema
from kdcli.studies.reading import lay_out, parameters_of, put_in
from kdcli.yaml_io import load_yaml


def run(args: list[str], flags: Flags) -> int:
    """Run a study, list them all where none is named, or print the schema of their files."""
    if flags.schema is not None:
        return _show_schema(flags.schema)
    names = [arg for arg in args if "=" not in arg]
    if not names:
        return _list_studies(flags)
    if len(names) > 1:
        raise UsageError(f"one study at a time, got {', '.join(names)}", where="study", fix=f"kd study {names[0]}")
    path = find_study(names[0])
    file = read_study(path)
    settings = dict(_setting(arg) for arg in args if "=" in arg)
    budget = _budget(settings, flags)
    root = Path(str(settings.pop("output_dir", "outputs")))
    study = put_in(file, parameters_of(file, budget, settings), str(path))
    place = root / "studies" / study_name(path) / f"{budget}-{_hash(study)}"
    if flags.dry_run:
        check(study, place, flags)
        return _show_plan(study, place)
    return carry_out(study, study_name(path), place, replace(flags, smoke=budget == "smoke"), settings)


def _budget(settings: dict[str, Value], flags: Flags) -> str:
    """The budget, by whichever of its spellings it was given; ``full`` where by none."""
    given = {str(settings.pop("budget"))} if "budget" in settings else set[str]()
    given |= {flags.budget} if flags.budget else set()
    if flags.smoke:
        return "smoke"
    if len(given) > 1:
        raise UsageError(f"two budgets: {' and '.join(sorted(given))}", where="budget", fix="give it once")
    budget = given.pop() if given else "full"
    return one_of(budget, BUDGETS, "budget")


def _show_schema(of: Published) -> int:
    sys.stdout.write(encode_json(json_schema(of)).decode())
    return 0


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


def _list_studies(flags: Flags) -> int:
    if flags.json:
        studies = [{"name": name, "title": read_study(find_study(name)).title} for name in study_names()]
        sys.stdout.write(json.dumps({"schema": 1, "studies": studies}, indent=2) + "\n")
        return 0
    for name in study_names():
        sys.stdout.write(f"{name}\n    {read_study(find_study(name)).title}\n")
    sys.stdout.write("\nrun one with: kd study NAME [--budget=smoke|short|full] [parameter=value ...]\n")
    return 0


def _setting(text: str) -> tuple[str, Value]:
    key, _, value = text.partition("=")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as problem:
        raise UsageError(f"{text} cannot be read", where=key, fix="write key=value, lists as [1,2]") from problem


def _hash(study: Study) -> str:
    text = json.dumps(study.model_dump(exclude={"title", "source", "claim", "rows", "figures"}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _show_plan(study: Study, place: Path) -> int:
    laid_out = lay_out(study, str(place))
    for label, part in study.runs.items():
        axes, listed = laid_out.axes[label], LISTED[part.command]
        names = earlier_of(part)
        swept = [f"{key}={','.join(map(written, values))}" for key, values in axes.own.items()]
        seeds = [f"seed={','.join(map(str, range(part.first_seed, part.first_seed + axes.seeds)))}"] * (
            listed.trains and axes.seeds > 1
        )
        after = [f"{listed.earlier}={','.join(names)}"] * bool(names)
        count = len(laid_out.points[label])
        points = f" ({count} points)" if count > 1 else ""
        line = " ".join(["kd", part.command, *after, *part.overrides, *swept, *seeds])
        sys.stdout.write(escape_controls(f"{label}{points}: {line}\n"))
    sys.stdout.write(escape_controls(f"study {place}: nothing was written\n"))
    return 0
