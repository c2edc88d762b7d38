"""The course of a study: its runs one after another, and what came of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kdcli.commands.flags import Flags
from kdcli.commands.manner import make_manner
from kdcli.commands.resume import untrusted
from kdcli.commands.study_end import conclude
from kdcli.commands.study_part import Part, Place, run_part
from kdcli.errors import CheckpointError, Interrupted, going_on, why_stopped
from kdcli.rundir import RunDir, create_at, describe_environment
from kdcli.schema import convert
from kdcli.studies.address import Value
from kdcli.studies.form import Study
from kdcli.studies.listed import asks_for_code
from kdcli.studies.outcome import Outcome
from kdcli.studies.reading import lay_out


def carry_out(study: Study, name: str, place: Path, flags: Flags, parameters: Mapping[str, Value]) -> int:
    """Run what a study lists, in order; what has finished already is not run again.

    Raises:
        UsageError: A command line of the study is wrong: before the first is run.
        Interrupted: It was asked to stop, and goes on with ``kd resume`` or when it is started again.
    """
    if (place / "run.json").exists():
        return go_on(study, RunDir.open(place), flags)
    check(study, place, flags)
    overrides = [f"{key}={value}" for key, value in parameters.items()]
    home = create_at(
        place,
        id=name,
        command="studies",
        label=name,
        smoke=flags.smoke,
        argv=sys.argv,
        config=study.model_dump(),
        overrides=overrides,
        environment=describe_environment(None),
    )
    return go_on(study, home, flags)


def check(study: Study, place: Path, flags: Flags) -> None:
    """See that every command line of a study can be composed, and that what it asks for exists.

    Raises:
        UsageError: What is wrong with the first that cannot.
    """
    for part in _parts(study, place):
        part.check(Place.of(place, flags))


def go_on(study: Study, home: RunDir, flags: Flags) -> int:
    """Run what of a study has not finished yet.

    Raises:
        Interrupted: As of `carry_out`.
    """
    from kdcli.program.run import recorded

    say = make_manner([], flags).say
    say(f"study {home.record.id}: {study.title}\n{home.path}")
    try:
        with recorded([home]):
            where, outcomes = Place.of(home.path, flags), dict[str, Sequence[Outcome]]()
            for number, part in enumerate(_parts(study, home.path), 1):
                say(f"\n[{number}/{len(study.runs)}] {part.title}")
                outcomes[part.label] = run_part(part, outcomes, where, say)
            conclude(study, home, outcomes, flags)
            home.set_status("finished")
    except (Interrupted, KeyboardInterrupt) as error:
        raise going_on(why_stopped(error), str(home.path)) from error
    return 0


def _parts(study: Study, place: Path) -> list[Part]:
    laid_out = lay_out(study, str(place))
    return [
        Part(label, run, laid_out.axes[label], laid_out.points[label], trust_code=bool(asks_for_code(run)))
        for label, run in study.runs.items()
    ]


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
    return go_on(study, home, replace(flags, smoke=home.record.smoke))
