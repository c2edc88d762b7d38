"""``kd distill-student``, from its configuration to its last lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kdcli.commands.ending import end_training, show_plan
from kdcli.commands.flags import Flags
from kdcli.commands.manner import make_manner
from kdcli.errors import UsageError
from kdcli.rundir import RunDir, resolve_run
from kdcli.schema import DistillStudent
from kdcli.trackers import check_installed


def run(config: DistillStudent, overrides: Sequence[str], flags: Flags) -> int:
    """Distil one or several RUNs into a student."""
    check_installed(config.tracker)
    config, teachers = with_teachers(config, smoke=flags.smoke)
    manner = make_manner(overrides, flags)
    from kdcli.program.rehearsal import rehearse_student
    from kdcli.program.student import distill_student

    if flags.dry_run:
        return show_plan(rehearse_student(config, teachers, manner).text())
    return end_training(distill_student(config, teachers, manner), flags)


def with_teachers(
    config: DistillStudent, *, smoke: bool, find: Callable[..., RunDir] = resolve_run
) -> tuple[DistillStudent, list[RunDir]]:
    """Find the RUNs that ``teacher=`` names, before torch is imported, and name them by their paths from here on.

    Raises:
        UsageError: There is no such run, or none is named.
        CheckpointError: Its record is damaged.
    """
    names = [config.teacher] if isinstance(config.teacher, str) else config.teacher
    if not names:
        raise UsageError("teacher=[] names no run", where="teacher", fix="add teacher=latest")
    root = Path(config.output_dir)
    runs = [find(name, root=root, purpose="teacher", smoke=smoke) for name in names]
    paths = [str(run.path) for run in runs]
    return config.model_copy(update={"teacher": paths if len(paths) > 1 else paths[0]}), runs
