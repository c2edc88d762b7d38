"""``kd resume [RUN|latest]``: go on where a run or a sweep was stopped, in the same directory."""

from __future__ import annotations

import sys
from pathlib import Path

from kdcli.commands.ending import end_training
from kdcli.commands.flags import Flags
from kdcli.commands.manner import make_manner
from kdcli.errors import CheckpointError, UsageError
from kdcli.rundir import RunDir, resolve_run
from kdcli.schema import DistillStudent, TrainTeacher, parse_config


def run(args: list[str], flags: Flags) -> int:
    """Resume what the one argument names; without one, the newest that can go on."""
    root = Path(next((arg.partition("=")[2] for arg in args if arg.startswith("output_dir=")), "outputs"))
    names = [arg for arg in args if "=" not in arg]
    if len(names) > 1 or len(args) > len(names) + 1:
        raise UsageError(f"resume takes one RUN, got {' '.join(args)!r}", where="resume", fix="kd resume latest")
    found = resolve_run(names[0] if names else "latest", root=root, purpose="resume", smoke=flags.smoke)
    if found.status == "finished":
        sys.stdout.write(f"{found.path} is finished: nothing to resume\n")
        return 0
    if found.record.command == "sweeps":
        return _resume_sweep(found, flags)
    return _resume_training(found, flags)


def _resume_training(run: RunDir, flags: Flags) -> int:
    where = str(run.path / "config.yaml")
    config = parse_config(run.record.command, run.config(), error=CheckpointError, where=where)
    manner = make_manner([], flags, smoke=run.record.smoke)
    if isinstance(config, TrainTeacher):
        from kdcli.program.teacher import train_teacher

        train_teacher(config, manner, run)
    elif isinstance(config, DistillStudent):
        from kdcli.program.slots import teacher_names
        from kdcli.program.student import distill_student

        teachers = [RunDir.open(Path(name)) for name in teacher_names(config)]
        distill_student(config, teachers, manner, run)
    else:
        raise UsageError(f"a {run.record.command} cannot be resumed", where=str(run.path), fix="run it again")
    return end_training(run, config.output_dir, flags)


def _resume_sweep(run: RunDir, flags: Flags) -> int:
    """Run the programs of a sweep that are not done; those that are stay as they are."""
    from kdcli.commands import sweep

    run.set_status("running")
    started = sweep.Sweep(run, sorted((run.path / "programs").glob("*.json")))
    for path in started.programs:
        if not sweep.is_done(run, path):
            sweep.run_program(path, flags)
    return sweep.finish(started, flags)
