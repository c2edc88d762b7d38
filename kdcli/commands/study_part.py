"""One run of a study with all its points: taken from what is there, gone on with, or carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from kdcli.commands.flags import Flags
from kdcli.commands.jobs import Job
from kdcli.commands.resume import carry_on
from kdcli.commands.study_lines import carry_out_lines, compose, line_of
from kdcli.commands.study_reuse import Shelf
from kdcli.errors import CheckpointError, UsageError
from kdcli.json_io import read_json
from kdcli.program.slots import for_smoke
from kdcli.report.units import plural
from kdcli.rundir import RunDir, list_runs
from kdcli.schema import Course, Evaluate
from kdcli.studies.address import written
from kdcli.studies.form import StudyRun
from kdcli.studies.listed import LISTED
from kdcli.studies.outcome import Outcome
from kdcli.studies.points import Axes, Point

_UNKNOWN = "a-run-to-come"


@dataclass(frozen=True)
class Place:
    """Where a study works.

    Args:
        home: Its own directory.
        root: The user's output directory, in which other studies and runs may have trained the same already.
        flags: How.
    """

    home: Path
    root: Path
    flags: Flags

    @classmethod
    def of(cls, home: Path, flags: Flags) -> Place:
        """The place of a study by its directory ``root/studies/name/budget-hash``, where a name may have parts."""
        studies = next((folder for folder in home.parents if folder.name == "studies"), home)
        return cls(home, studies.parent, flags)

    def of_part(self, part: Part) -> tuple[str, str]:
        """Where a run's outputs go, and where teachers' answers are kept, for all studies."""
        return str(self.home / part.label), str(self.root / "targets")


@dataclass(frozen=True)
class Part:
    """A run of a study, with its points."""

    label: str
    run: StudyRun
    axes: Axes
    points: Sequence[Point]
    trust_code: bool

    @property
    def title(self) -> str:
        """What is shown when it begins."""
        return self.label if len(self.points) == 1 else f"{self.label}: {len(self.points)} points"

    def lines(self, outcomes: Mapping[str, Sequence[Outcome]] | None, place: Place) -> list[list[str]]:
        """The command line of each point; without outcomes, what comes before it has a name that stands for none."""
        return [
            line_of(self.run, self.axes, point, [_path(outcomes, *one) for one in point.earlier], *place.of_part(self))
            for point in self.points
        ]

    def check(self, place: Place) -> None:
        """See that every line of it can be composed.

        Raises:
            UsageError: What is wrong.
        """
        try:
            compose(self.run.command, self.lines(None, place), place.flags)
        except UsageError as wrong:
            raise UsageError(f"{self.label}: {wrong.what}", where=wrong.where, fix=wrong.fix) from wrong


def _path(outcomes: Mapping[str, Sequence[Outcome]] | None, run: str, place: int) -> str:
    return _UNKNOWN if outcomes is None else outcomes[run][place].run


def run_part(
    part: Part, outcomes: Mapping[str, Sequence[Outcome]], place: Place, say: Callable[[str], None]
) -> list[Outcome]:
    """See that every point of a run has its result.

    Args:
        part: The run.
        outcomes: Of the runs before it.
        place: Where.
        say: Shows one line.

    Returns:
        What came of each point.
    """
    lines = part.lines(outcomes, place)
    if not LISTED[part.run.command].trains:
        return _evaluate(part, lines, outcomes, place)
    jobs = compose(part.run.command, lines, place.flags)
    finder = _Finder(part, place)
    found = finder.own(jobs)
    if None in found and (unfinished := _unfinished(place.home / part.label)) is not None:
        flags = replace(place.flags, json=False, smoke=unfinished.record.smoke)
        with redirect_stdout(StringIO()):
            carry_on(unfinished, flags, trust_code=part.trust_code)
        found = finder.own(jobs)
    if None in found:
        found = finder.reused(jobs, found)
        if reused := sum(each is not None and each.reused for each in found):
            say(f"{plural(reused, 'run')} of {len(found)} were there already: {_first_reused(found)}")
        missing = [line for line, outcome in zip(lines, found, strict=True) if outcome is None]
        missing = [line for number, line in enumerate(missing) if line not in missing[:number]]  # one serves its equals
        if missing:
            with redirect_stdout(StringIO()):  # the study's own table says what its runs would say one by one
                carry_out_lines(part.run.command, missing, replace(place.flags, json=False))
            found = [one or another for one, another in zip(found, finder.own(jobs), strict=True)]
    return [_there(part, outcome, point) for outcome, point in zip(found, part.points, strict=True)]


def _there(part: Part, outcome: Outcome | None, point: Point) -> Outcome:
    at = ", ".join(f"{axis}={written(value)}" for axis, value in point.values.items())
    assert outcome is not None, f"{part.label}[{at}], seed {point.seed}: no finished run is there"
    return outcome


def _first_reused(found: Sequence[Outcome | None]) -> str:
    paths = [each.run for each in found if each is not None and each.reused]
    return paths[0] + (", ..." if len(paths) > 1 else "")


class _Finder:
    """Finds finished runs: those of a part's own folder, and those that anything else under the root has left."""

    def __init__(self, part: Part, place: Place) -> None:
        self._part = part
        self._place = place

    def own(self, jobs: Sequence[Job]) -> list[Outcome | None]:
        """What of the jobs has finished in the part's own folder."""
        shelf = Shelf(self._place.home / self._part.label, smoke=self._place.flags.smoke, foreign=False)
        return [self._find(shelf, job, reused=False) for job in jobs]

    def reused(self, jobs: Sequence[Job], found: Sequence[Outcome | None]) -> list[Outcome | None]:
        """What of the jobs that have not been found has finished elsewhere."""
        shelf = Shelf(self._place.root, smoke=self._place.flags.smoke, foreign=True)
        return [one or self._find(shelf, job, reused=True) for one, job in zip(found, jobs, strict=True)]

    def _find(self, shelf: Shelf, job: Job, *, reused: bool) -> Outcome | None:
        assert isinstance(job.config, Course)
        config = for_smoke(job.config) if self._place.flags.smoke else job.config
        run = shelf.find(self._part.run.command, config)
        return None if run is None else Outcome(str(run.path), reused, run.summary())


