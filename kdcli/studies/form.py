"""The form of a study's YAML: its parameters, its runs, and what is expected of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from kdcli.errors import UsageError
from kdcli.schema import convert
from kdcli.schema.base import Count, Section
from kdcli.schema.results import Summary

BUDGETS = ("smoke", "short", "full")
_OVERRIDE = re.compile(r"\+{0,2}(?!hydra)[a-z][a-z0-9_./]*=")
_REFERENCE = re.compile(r"\$\{([a-z_][a-z0-9_]*)\}")


def _check_override(text: str) -> str:
    """Refuse flags, and settings of Hydra's own, which can name code to run."""
    if _OVERRIDE.match(text) is None:
        raise PydanticCustomError("override", "not a key=value of kd's own")
    return text


Override = Annotated[str, AfterValidator(_check_override)]
Parameter = bool | int | float | str | list[int] | list[float] | list[str]


class StudyRun(Section):
    """One command line of a study.

    ``teacher`` names an earlier run of the study, or several that make an ensemble; with ``seeds`` above 1 it is a
    sweep over the seeds 0, 1, ...
    """

    command: Literal["train-teacher", "distill-student", "train-specialists"]
    overrides: list[Override] = []
    teacher: str | list[str] | None = None
    seeds: Count = 1


class StudyRow(Section):
    """One number: where it is found, what the paper says, and what is expected of it.

    ``value`` is a run's name and a path in its summary.json, as in ``student.baseline.test.errors``; ``expect`` bounds
    the mean over the seeds, or with ``every`` each seed.
    """

    name: str
    value: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$")]
    paper: float | None = None
    expect: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    every: bool = False
    digits: Annotated[int, Field(ge=0, le=8)] = 1
    note: str = ""


class Study(Section):
    """A study with its parameters put in."""

    title: str
    source: str
    claim: str
    runs: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], StudyRun]
    rows: list[StudyRow]


class StudyFile(Section):
    """A study as it is written: ``${name}`` stands for a parameter, whose value a budget or the user may change."""

    title: str
    source: str
    claim: str
    parameters: dict[str, Parameter] = {}
    budgets: dict[Literal["smoke", "short", "full"], dict[str, Parameter]] = {}
    runs: dict[str, Any]
    rows: list[Any]


def parameters_of(file: StudyFile, budget: str, given: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """A study's parameters under a budget, with the user's own values last.

    Raises:
        UsageError: An unknown parameter.
    """
    unknown = sorted(given.keys() - file.parameters.keys())
    if unknown:
        known = ", ".join(file.parameters) or "none"
        raise UsageError(f"the study has no parameter {unknown[0]!r}", where=unknown[0], fix=f"its parameters: {known}")
    own: dict[str, dict[str, Parameter]] = {str(name): values for name, values in file.budgets.items()}
    return {**file.parameters, **own.get(budget, {}), **given}


def put_in(file: StudyFile, parameters: Mapping[str, Parameter], where: str) -> Study:
    """The study with its parameters put in, checked as a whole.

    Raises:
        UsageError: An unknown reference or key, a teacher or a row that names no run, with the file in ``where``.
    """
    body = file.model_dump(exclude={"parameters", "budgets"})
    study = convert(Study, _substituted(body, parameters, where), where=where)
    earlier: list[str] = []
    for name, run in study.runs.items():
        teachers = [run.teacher] if isinstance(run.teacher, str) else run.teacher or []
        _check_known(teachers, earlier, f"runs.{name}.teacher", where)
        _check_single(teachers, study, f"runs.{name}.teacher", where)
        if (run.command != "train-teacher") != bool(teachers):
            raise UsageError(
                f"runs.{name}: {run.command} {'has a' if teachers else 'needs a'} teacher",
                where=where,
                fix="a train-teacher has no teacher; the other commands name an earlier run",
            )
        earlier.append(name)
    _check_known([row.value.partition(".")[0] for row in study.rows], earlier, "rows", where)
    for row in study.rows:
        _check_number(row.value, where)
    return study


def _check_known(names: list[str], known: list[str], key: str, where: str) -> None:
    for name in names:
        if name not in known:
            listed = ", ".join(known) or "none before it"
            raise UsageError(f"{key}: no run is called {name!r}", where=where, fix=f"the runs are: {listed}")


def _check_number(value: str, where: str) -> None:
    """See that a row's path leads to a number of every summary.json, before anything is trained for it."""
    section: type[BaseModel] | None = Summary
    in_list = False
    for step in value.split(".")[1:]:
        if in_list and step.isdigit():
            in_list = False
            continue
        field = None if section is None else section.model_fields.get(step)
        if field is None:
            known = "" if section is None else f"; known there: {', '.join(section.model_fields)}"
            raise UsageError(f"rows: {value} is not in a summary.json: {step!r}{known}", where=where)
        inner = [each for each in (field.annotation, *get_args(field.annotation)) if isinstance(each, type)]
        in_list = get_origin(field.annotation) is list
        section = next((each for each in inner if issubclass(each, BaseModel)), None)
        number = any(issubclass(each, int | float) for each in inner)
    if not number:
        raise UsageError(f"rows: {value} is no number", where=where, fix="name a number of summary.json")


def _check_single(teachers: list[str], study: Study, key: str, where: str) -> None:
    for name in teachers:
        if study.runs[name].seeds > 1:
            raise UsageError(
                f"{key}: {name!r} is trained with {study.runs[name].seeds} seeds, and a teacher is one run",
                where=where,
                fix=f"use seeds: 1 for {name}; an ensemble is trained with members=N",
            )


def _substituted(value: Any, parameters: Mapping[str, Parameter], where: str) -> Any:
    if isinstance(value, dict):
        return {key: _substituted(one, parameters, where) for key, one in value.items()}
    if isinstance(value, list):
        return [_substituted(one, parameters, where) for one in value]
    if not isinstance(value, str):
        return value
    for name in _REFERENCE.findall(value):
        if name not in parameters:
            raise UsageError(
                f"${{{name}}} is no parameter of the study", where=where, fix=f"parameters: {', '.join(parameters)}"
            )
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return parameters[whole[1]]
    return _REFERENCE.sub(lambda match: _written(parameters[match[1]]), value)


def _written(value: Parameter) -> str:
    """A parameter inside a text, as an override would have it."""
    return value if isinstance(value, str) else json.dumps(value).replace(" ", "").replace('"', "")
