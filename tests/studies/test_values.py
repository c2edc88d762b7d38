"""Numbers that are made of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from kdcli.schema import convert
from kdcli.studies.form import StudyRow
from kdcli.studies.points import Axes, Point, points
from kdcli.studies.values import Cell, measure

TEMPERATURES, MODELS = (1, 4, 16), ("small", "large")
# Errors by model and temperature, for two seeds each.
ERRORS = {
    ("small", 1): (30.0, 34.0), ("small", 4): (20.0, 22.0), ("small", 16): (19.0, 27.0),
    ("large", 1): (15.0, 17.0), ("large", 4): (11.0, 12.0), ("large", 16): (10.0, 12.0),
}  # fmt: skip
VALIDATION = {key: (value[0] / 10 + (3 if key[1] == 16 else 0),) * 2 for key, value in ERRORS.items()}


@dataclass(frozen=True)
class Known:
    """A source that knows a student over temperature and model, and a teacher."""

    axes: Mapping[str, Axes]
    points: Mapping[str, Sequence[Point]]

    def number(self, run: str, place: int, path: Sequence[str]) -> float | None:
        if run == "teacher":
            return None if path[-1] == "agreement" else 8.0
        point = self.points[run][place]
        table = VALIDATION if path[0] == "val" else ERRORS
        return table[str(point.values["model"]), int(str(point.values["temperature"]))][point.seed]

    def mcnemar(self, first: tuple[str, int], second: tuple[str, int]) -> float:
        return 0.25 if first == ("teacher", 0) and second[1] % 2 == 0 else 0.5


def source() -> Known:
    axes = {
        "teacher": Axes({}, {}),
        "student": Axes({}, {"model": MODELS, "temperature": TEMPERATURES}, seeds=2),
        "other": Axes({}, {}, seeds=3),
    }
    return Known(axes, {run: points(each, [], {}) for run, each in axes.items()})


def value_of(written: Any) -> Cell:
    row = convert(StudyRow, {"name": "it", "value": written})
    return measure(row.value, source()).alone()


SMALL = "student[model=small].test.errors"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (7, (7,)),
        ("teacher.test.errors", (8,)),
        ("student[model=small,temperature=4].test.errors", (20, 22)),
        ({"op": "difference", "of": ["student[model=small,temperature=4].test.errors", 8]}, (12, 14)),
        ({"op": "ratio", "of": ["student[model=large,temperature=4].test.errors", 8]}, (11 / 8, 12 / 8)),
        ({"op": "mean", "of": ["student[model=small,temperature=1].test.errors"]}, (32,)),
        ({"op": "mean", "of": [SMALL], "over": ["temperature"]}, ((30 + 20 + 19) / 3, (34 + 22 + 27) / 3)),
        ({"op": "min", "of": [SMALL], "over": ["temperature"]}, (20, 22)),  # means 32, 21, 23
        ({"op": "max", "of": [SMALL], "over": ["temperature"]}, (30, 34)),
        ({"op": "argmin", "of": [SMALL], "over": ["temperature"]}, (4,)),
        ({"op": "argmax", "of": [SMALL], "over": ["temperature"]}, (1,)),
        ({"op": "min", "of": ["student.test.errors"], "over": ["temperature", "model"]}, (10, 12)),
        ({"op": "argmin", "of": ["student[model=small,temperature=1|16].test.errors"], "over": ["temperature"]}, (16,)),
        # validation: small 3, 2, 4.9
        ({"op": "at_min", "of": [SMALL, "student[model=small].val.nll"], "over": ["temperature"]}, (20, 22)),
        ({"op": "at_max", "of": [SMALL, "student[model=small].val.nll"], "over": ["temperature"]}, (19, 27)),
        ({"op": "mcnemar", "of": ["teacher", "student[model=small,temperature=1]"]}, (0.25, 0.5)),
        (
            {
                "op": "gain_kept",
                "of": [
                    "student[model=large,temperature=4].test.errors",
                    "student[model=small,temperature=1].test.errors",
                    "teacher.test.errors",
                ],
            },
            ((30 - 11) / (30 - 8), (34 - 12) / (34 - 8)),
        ),
        ({"op": "gain_kept", "of": ["teacher.test.errors", "teacher.test.errors", "teacher.test.errors"]}, (None,)),
        ({"op": "difference", "of": ["teacher.test.agreement", 1]}, (None,)),
    ],
)  # fmt: skip
def test_a_value_is_what_its_words_say(written: Any, expected: Cell) -> None:
    assert value_of(written) == pytest.approx(expected)


def test_the_spread_over_an_axis_can_be_written() -> None:
    over = {"over": ["temperature"]}
    spread = {"op": "difference", "of": [{"op": op, "of": [SMALL], **over} for op in ("max", "min")]}
    assert value_of(spread) == (10, 12)


@pytest.mark.parametrize(
    ("written", "what"),
    [
        (SMALL, r"temperature is still open \(1, 4, 16\)"),
        ("nobody.test.errors", "no run is called 'nobody'; the runs are: teacher, student, other"),
        ("student[size=3].test.errors", "no axis 'size'; its axes: model, temperature"),
        ("student[temperature=2].test.errors", "temperature of student is never 2; its values: 1, 4, 16"),
        ({"op": "min", "of": [SMALL], "over": ["model"]}, "'model' is no open axis of what is looked over"),
        ({"op": "argmin", "of": ["student[temperature=1].test.errors"], "over": ["model"]}, "'large' is no number"),
        ({"op": "mcnemar", "of": ["other", "student[model=small,temperature=1]"]}, "2 and 3 seeds cannot be paired"),
    ],
)
def test_what_cannot_be_had_is_said(written: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        value_of(written)


def test_tests_over_seeds_give_one_p() -> None:
    first, second = "student[model=small,temperature=1].test.errors", "student[model=large,temperature=1].test.errors"
    # differences 15 and 17: mean 16, s.d. sqrt(2), t = 16, and with one degree of freedom p = 1 - 2/pi * atan(16)
    assert value_of({"op": "t_test", "of": [first, second]}) == pytest.approx((0.0397366,), abs=1e-6)
    assert value_of({"op": "sign_test", "of": [first, second]}) == (0.5,)
