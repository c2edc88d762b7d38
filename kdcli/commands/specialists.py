"""``kd train-specialists``, from its configuration to its last lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kdcli.commands.ending import end_training, show_plan
from kdcli.commands.flags import Flags
from kdcli.commands.manner import make_manner
from kdcli.commands.train import about_soft_terms
from kdcli.rundir import RunDir, resolve_run
from kdcli.schema import TrainSpecialists
from kdcli.trackers import check_installed


def run(config: TrainSpecialists, overrides: Sequence[str], flags: Flags) -> int:
    """Train specialists beside a generalist; without the full softmax temperature and alpha are ignored."""
    check_installed(config.tracker)
    config, generalist = with_generalist(config, smoke=flags.smoke)
    manner = make_manner(overrides, flags)
    ignored = [] if config.specialists.full_softmax else about_soft_terms(overrides)
    if ignored:
        manner.say(
            f"without specialists.full_softmax=true nobody listens to the generalist: {', '.join(ignored)} ignored"
        )
    from kdcli.program.rehearsal import rehearse_specialists
    from kdcli.program.specialists import train_specialists

    if flags.dry_run:
        return show_plan(rehearse_specialists(config, generalist, manner).text())
    return end_training(train_specialists(config, generalist, manner), flags)


def with_generalist(
    config: TrainSpecialists, *, smoke: bool, find: Callable[..., RunDir] = resolve_run
) -> tuple[TrainSpecialists, RunDir]:
    """Find the RUN that ``teacher=`` names, before torch is imported, and name it by its path from here on.

    Raises:
        UsageError: There is no such run.
        CheckpointError: Its record is damaged.
    """
    run = find(config.teacher, root=Path(config.output_dir), purpose="teacher", smoke=smoke)
    return config.model_copy(update={"teacher": str(run.path)}), run
