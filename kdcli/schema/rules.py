"""Rules that concern several keys of a configuration at once."""

from __future__ import annotations

from kdcli.errors import KDError
from kdcli.schema.commands import Config, Course, DistillStudent, Evaluate, TrainTeacher
from kdcli.schema.method import AlphaSchedule, Constant


def check_rules(config: Config, error: type[KDError]) -> None:
    """Raise ``error`` where keys that are right one by one contradict each other."""
    if isinstance(config, Evaluate):
        return
    _check_selection(config, error)
    _check_transfer(config, error)
    if isinstance(config, TrainTeacher):
        _check_teacher(config, error)
    elif isinstance(config, DistillStudent):
        _check_student(config, error)
    else:
        _check_specialists(config, error)


def _check_selection(config: Course, error: type[KDError]) -> None:
    if config.dataset.val_fraction > 0:
        return
    needs = {
        "select=best": config.select == "best",
        "early_stopping": config.early_stopping is not None,
        "lr_schedule=plateau": config.lr_schedule.kind == "plateau",
    }
    for setting, wanted in needs.items():
        if wanted:
            raise error(
                f"{setting} needs a validation part, and dataset.val_fraction is 0",
                where="select, dataset.val_fraction",
                fix="add select=last, or keep dataset.val_fraction above 0",
            )


def _check_transfer(config: Course, error: type[KDError]) -> None:
    if config.transfer.omit and config.transfer.only:
        raise error(
            f"transfer.omit={config.transfer.omit} and transfer.only={config.transfer.only} cannot both be given",
            where="transfer.omit, transfer.only",
            fix="name either the classes to leave out or the classes to keep",
        )


def _check_teacher(config: TrainTeacher, error: type[KDError]) -> None:
    if not config.transfer.labels:
        raise error(
            "transfer.labels=false leaves train-teacher nothing to learn from",
            where="transfer.labels",
            fix="leave it out, or use kd distill-student, where a teacher takes the labels' place",
        )
    if config.loss.kind != "hard":
        raise error(
            f"loss={config.loss.kind} needs a teacher, and train-teacher has none",
            where="loss",
            fix="use loss=hard, or kd distill-student",
        )


def _check_student(config: DistillStudent, error: type[KDError]) -> None:
    if not config.transfer.labels and (config.loss.kind == "hard" or not _always_one(config.alpha)):
        raise error(
            "a transfer set without labels has no hard term: alpha must be 1, with a loss that has a soft term",
            where="transfer.labels, alpha",
            fix="add alpha=1, or keep the labels",
        )


def _check_specialists(config: Course, error: type[KDError]) -> None:
    if not config.transfer.labels:
        raise error(
            "transfer.labels=false leaves specialists nothing to tell their classes by",
            where="transfer.labels",
            fix="leave it out",
        )


def _always_one(alpha: AlphaSchedule) -> bool:
    return isinstance(alpha, Constant) and alpha.value == 1