def _unfinished(folder: Path) -> RunDir | None:
    """The newest run or sweep of a part that can go on."""
    runs = [run for run in list_runs(folder)[0] if run.path.parent.parent == folder and run.status != "finished"]
    return runs[0] if runs else None


def _evaluate(
    part: Part, lines: Sequence[list[str]], outcomes: Mapping[str, Sequence[Outcome]], place: Place
) -> list[Outcome]:
    """Measure all points of a run in one evaluation, unless that has been done."""
    runs = [_path(outcomes, *point.earlier[0]) for point in part.points]
    point = Point({}, 0, [one for each in part.points for one in each.earlier])
    line = line_of(part.run, part.axes, point, runs, *place.of_part(part))
    (job,) = compose(part.run.command, [line], place.flags)
    assert isinstance(job.config, Evaluate)
    measured = _evaluated(place.home / part.label, job.config)
    if measured is None:
        with redirect_stdout(StringIO()):
            carry_out_lines(part.run.command, [line], replace(place.flags, json=False))
        measured = _evaluated(place.home / part.label, job.config)
    assert measured is not None, f"{part.label}: no evaluation is there"
    return [Outcome(run, False, result) for run, result in zip(runs, measured, strict=True)]


def _evaluated(folder: Path, config: Evaluate) -> list[dict[str, Any]] | None:
    """What a finished evaluation of the same runs in the same way says of each of them."""
    wanted = config.model_dump(exclude={"run"})
    names = [config.run] if isinstance(config.run, str) else config.run
    for run in list_runs(folder)[0]:
        try:
            known = run.config()
            if run.status == "finished" and known.pop("run") == names and known == wanted:
                return list(read_json(run.path / "evaluation.json")["runs"])
        except CheckpointError:
            continue
    return None
