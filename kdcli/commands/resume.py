"""``kd resume [RUN|latest]``: go on where a run, a sweep, a search or a study was stopped, in the same directory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kdcli.commands.ending import end_training
from kdcli.commands.flags import Flags
from kdcli.commands.manner import make_manner
from kdcli.commands.reporting import end_report
from kdcli.commands.screen import escape_controls
from kdcli.commands.sweep_results import write_sweep_report
from kdcli.errors import CheckpointError, Interrupted, UsageError
from kdcli.json_io import encode_json
from kdcli.program.slots import home_of, teacher_names
from kdcli.rundir import RunDir, resolve_run
from kdcli.rundir.find import TRAININGS
from kdcli.rundir.listing import SEARCHES, STUDIES, SWEEPS
from kdcli.rundir.run import REPORT
from kdcli.schema import Config, DistillStudent, TrainSpecialists, TrainTeacher, parse_config
from kdcli.schema.own_code import code_named

_KEYS = ("output_dir", "trust_code")
_LAUNCHER = ("hydra/launcher=", "hydra.launcher.")


def run(args: list[str], flags: Flags) -> int:
    """Resume what the one argument names; without one, the newest that can go on."""
    names = [arg for arg in args if "=" not in arg]
    if len(names) > 1:
        raise UsageError(f"resume takes one RUN, got {' '.join(names)}", where="resume", fix="kd resume latest")
    launcher = [arg for arg in args if arg.startswith(_LAUNCHER)]
    settings = _settings([arg for arg in args if "=" in arg and arg not in launcher])
    root = Path(settings.get("output_dir", "outputs"))
    named = resolve_run(names[0] if names else "latest", root=root, purpose="resume", smoke=flags.smoke)
    found = _whole(named)
    if flags.dry_run:
        sys.stdout.write(escape_controls(f"{found.path} is {found.status}; nothing was written\n"))
        return 0
    trusted = settings.get("trust_code") == "true"
    return carry_on(found, replace(flags, smoke=found.record.smoke), trust_code=trusted, launcher=launcher)


def _settings(args: list[str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for text in args:
        key, _, value = text.partition("=")
        if key not in _KEYS or (key == "trust_code" and value not in ("true", "false")):
            raise UsageError(
                f"{text} cannot be given: a run goes on as it began",
                where=key,
                fix=f"resume takes output_dir=DIRECTORY, {_KEYS[1]}=true, and for a sweep hydra/launcher=",
            )
        settings[key] = value
    return settings


def _whole(named: RunDir) -> RunDir:
    """What a job, a member or a baseline is part of: only the whole can go on."""
    home = home_of(named)
    return named if home == named.path else RunDir.open(home)


def carry_on(run: RunDir, flags: Flags, *, trust_code: bool, launcher: Sequence[str] = ()) -> int:
    """Bring a run, a sweep, a search or a study to its end.

    Args:
        run: What is to go on.
        flags: How.
        trust_code: The user trusts the code that its files name (``model=custom``).
        launcher: What runs the programs of a sweep, and its settings; none: this process does.

    Raises:
        UsageError: It names code and is not trusted, another process is working in it, or it is of a kind that cannot
            go on.
    """
    kind = run.record.command
    if launcher and kind != SWEEPS:
        what = f"{launcher[0]} is for sweeps, and {run.path} is none"
        raise UsageError(what, where="hydra/launcher", fix=f"kd resume {run.path}")
    if run.status == "finished":
        if kind in (*TRAININGS, SWEEPS) and not (run.path / REPORT).exists():
            # It was stopped between its last word and its report.
            (write_sweep_report if kind == SWEEPS else end_report)(run)
        said = escape_controls(f"{run.path} is finished: nothing to resume\n")
        (sys.stderr if flags.json else sys.stdout).write(said)
        if flags.json and kind != STUDIES:
            sys.stdout.write(encode_json(run.summary()).decode())
        return 0
    if kind == SWEEPS:
        return _resume_sweep(run, flags, launcher, trust_code=trust_code)
    if kind == SEARCHES:
        from kdcli.commands.search import resume_search

        return resume_search(run, flags, trust_code=trust_code)
    if kind == STUDIES:
        from kdcli.commands.study_course import resume_study

        return resume_study(run, flags, trust_code=trust_code)
    return _resume_training(run, flags, trust_code=trust_code)


def _resume_training(run: RunDir, flags: Flags, *, trust_code: bool) -> int:
    config = read_config(run, trust_code=trust_code)
    manner = make_manner([], flags)
    if isinstance(config, TrainTeacher):
        from kdcli.program.teacher import train_teacher

        train_teacher(config, manner, run)
    elif isinstance(config, DistillStudent):
        from kdcli.program.student import distill_student
        from kdcli.program.teaching import recorded_run

        teachers = [recorded_run(name, run) for name in teacher_names(config)]
        distill_student(config, teachers, manner, run)
    elif isinstance(config, TrainSpecialists):
        from kdcli.program.specialists import train_specialists
        from kdcli.program.teaching import recorded_run

        train_specialists(config, recorded_run(config.teacher, run), manner, run)
    else:
        raise UsageError(f"a {run.record.command} cannot be resumed", where=str(run.path), fix="run it again")
    return end_training(run, flags)


def read_config(run: RunDir, *, trust_code: bool) -> Config:
    """The configuration that a run recorded, which may name code only where the user trusts it.

    Raises:
        CheckpointError: It is damaged.
        UsageError: It names code, and is not trusted.
    """
    where = str(run.path / "config.yaml")
    config = parse_config(run.record.command, run.config(), error=CheckpointError, where=where)
    check_trust(config, where, trust_code=trust_code)
    return config


def check_trust(config: Config, where: str, *, trust_code: bool) -> None:
    """Refuse a configuration from the file ``where`` if it names code and is not trusted.

    Raises:
        UsageError: It does, and is not.
    """
    asks = code_named(config) or ("trust_code=true" if getattr(config, "trust_code", False) else None)
    if asks and not trust_code:
        raise untrusted(where, asks)


def untrusted(where: str, asks: str) -> UsageError:
    """The error for files that ask to run code of their own."""
    fix = "add trust_code=true if you know what that code does"
    return UsageError(f"{asks} in a file would run code that is not kd's", where=where, fix=fix)


def _resume_sweep(run: RunDir, flags: Flags, launcher: Sequence[str], *, trust_code: bool) -> int:
    """Run the programs of a sweep that are not done; those that are stay as they are."""
    from kdcli.commands import sweep
    from kdcli.commands.screen import show_error
    from kdcli.program.sweep import is_done

    for part in (*run.path.glob("[0-9]*"), *run.path.glob("baselines/[0-9]*")):
        read_config(RunDir.open(part), trust_code=trust_code)
    if launcher:
        from kdcli.commands.relaunch import relaunch

        return relaunch(run, launcher, flags)
    started = sweep.open_sweep(run)
    with started.held:
        for path in started.programs:
            try:
                if not is_done(run, path):
                    sweep.run_program(path, flags)
            except Interrupted:
                raise
            except Exception as error:  # as in the sweep itself, the others go on
                show_error(error, color=flags.color, debug=flags.debug)
        return sweep.finish(started, flags)
