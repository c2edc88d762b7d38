"""``kd train-teacher``, from its configuration to its last lines."""

from __future__ import annotations

from collections.abc import Sequence

from kdcli.commands.ending import end_training, show_plan
from kdcli.commands.flags import Flags
from kdcli.commands.manner import make_manner
from kdcli.schema import Course, TrainTeacher
from kdcli.schema.model import Selection
from kdcli.trackers import check_installed


def run(config: TrainTeacher, overrides: Sequence[str], flags: Flags) -> int:
    """Train a network or an ensemble; without a soft term temperature and alpha are accepted and ignored."""
    check_installed(config.tracker)
    manner = make_manner(overrides, flags)
    ignored = ignored_by_teachers(config, overrides)
    if ignored:
        manner.say(f"train-teacher has no teacher to listen to: {', '.join(ignored)} ignored")
    from kdcli.program.rehearsal import rehearse_teacher
    from kdcli.program.selecting import rehearse_selection
    from kdcli.program.teacher import train_teacher

    if flags.dry_run and isinstance(config.model, Selection):
        return show_plan(rehearse_selection(config, manner))
    if flags.dry_run:
        return show_plan(rehearse_teacher(config, manner).text())
    return end_training(train_teacher(config, manner), flags)


def ignored_by_teachers(config: Course, overrides: Sequence[str]) -> list[str]:
    """Those overrides that are about a soft term, which a network without a teacher does not have."""
    return about_soft_terms(overrides) if isinstance(config, TrainTeacher) and config.loss.kind != "mutual" else []


def about_soft_terms(overrides: Sequence[str]) -> list[str]:
    """Those overrides that set a temperature or alpha."""
    return [text for text in overrides if text.lstrip("+~").partition("=")[0].partition(".")[0] in _SOFT]


_SOFT = ("temperature", "alpha")
