"""The points of runs that build on each other."""

from __future__ import annotations

from typing import Any

import pytest

from kdcli.errors import UsageError
from kdcli.schema import convert
from kdcli.studies.form import Study
from kdcli.studies.reading import LaidOut, lay_out


def laid_out(**runs: Any) -> LaidOut:
    study = convert(Study, {"title": "t", "source": "s", "claim": "c", "runs": runs, "rows": []})
    return lay_out(study, "mine.yaml")


TEACHER = {"command": "train-teacher", "seeds": 2, "sweep": {"model": ["mlp_30", "mlp_100"]}}
STUDENT = {"command": "distill-student", "teacher": "teacher", "seeds": 2, "sweep": {"temperature": [1, 4]}}


def test_a_point_for_each_combination_and_each_seed() -> None:
    points = laid_out(teacher=TEACHER).points["teacher"]
    assert [(point.values["model"], point.seed) for point in points] == [
        ("mlp_30", 0), ("mlp_30", 1), ("mlp_100", 0), ("mlp_100", 1),
    ]  # fmt: skip


def test_a_student_has_its_teachers_axes_and_learns_from_the_teacher_of_its_seed() -> None:
    plan = laid_out(teacher=TEACHER, student=STUDENT)
    assert list(plan.axes["student"].all) == ["teacher.model", "temperature"]
    assert len(plan.points["student"]) == 2 * 2 * 2
    for point in plan.points["student"]:
        ((run, place),) = point.earlier
        teacher = plan.points[run][place]
        assert (teacher.values["model"], teacher.seed) == (point.values["teacher.model"], point.seed)


def test_inherited_axes_keep_their_names_down_a_chain() -> None:
    second = {**STUDENT, "teacher": "student"}
    plan = laid_out(teacher=TEACHER, student=STUDENT, second=second)
    assert list(plan.axes["second"].all) == ["teacher.model", "student.temperature", "temperature"]
    for point in plan.points["second"]:
        ((run, place),) = point.earlier
        before = plan.points[run][place]
        assert before.values == {
            "teacher.model": point.values["teacher.model"],
            "temperature": point.values["student.temperature"],
        }


def test_chosen_points_of_a_teacher_leave_no_axis() -> None:
    plan = laid_out(teacher=TEACHER, student={**STUDENT, "teacher": "teacher[model=mlp_100]"})
    assert list(plan.axes["student"].all) == ["temperature"]
    assert {plan.points["teacher"][point.earlier[0][1]].values["model"] for point in plan.points["student"]} == {
        "mlp_100"
    }


def test_one_teacher_serves_all_seeds_and_several_make_an_ensemble_of_the_same_seed() -> None:
    single = {**TEACHER, "seeds": 1, "sweep": {}}
    plan = laid_out(one=single, teacher=TEACHER, student={**STUDENT, "teacher": ["one", "teacher[model=mlp_30]"]})
    for point in plan.points["student"]:
        assert point.earlier[0] == ("one", 0)
        assert plan.points["teacher"][point.earlier[1][1]].seed == point.seed


def test_an_evaluation_has_the_points_of_what_it_measures() -> None:
    plan = laid_out(teacher=TEACHER, seen={"command": "evaluate", "run": "teacher"})
    assert [point.earlier for point in plan.points["seen"]] == [[("teacher", place)] for place in range(4)]


def test_seeds_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(UsageError, match="seeds must be 2 here too, not 3"):
        laid_out(teacher=TEACHER, student={**STUDENT, "seeds": 3})


def test_teachers_with_different_values_of_an_axis_are_refused() -> None:
    first = {**STUDENT, "teacher": "teacher[model=mlp_30]"}
    both = {**STUDENT, "teacher": ["teacher", "teacher[model=mlp_30]"]}
    plan = laid_out(teacher=TEACHER, first=first, both=both)
    assert list(plan.axes["both"].all) == ["teacher.model", "temperature"]
    wide = {**TEACHER, "sweep": {"model": ["mlp_30", "mlp_300", "mlp_800"]}}
    left = {**STUDENT, "teacher": "teacher", "sweep": {}}
    with pytest.raises(UsageError, match=r"teacher has other values of teacher\.model than a run beside it"):
        laid_out(teacher=wide, left=left, both={**left, "teacher": ["left", "teacher[model=mlp_30|mlp_300]"]})
