"""The commands that a study may list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from kdcli.schema.results import EvaluatedRun, Summary
from kdcli.studies.address import written
from kdcli.studies.form import StudyRun


@dataclass(frozen=True)
class Listed:
    """What a study knows of a command.

    Args:
        earlier: The key, of the command and of the form, that names what comes before it; None where nothing does.
        trains: It has seeds and axes of its own; what only measures has those of what it names.
        result: What its numbers are found in.
        keeps: It asks a teacher and keeps the answers.
    """

    earlier: str | None
    trains: bool
    result: type[BaseModel]
    keeps: bool = False


LISTED: Mapping[str, Listed] = {
    "train-teacher": Listed(None, True, Summary),
    "distill-student": Listed("teacher", True, Summary, keeps=True),
    "train-specialists": Listed("teacher", True, Summary),
    "evaluate": Listed("run", False, EvaluatedRun),
}


_CODE = ("model.target=", "loss.target=", "trust_code=")
_NAMING = re.compile(r"[+~]*(?:model|loss|dataset)\b.*(?:custom|\$\{)", re.DOTALL)


def asks_for_code(run: StudyRun) -> list[str]:
    """The overrides by which a run of a study names code of the user's own."""
    swept = [f"{key}={written(value)}" for key, values in run.sweep.items() for value in values]
    texts = (*run.overrides, *swept)
    return [text for text in texts if text.lstrip("+").startswith(_CODE) or _NAMING.match(text)]


def earlier_of(run: StudyRun) -> list[str]:
    """The addresses of what a run builds on."""
    given = [run.teacher, run.run]
    return [text for each in given if each is not None for text in ([each] if isinstance(each, str) else each)]
