"""The form of a study: parameters, budgets, and all that can be wrong with one before anything is trained."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kdcli.errors import UsageError
from kdcli.schema import convert
from kdcli.studies.address import Value
from kdcli.studies.form import BUDGETS, Study, StudyFile
from kdcli.studies.reading import parameters_of, put_in

WRITTEN: dict[str, Any] = {
    "title": "A study",
    "source": "Somebody 2015",
    "claim": "It holds.",
    "parameters": {"seeds": 3, "rate": 0.5, "sizes": [8, 16], "views": "shift"},
    "budgets": {"smoke": {"seeds": 1}, "short": {"seeds": 2}},
    "runs": {
        "teacher": {"command": "train-teacher", "overrides": ["optimizer.lr=${rate}", "dataset.views=${views}"]},
        "student": {
            "command": "distill-student",
            "teacher": "teacher",
            "seeds": "${seeds}",
            "overrides": ["model.hidden=${sizes}", "+model.arguments.width=3"],
        },
    },
    "rows": [{"name": "errors", "value": "student.test.errors", "paper": 74, "expect": [60, 90], "every": True}],
}


def study_of(written: dict[str, Any], budget: str = "full", **given: Value) -> Study:
    file = convert(StudyFile, written)
    return put_in(file, parameters_of(file, budget, given), "mine.yaml")


def changed(*path: Any, to: Any) -> dict[str, Any]:
    written = copy.deepcopy(WRITTEN)
    place: Any = written
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return written


def test_parameters_stand_in_texts_and_for_whole_values() -> None:
    study = study_of(WRITTEN)
    assert study.runs["teacher"].overrides == ["optimizer.lr=0.5", "dataset.views=shift"]
    assert study.runs["student"].seeds == 3
    assert study.runs["student"].overrides[0] == "model.hidden=[8,16]"
    assert study.rows[0].expect == [60, 90]


@pytest.mark.parametrize(("budget", "seeds"), [("smoke", 1), ("short", 2), ("full", 3)])
def test_a_budget_changes_parameters(budget: str, seeds: int) -> None:
    assert budget in BUDGETS
    assert study_of(WRITTEN, budget).runs["student"].seeds == seeds


def test_what_the_user_gives_comes_last() -> None:
    study = study_of(WRITTEN, "smoke", seeds=7, sizes=[1])
    assert study.runs["student"].seeds == 7
    assert study.runs["student"].overrides[0] == "model.hidden=[1]"


def test_an_unknown_parameter_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no parameter 'seed'") as caught:
        study_of(WRITTEN, seed=1)
    assert "seeds, rate, sizes, views" in str(caught.value.fix)


def test_several_earlier_runs_can_teach_together() -> None:
    written = copy.deepcopy(WRITTEN)
    written["runs"] = {"second": WRITTEN["runs"]["teacher"], **written["runs"]}
    written["runs"]["student"]["teacher"] = ["teacher", "second"]
    assert study_of(written).runs["student"].teacher == ["teacher", "second"]


@pytest.mark.parametrize(
    ("written", "what"),
    [
        (changed("runs", "teacher", "overrides", to=["optimizer.lr=${speed}"]), r"\$\{speed\} is no parameter"),
        (changed("runs", "student", "teacher", to="nobody"), "no run is called 'nobody'"),
        (changed("runs", "student", "teacher", to="student"), "no run is called 'student'"),
        (changed("runs", "student", "teacher", to=None), "distill-student needs teacher: the name of a run"),
        (changed("runs", "teacher", "seeds", to=2), "2 seeds, and seed k builds on its seed k: seeds must be 2"),
        (changed("runs", "teacher", "teacher", to="teacher"), "train-teacher has no teacher"),
        (changed("runs", "student", "run", to="teacher"), "distill-student has no run"),
        (changed("runs", "student", "teacher", to="teacher.test.errors"), "is a number, and a run is wanted"),
        (changed("runs", "student", "teacher", to="teacher[seed=1]"), "teacher has no axis 'seed'; its axes: none"),
        (changed("runs", "student", "command", to="doctor"), "'doctor' is no command of a study"),
        (changed("runs", "student", "sweep", to={"temperature": [1, 4]}), r"temperature is still open \(1, 4\)"),
        (changed("runs", "student", "sweep", to={"temperature": []}), "sweep.temperature"),
        (changed("runs", "student", "sweep", to={"hydra.job.name": ["x"]}), "sweep"),
        (changed("runs", "student", "command", to="evaluate"), "evaluate needs run"),
        (changed("runs", "student", "seeds", to="many"), "seeds"),
        (changed("runs", "student", "seeds", to=0), "seeds"),
        (changed("runs", "student", "colour", to="red"), "colour"),
        (changed("runs", "Student", to=WRITTEN["runs"]["teacher"]), "Student"),
        (changed("rows", 0, "value", to="nobody.test.errors"), "no run is called 'nobody'"),
        (changed("rows", 0, "value", to="student.test.mistakes"), "'mistakes'; known there: n, errors"),
        (changed("rows", 0, "value", to="student.test.errors.all"), "'all'"),
        (changed("rows", 0, "value", to="student.test"), "is no number"),
        (changed("rows", 0, "value", to="student.model"), "is no number"),
        (changed("rows", 0, "value", to="student"), "a run is no number"),
        (changed("rows", 0, "value", to="student.test.errors."), "value"),
        (changed("rows", 0, "value", to={"op": "eval", "of": ["student.test.errors"]}), "op"),
        (changed("rows", 0, "value", to={"op": "ratio", "of": ["student.test.errors"]}), "ratio takes 2 values, got 1"),
        (changed("rows", 0, "value", to={"op": "min", "of": ["student.test.errors"]}), "min needs over"),
        (changed("rows", 0, "value", to={"op": "mcnemar", "of": ["student", 3]}), "mcnemar compares two runs"),
        (changed("figures", to=[{"name": "f", "title": "F", "y_label": "y"}]), "a figure has lines or bars"),
        (
            changed("figures", to=[{"name": "f", "title": "F", "y_label": "y", "bars": ["mistakes"]}]),
            "no row is called 'mistakes'",
        ),
        (changed("rows", 0, "expect", to=[1]), "expect"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_trained(written: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        study_of(written)
    assert "mine.yaml" in str(caught.value.where)


@pytest.mark.parametrize(
    "override",
    [
        "--config-dir=elsewhere",
        "-m",
        "hydra.callbacks.x._target_=os.system",
        "+hydra.callbacks.x._target_=os.system",
        "++hydra/launcher=mine",
        "hydra/job_logging=mine",
        "~model",
        "epochs",
    ],
)
def test_overrides_are_settings_of_kds_own(override: str) -> None:
    with pytest.raises(UsageError, match="overrides"):
        study_of(changed("runs", "teacher", "overrides", to=[override]))


@pytest.mark.parametrize("value", ["student.teacher.test.errors", "student.baseline.p_value", "student.val.top1"])
def test_numbers_deep_in_a_summary_can_be_rows(value: str) -> None:
    assert study_of(changed("rows", 0, "value", to=value)).rows[0].value == value
