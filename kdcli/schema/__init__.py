"""The typed configuration: the one door through which user input, resumed runs and checkpoints pass (no torch here)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdcli.errors import KDError, UsageError
from kdcli.schema.commands import Config, DistillStudent, Evaluate, Import, Training, TrainTeacher
from kdcli.schema.convert import convert
from kdcli.schema.rules import check_rules

COMMANDS: Mapping[str, type[TrainTeacher] | type[DistillStudent] | type[Evaluate] | type[Import]] = {
    "train-teacher": TrainTeacher,
    "distill-student": DistillStudent,
    "evaluate": Evaluate,
    "import": Import,
}

__all__ = [
    "COMMANDS",
    "Config",
    "DistillStudent",
    "Evaluate",
    "Import",
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
        command: ``train-teacher``, ``distill-student``, ``evaluate`` or ``import``.
        data: Plain mappings, lists and scalars.
        error: What to raise; a configuration read from a run is a CheckpointError.
        where: The file the data come from, if any.

    Raises:
        KDError: Of the type ``error``: unknown keys, wrong types, values out of range, keys that contradict each other.
    """
    config = convert(COMMANDS[command], data, error=error, where=where)
    check_rules(config, error)
    return config
