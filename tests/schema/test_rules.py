"""Keys that are right one by one and contradict each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kdcli.errors import CheckpointError, UsageError
from kdcli.schema import Evaluate, parse_config

UNSPLIT = {"dataset.val_fraction": 0.0}
PLATEAU = {"kind": "plateau"}


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({}, "select=best"),
        ({"select": "last", "early_stopping": 3}, "early_stopping"),
        ({"select": "last", "lr_schedule": PLATEAU}, "lr_schedule=plateau"),
    ],
)
def test_what_needs_validation_is_refused_without_it(student: Any, changes: dict[str, Any], setting: str) -> None:
    with pytest.raises(UsageError, match=f"{setting} needs a validation part") as caught:
        parse_config("distill-student", student(UNSPLIT | changes))
    assert caught.value.where == "select, dataset.val_fraction"
    assert "select=last" in str(caught.value.fix)
    parse_config("distill-student", student(changes))


def test_without_validation_the_last_weights_can_be_selected(student: Any) -> None:
    parse_config("distill-student", student(UNSPLIT | {"select": "last"}))


def test_classes_are_left_out_or_kept_and_not_both(student: Any) -> None:
    with pytest.raises(UsageError, match=r"transfer.omit=\[3\] and transfer.only=\[7\] cannot both be given"):
        parse_config("distill-student", student({"transfer.omit": [3], "transfer.only": [7]}))
    for key in ("transfer.omit", "transfer.only"):
        parse_config("distill-student", student({key: [3]}))


def test_a_teacher_needs_labels(teacher: Any) -> None:
    with pytest.raises(UsageError, match="leaves train-teacher nothing to learn from"):
        parse_config("train-teacher", teacher({"transfer.labels": False}))


@pytest.mark.parametrize("loss", ["kd", "soft_ce", "mse_logits", "mse_probs", "cwtm", "dkpp"])
def test_a_teacher_has_no_soft_term(teacher: Any, loss: str) -> None:
    with pytest.raises(UsageError, match=f"loss={loss} needs a teacher"):
        parse_config("train-teacher", teacher({"loss.kind": loss}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"alpha.value": 0.999},
        {"alpha": {"kind": "linear", "start": 1.0, "end": 1.0}},
        {"alpha.value": 1, "loss.kind": "hard"},
    ],
)
def test_without_labels_alpha_must_be_one(student: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="alpha must be 1") as caught:
        parse_config("distill-student", student({"transfer.labels": False} | changes))
    assert caught.value.where == "transfer.labels, alpha"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"members": 1}, "members=1"),
        ({"members_data": "bootstrap"}, "members_data=bootstrap"),
        ({"early_stopping": 3}, "early_stopping=3"),
    ],
)
def test_networks_that_teach_each_other_are_several_and_see_the_same(
    teacher: Any, changes: dict[str, Any], what: str
) -> None:
    mutual = {"loss.kind": "mutual", "members": 2}
    parse_config("train-teacher", teacher(mutual))
    with pytest.raises(UsageError, match=f"loss=mutual does not go with {what}"):
        parse_config("train-teacher", teacher(mutual | changes))


def test_a_student_has_a_teacher_and_no_peers(student: Any) -> None:
    with pytest.raises(UsageError, match="have no teacher") as caught:
        parse_config("distill-student", student({"loss.kind": "mutual"}))
    assert "kd train-teacher members=2 loss=mutual" in str(caught.value.fix)


def test_labels_that_are_weighed_must_be_there(student: Any) -> None:
    parse_config("distill-student", student({"loss.kind": "cwtm", "alpha.value": 1}))
    with pytest.raises(UsageError, match="loss=cwtm weighs the labels"):
        parse_config("distill-student", student({"loss.kind": "cwtm", "alpha.value": 1, "transfer.labels": False}))


@pytest.mark.parametrize("one", [1, 1.0])
def test_without_labels_alpha_one_is_fine(student: Any, one: float) -> None:
    parse_config("distill-student", student({"transfer.labels": False, "alpha.value": one}))


@pytest.mark.parametrize("kind", ["munge", "random", "nbe"])
def test_synthetic_cases_have_no_labels(student: Any, teacher: Any, kind: str) -> None:
    transfer = {"transfer": {"kind": kind}}
    with pytest.raises(
        UsageError, match=f"transfer={kind} has no labels and so no hard term: alpha must be 1"
    ) as caught:
        parse_config("distill-student", student(transfer))
    assert caught.value.where == "transfer, alpha"
    parse_config("distill-student", student(transfer | {"alpha.value": 1}))
    with pytest.raises(UsageError, match=f"transfer={kind} leaves train-teacher nothing to learn from") as caught:
        parse_config("train-teacher", teacher(transfer))
    assert "kd distill-student" in str(caught.value.fix)


def test_labels_are_no_setting_of_synthetic_cases(student: Any) -> None:
    with pytest.raises(UsageError, match=r"unknown key 'transfer.labels'"):
        parse_config("distill-student", student({"transfer": {"kind": "munge", "labels": True}, "alpha.value": 1}))


def test_a_rule_broken_in_a_run_is_a_checkpoint_error(student: Any) -> None:
    with pytest.raises(CheckpointError, match="select=best needs a validation part"):
        parse_config("distill-student", student(UNSPLIT), error=CheckpointError, where="config.yaml")


SELECTION = {"model": {"kind": "selection"}, "dataset.kind": "letter_p1"}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"members": 2}, "with members=2: it is an ensemble already"),
        ({"dataset.val_fraction": 0.0}, "selects its members on a validation part"),
        ({"dataset.kind": "mnist"}, "the rows of a table, and dataset=mnist holds images"),
        ({"transfer.labels": False}, "leaves train-teacher nothing to learn from"),
    ],
)
def test_an_ensemble_selection_needs_a_table_and_a_validation_part(
    teacher: Any, changes: dict[str, Any], what: str
) -> None:
    parse_config("train-teacher", teacher(SELECTION))
    with pytest.raises(UsageError, match=what):
        parse_config("train-teacher", teacher(SELECTION | changes))


def test_an_ensemble_selection_is_no_student(student: Any) -> None:
    with pytest.raises(UsageError, match="it can teach a student, and cannot be one") as caught:
        parse_config("distill-student", student(SELECTION))
    assert "kd train-teacher model=selection" in str(caught.value.fix)


def test_an_evaluation_has_no_such_rules(configure: Callable[..., Any]) -> None:
    assert isinstance(configure("evaluate", "run=latest"), Evaluate)
