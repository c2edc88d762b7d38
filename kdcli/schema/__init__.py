"""The typed configuration: the one door through which user input, resumed runs and checkpoints pass (no torch here)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdcli.errors import KDError, UsageError
from kdcli.schema.commands import (
    Config,
    Course,
    DistillStudent,
    Evaluate,
    Import,
    Specialist,
    Training,
    TrainSpecialists,
    TrainTeacher,
)
from kdcli.schema.convert import convert
from kdcli.schema.rules import check_rules

COMMANDS: Mapping[str, type[Course] | type[Evaluate] | type[Import]] = {
    "train-teacher": TrainTeacher,
    "distill-student": DistillStudent,
    "train-specialists": TrainSpecialists,
    "specialist": Specialist,
    "evaluate": Evaluate,
    "import": Import,
}
"""What runs are records of: the commands, and ``specialist``, a network inside a run of ``train-specialists``."""

__all__ = [
    "COMMANDS",
    "Config",
    "Course",
    "DistillStudent",
    "Evaluate",
    "Import",
    "Specialist",
    "TrainSpecialists",
    "TrainTeacher",
    "Training",
    "convert",
    "parse_config",
]


def parse_config(
    command: str, data: Mapping[str, Any], *, error: type[KDError] = UsageError, where: str = ""
) -> Config:
    """Convert a composed configuration strictly and check what concerns several keys at once.

    Args:
        command: One of ``COMMANDS``.
        data: Plain mappings, lists and scalars.
        error: What to raise; a configuration read from a run is a CheckpointError.
        where: The file the data come from, if any.

    Raises:
        KDError: Of the type ``error``: unknown keys, wrong types, values out of range, keys that contradict each other.
    """
    config = convert(COMMANDS[command], data, error=error, where=where, command="" if where else command)
    assert isinstance(config, Config)
    check_rules(config, error)
    return config
