"""Results as runs write them, made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kdcli.schema.results import (
    BaselineSummary,
    EvaluatedRun,
    Evaluation,
    Latency,
    MembersSummary,
    ReliabilityBin,
    Selected,
    Summary,
    TeacherSummary,
    TestMeasures,
)

HOSTILE = (
    "../../etc/passwd",
    "-rf",
    "two\nlines",
    "red\x1b[31mtext\x1b]0;title\x07",
    "c1\x9b31m",
    "reversed\u202etxt.exe",
    "[/red][link=https://example.org]x[/link]",
    '<script>alert(1)</script><img src="https://example.org/x.png" onerror=alert(1)>',
    "=cmd()",
    "+1",
    "-1",
    "@SUM(A1)",
    "${oc.env:HOME}",
    "$\\frac{1$",
    "x" * 255,
    "not utf-8 \udcff",
    "CON",
    "三四五",
)


def measured(
    errors: int, n: int = 10_000, *, agreement: float | None = None, kl_to_teacher: float | None = None
) -> TestMeasures:
    rate = errors / n
    return TestMeasures(
        n=n,
        errors=errors,
        top1=1 - rate,
        top5=0.9995,
        nll=3 * rate,
        brier=rate,
        ece=0.0042,
        rmse=0.03,
        agreement=agreement,
        kl_to_teacher=kl_to_teacher,
    )


@pytest.fixture
def summary() -> Callable[..., Summary]:
    """A distilled student: its errors, the baseline's, the teacher's and McNemar's counts."""

    def make(
        student: int = 98,
        baseline: int | None = 146,
        teacher: int = 74,
        *,
        only: tuple[int, int] = (80, 32),
        p: float = 6.2e-6,
        **changes: Any,
    ) -> Summary:
        closed = None if baseline is None or teacher >= baseline else (baseline - student) / (baseline - teacher)
        values: dict[str, Any] = {
            "schema": 1,
            "command": "distill-student",
            "status": "finished",
            "run": "outputs/distill-student/20261121T194455Z-7f3a",
            "model": "mlp_800",
            "dataset": "mnist",
            "seed": 0,
            "temperature": 20.0,
            "alpha": 0.9,
            "loss": "kd",
            "epochs": 20,
            "steps": 8600,
            "wall_seconds": 183.2,
            "images_per_second": 51234.0,
            "parameters": 1_276_810,
            "selected": Selected(checkpoint="step-007740", epoch=18, by="best"),
            "val": measured(61, 6000),
            "test": measured(student, agreement=0.9931, kl_to_teacher=0.02),
            "teacher": TeacherSummary(
                run=["outputs/train-teacher/t"],
                sha256="0" * 64,
                members=1,
                parameters=2_395_210,
                test=measured(teacher),
            ),
            "baseline": baseline
            and BaselineSummary(
                run="outputs/distill-student/20261121T194455Z-7f3a/baseline",
                test=measured(baseline, agreement=0.981, kl_to_teacher=0.1),
                only_student=only[0],
                only_baseline=only[1],
                p_value=p,
                gap_closed=closed,
            ),
        }
        return Summary(**(values | changes))

    return make


@pytest.fixture
def teacher_summary(summary: Callable[..., Summary]) -> Callable[..., Summary]:
    """A trained network, or an ensemble of networks with these errors."""

    def make(members: tuple[int, ...] = (), **changes: Any) -> Summary:
        values: dict[str, Any] = {
            "command": "train-teacher",
            "run": "outputs/train-teacher/20261121T190000Z-1111",
            "model": "mlp_1200",
            "teacher": None,
            "baseline": None,
            "temperature": None,
            "alpha": None,
            "loss": "hard",
            "test": measured(74),
        }
        if members:
            values["members"] = [
                MembersSummary(run=f"members/{seed:02}", seed=seed, test=measured(errors))
                for seed, errors in enumerate(members)
            ]
        return summary().model_copy(update=values | changes)

    return make


@pytest.fixture
def evaluation() -> Callable[..., Evaluation]:
    """Some runs, measured; the names are the classes'."""

    def run(number: int, name: str) -> EvaluatedRun:
        bins = [
            ReliabilityBin(lower=0.0, upper=0.5, count=0, confidence=None, accuracy=None),
            ReliabilityBin(lower=0.5, upper=1.0, count=10_000, confidence=0.985, accuracy=0.991),
        ]
        return EvaluatedRun(
            run=f"outputs/{name}",
            command="distill-student",
            model=name,
            dataset="mnist",
            members=1,
            parameters=1000 * number,
            macs=900 * number,
            bytes=4000 * number,
            test=measured(74 + number, agreement=0.99, kl_to_teacher=0.02) if number else measured(74),
            train=measured(12 + number, 60_000),
            latency=[Latency(batch=1, median=0.00021, p90=0.0003), Latency(batch=256, median=0.0121, p90=0.0134)],
            reliability=bins,
            confusion=[[90, 7, 3], [0, 95, 5], [11, 0, 89]],
        )

    def make(
        names: tuple[str, ...] = ("mlp_1200", "mlp_800"), classes: tuple[str, ...] = ("4", "7", "9")
    ) -> Evaluation:
        return Evaluation(
            schema=1,
            run="outputs/evaluate/x",
            classes=list(classes),
            runs=[run(number, name) for number, name in enumerate(names)],
        )

    return make


@pytest.fixture(params=HOSTILE, ids=range(len(HOSTILE)))
def hostile(request: pytest.FixtureRequest) -> str:
    """A name that somebody might give a run, a class or a network."""
    return str(request.param)


@pytest.fixture
def hostile_names() -> tuple[str, ...]:
    """All of them."""
    return HOSTILE
