"""``kd train-teacher``, from its configuration to its last lines."""

from __future__ import annotations

from collections.abc import Sequence

from kdcli.commands.flags import Flags
from kdcli.commands.ending import end_training
from kdcli.commands.manner import make_manner
from kdcli.schema import TrainTeacher


def run(config: TrainTeacher, overrides: Sequence[str], flags: Flags) -> int:
    """Train a network or an ensemble; temperature and alpha are accepted and ignored."""
    manner = make_manner(overrides, flags)
    ignored = [key for key in overrides if key.partition("=")[0].partition(".")[0] in ("temperature", "alpha")]
    if ignored:
        manner.say(f"train-teacher has no teacher to listen to: {', '.join(ignored)} ignored")
    from kdcli.program.teacher import train_teacher

    return end_training(train_teacher(config, manner), config.output_dir, flags)
