"""Rules that concern several keys of a configuration at once."""

from __future__ import annotations

from kdcli.errors import KDError
from kdcli.schema.commands import Config, Course, DistillStudent, Evaluate, Import, Training, TrainTeacher
from kdcli.schema.data import Synthetic
from kdcli.schema.method import AlphaSchedule, Constant
from kdcli.schema.model import Selection

_TABLES = ("letter", "letter_p1", "letter_p2", "csv")


def check_rules(config: Config, error: type[KDError]) -> None:
    """Raise ``error`` where keys that are right one by one contradict each other."""
    if isinstance(config, Evaluate | Import):
        return
    if isinstance(config, Training) and isinstance(config.model, Selection):
        _check_ensemble_selection(config, error)
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


def _check_ensemble_selection(config: Training, error: type[KDError]) -> None:
    if not isinstance(config, TrainTeacher):
        raise error(
            "model=selection is no network: it can teach a student, and cannot be one",
            where="model",
            fix="kd train-teacher model=selection, then kd distill-student teacher=latest with a network as model",
        )
    if config.members > 1:
        raise error(
            f"model=selection with members={config.members}: it is an ensemble already",
            where="model, members",
            fix="leave members at 1; model.bags says how many ensembles are averaged",
        )
    if config.dataset.val_fraction == 0:
        raise error(
            "model=selection selects its members on a validation part, and dataset.val_fraction is 0",
            where="model, dataset.val_fraction",
            fix="keep dataset.val_fraction above 0",
        )
    if config.dataset.kind not in _TABLES:
        raise error(
            f"model=selection learns from the rows of a table, and dataset={config.dataset.kind} holds images",
            where="model, dataset",
            fix=f"choose one of {', '.join(_TABLES)}",
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
        setting, where = _label_free(config)
        raise error(
            f"{setting} leaves train-teacher nothing to learn from",
            where=where,
            fix="leave it out, or use kd distill-student, where a teacher takes the labels' place",
        )
    if config.loss.kind == "mutual":
        _check_mutual(config, error)
    elif config.loss.kind != "hard":
        raise error(
            f"loss={config.loss.kind} needs a teacher, and train-teacher has none",
            where="loss",
            fix="use loss=hard, loss=mutual with members=2, or kd distill-student",
        )


def _check_mutual(config: TrainTeacher, error: type[KDError]) -> None:
    refused = {
        "members=1: a network that teaches itself": config.members == 1,
        f"members_data={config.members_data}: networks that do not see the same": config.members_data != "all",
        f"early_stopping={config.early_stopping}: teachers that learn no more": config.early_stopping is not None,
    }
    for setting, given in refused.items():
        if given:
            raise error(
                f"loss=mutual does not go with {setting}",
                where="loss, members, members_data, early_stopping",
                fix="use members=2 or more, members_data=all and early_stopping=null",
            )


def _check_student(config: DistillStudent, error: type[KDError]) -> None:
    if config.loss.kind == "mutual":
        raise error(
            "loss=mutual: networks that teach each other have no teacher",
            where="loss",
            fix="use kd train-teacher members=2 loss=mutual, or loss=kd",
        )
    if not config.transfer.labels and config.loss.kind == "cwtm":
        raise error(
            "loss=cwtm weighs the labels, and the transfer set has none",
            where="transfer.labels, loss",
            fix="use loss=kd, or keep the labels",
        )
    if not config.transfer.labels and (config.loss.kind == "hard" or not _always_one(config.alpha)):
        setting, where = _label_free(config)
        raise error(
            f"{setting} has no labels and so no hard term: alpha must be 1, with a loss that has a soft term",
            where=f"{where}, alpha",
            fix="add alpha=1, or keep the labels",
        )


def _label_free(config: Course) -> tuple[str, str]:
    """By which setting the transfer set has no labels, and the key of it."""
    if isinstance(config.transfer, Synthetic):
        return f"transfer={config.transfer.kind}", "transfer"
    return "transfer.labels=false", "transfer.labels"


def _check_specialists(config: Course, error: type[KDError]) -> None:
    if not config.transfer.labels:
        setting, where = _label_free(config)
        raise error(f"{setting} leaves specialists nothing to tell their classes by", where=where, fix="leave it out")


def _always_one(alpha: AlphaSchedule) -> bool:
    return isinstance(alpha, Constant) and alpha.value == 1
