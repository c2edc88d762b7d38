"""From a study's file to a study: parameters are put in, and all is checked that can be wrong before a training."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kdcli.errors import UsageError
from kdcli.schema import convert
from kdcli.studies.address import Address, Value, parse, written
from kdcli.studies.figures import picture
from kdcli.studies.form import Study, StudyFile, StudyRun
from kdcli.studies.listed import LISTED, earlier_of
from kdcli.studies.paths import check_path
from kdcli.studies.points import Axes, Point, inherit, points
from kdcli.studies.values import measure

_REFERENCE = re.compile(r"\$\{([a-z_][a-z0-9_]*)\}")


def parameters_of(file: StudyFile, budget: str, given: Mapping[str, Value]) -> dict[str, Value]:
    """A study's parameters under a budget, with the user's own values last.

    Raises:
        UsageError: An unknown parameter.
    """
    unknown = sorted(given.keys() - file.parameters.keys())
    if unknown:
        known = ", ".join(file.parameters) or "none"
        raise UsageError(f"the study has no parameter {unknown[0]!r}", where=unknown[0], fix=f"its parameters: {known}")
    own: dict[str, dict[str, Value]] = {str(name): values for name, values in file.budgets.items()}
    return {**file.parameters, **own.get(budget, {}), **given}


def put_in(file: StudyFile, parameters: Mapping[str, Value], where: str) -> Study:
    """The study with its parameters put in, checked as a whole.

    Raises:
        UsageError: An unknown reference or key, or a run, axis or number that is not there, with the file in ``where``.
    """
    body = file.model_dump(exclude={"parameters", "budgets"})
    study = convert(Study, _substituted(body, parameters, where), where=where)
    laid_out = lay_out(study, where)
    for row in study.rows:
        with _placed(f"rows: {row.name}", where):
            measure(row.value, laid_out).alone()
    for figure in study.figures:
        with _placed(f"figures: {figure.name}", where):
            picture(figure, study.rows, laid_out)
    return study


@dataclass(frozen=True)
class LaidOut:
    """A study before anything of it is run: a source that has a number, 1, wherever there will be one."""

    study: Study
    axes: Mapping[str, Axes]
    points: Mapping[str, Sequence[Point]]

    def number(self, run: str, place: int, path: Sequence[str]) -> float:
        """One, if there will be a number.

        Raises:
            ValueError: The path leads to none.
        """
        check_path(LISTED[self.study.runs[run].command].result, path)
        return 1.0

    def mcnemar(self, first: tuple[str, int], second: tuple[str, int]) -> float:
        """One, if both are trainings.

        Raises:
            ValueError: One of them is not.
        """
        for run, _ in (first, second):
            if not LISTED[self.study.runs[run].command].trains:
                raise ValueError(f"{run} is no training: mcnemar compares two networks")
        return 1.0


def lay_out(study: Study, where: str) -> LaidOut:
    """The axes and points of a study's runs.

    Raises:
        UsageError: A command that is not known here, a run that names another which does not stand before it, or axes
            and seeds that do not go together.
    """
    axes: dict[str, Axes] = {}
    found: dict[str, Sequence[Point]] = {}
    for label, run in study.runs.items():
        with _placed(f"runs.{label}", where):
            _check_command(run)
            addresses = [parse(text) for text in earlier_of(run)]
            earlier = [(address, _axes_of(address, axes)) for address in addresses]
            own = {key: tuple(values) for key, values in run.sweep.items()}
            seeds = (
                max([run.seeds, *(before.seeds for _, before in earlier)]) if run.command == "evaluate" else run.seeds
            )
            axes[label] = inherit(earlier, own, seeds)
            found[label] = points(axes[label], earlier, found)
    return LaidOut(study, axes, found)


def _check_command(run: StudyRun) -> None:
    if run.command not in LISTED:
        raise ValueError(f"{run.command!r} is no command of a study; those are: {', '.join(LISTED)}")
    listed = LISTED[run.command]
    if listed.earlier is not None and getattr(run, listed.earlier) is None:
        raise ValueError(f"{run.command} needs {listed.earlier}: the name of a run that stands before it")
    for key in ("teacher", "run"):
        if key != listed.earlier and getattr(run, key) is not None:
            raise ValueError(f"{run.command} has no {key}")
    if not listed.trains and (run.sweep or run.seeds > 1):
        raise ValueError(f"{run.command} has no seeds and no sweep: it has those of what it names")


def _axes_of(address: Address, known: Mapping[str, Axes]) -> Axes:
    if address.run not in known:
        raise ValueError(f"no run is called {address.run!r}; the runs are: {', '.join(known) or 'none before it'}")
    if address.path:
        raise ValueError(f"{address.run}.{'.'.join(address.path)} is a number, and a run is wanted")
    return known[address.run]


@contextmanager
def _placed(key: str, where: str) -> Iterator[None]:
    """Say of what is wrong where in the file it stands."""
    try:
        yield
    except ValueError as problem:
        raise UsageError(f"{key}: {problem}", where=where, fix="see docs/commands/study.md") from problem


def _substituted(value: Any, parameters: Mapping[str, Value], where: str) -> Any:
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
    return _REFERENCE.sub(lambda match: written(parameters[match[1]]), value)
