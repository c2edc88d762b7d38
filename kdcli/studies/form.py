"""The form of a study: its runs, the numbers that are taken from them, and its figures."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kdcli.schema.base import Count, Section, Seed
from kdcli.studies import address
from kdcli.studies.address import Value

Budget = Literal["smoke", "short", "full"]
BUDGETS: tuple[Budget, ...] = ("smoke", "short", "full")
_OVERRIDE = re.compile(r"\+{0,2}(?!hydra)[a-z][a-z0-9_./]*=")


def _check_override(text: str) -> str:
    """Refuse flags, and settings of Hydra's own, which can name code to run."""
    if _OVERRIDE.match(text) is None:
        raise PydanticCustomError("override", "not a key=value of kd's own")
    return text


def _check_key(text: str) -> str:
    _check_override(f"{text}=")
    return text


def _check_address(text: str) -> str:
    address.parse(text)
    return text


Override = Annotated[str, AfterValidator(_check_override)]
Key = Annotated[str, AfterValidator(_check_key)]
Address = Annotated[str, AfterValidator(_check_address)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class StudyRun(Section):
    """One command line of a study, perhaps for many points.

    ``teacher`` or ``run`` names what comes before it, under the key that the command itself has for it. ``seeds`` above
    1 means the seeds 0, 1, ..., or as many from ``first_seed`` on; ``sweep`` gives each key its values. All of it is
    one sweep.
    """

    command: str
    overrides: list[Override] = []
    teacher: Address | list[Address] | None = None
    run: Address | None = None
    seeds: Count = 1
    first_seed: Seed = 0
    sweep: dict[Key, Annotated[list[Value], Field(min_length=1)]] = {}


Operation = Literal[
    "difference",
    "ratio",
    "gain_kept",
    "mean",
    "min",
    "max",
    "argmin",
    "argmax",
    "at_min",
    "at_max",
    "mcnemar",
    "t_test",
    "sign_test",
]
_TAKES: dict[str, int] = {
    "gain_kept": 3,
    **dict.fromkeys(("difference", "ratio", "at_min", "at_max", "mcnemar", "t_test", "sign_test"), 2),
}
_OVER = ("min", "max", "argmin", "argmax", "at_min", "at_max")


class Derived(Section):
    """A number made of others: ``op`` of the values in ``of``.

    ``difference`` a - b and ``ratio`` a / b; ``gain_kept`` of a student, its baseline and their teacher,
    (baseline - student) / (baseline - teacher). ``min`` and ``max`` over the axes ``over``, by the mean over seeds, and
    ``argmin``, ``argmax`` where on the one axis it lies; ``at_min`` and ``at_max`` take the first value where the
    second is best. ``mean`` is over the axes ``over``, without any over the seeds. ``mcnemar`` compares two runs on
    each test example, seed by seed, ``t_test`` and ``sign_test`` two values over the seeds: all three are p-values.
    """

    op: Operation
    of: Annotated[list[Address | float | Derived], Field(min_length=1, max_length=3)]
    over: list[str] = []

    @model_validator(mode="after")
    def _fits(self) -> Derived:
        takes = _TAKES.get(self.op, 1)
        if len(self.of) != takes:
            raise ValueError(f"{self.op} takes {takes} values, got {len(self.of)}")
        if (self.op in _OVER and not self.over) or (self.over and self.op not in (*_OVER, "mean")):
            raise ValueError(f"{self.op} {'needs' if self.op in _OVER else 'has no'} over: the axes to look along")
        if self.op.startswith("arg") and len(self.over) > 1:
            raise ValueError(f"{self.op} is a place on one axis, got {', '.join(self.over)}")
        if self.op == "mcnemar" and not all(isinstance(each, str) for each in self.of):
            raise ValueError("mcnemar compares two runs")
        return self


Number = Address | float | Derived


class StudyRow(Section):
    """One number: where it is found, what the paper says, and what is expected of it.

    ``expect`` bounds the mean over the seeds, or with ``every`` each seed. ``why`` says why it is not like for like
    with the paper's; ``note`` what else one should know.
    """

    name: str
    value: Number
    paper: float | None = None
    expect: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    every: bool = False
    digits: Annotated[int, Field(ge=0, le=8)] = 1
    why: str = ""
    note: str = ""


class PlacedPoint(Section):
    """A point of a line: where it stands, and its value."""

    x: float
    value: Number


class StudyLine(Section):
    """A line of a figure: a value along the figure's axis, one line for each point of its other axes; or points."""

    name: str = ""
    value: Number | None = None
    points: list[PlacedPoint] = []

    @model_validator(mode="after")
    def _one_of(self) -> StudyLine:
        if (self.value is None) == (not self.points):
            raise ValueError("a line has a value along the axis x, or points")
        return self


class StudyReference(Section):
    """A horizontal line to compare with."""

    name: str
    value: Number


class StudyFigure(Section):
    """A figure: lines over an axis, or bars of rows by their names.

    ``labels`` gives values of axes names for people, such as ``mlp_30: 30-30``.
    """

    name: Name
    title: str
    x: str = ""
    x_label: str = ""
    y_label: str
    log_x: bool = False
    log_y: bool = False
    lines: list[StudyLine] = []
    references: list[StudyReference] = []
    bars: list[str] = []
    labels: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_kind(self) -> StudyFigure:
        if bool(self.lines) == bool(self.bars):
            raise ValueError("a figure has lines or bars")
        if not self.x and any(line.value is not None for line in self.lines):
            raise ValueError("x names the axis along which the lines run")
        return self


class Study(Section):
    """A study with its parameters put in."""

    title: str
    source: str
    claim: str
    runs: dict[Name, StudyRun]
    rows: list[StudyRow]
    figures: list[StudyFigure] = []


class StudyFile(Section):
    """A study as it is written: ``${name}`` stands for a parameter, whose value a budget or the user may change."""

    title: str
    source: str
    claim: str
    parameters: dict[str, Value] = {}
    budgets: dict[Budget, dict[str, Value]] = {}
    runs: dict[str, Any]
    rows: list[Any]
    figures: list[Any] = []
