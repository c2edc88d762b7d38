"""What runs write for people and scripts to read: summary.json, a line of metrics.jsonl, evaluation.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1


class Result(BaseModel):
    """A part of a result; null where it does not apply."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TestMeasures(Result):
    """Measures of one part of the data. Fractions in [0, 1], losses in nats, ``errors`` a count."""

    __test__ = False

    n: int
    errors: int
    top1: float
    top5: float
    nll: float
    brier: float
    ece: float
    rmse: float
    agreement: float | None = None
    kl_to_teacher: float | None = None


class Selected(Result):
    """Which checkpoint the numbers are of, after which epoch (from 1); ``by`` says how."""

    checkpoint: str
    epoch: int
    by: Literal["best", "last"]


class TeacherSummary(Result):
    """The teacher of a distilled student."""

    run: list[str]
    sha256: str
    members: int
    parameters: int
    test: TestMeasures


class BaselineSummary(Result):
    """The same student without a teacher, and McNemar's exact test of student against baseline.

    ``only_student`` and ``only_baseline`` count the test examples that just one of them gets right;
    ``gap_closed`` is (baseline errors - student errors) / (baseline errors - teacher errors), null where the teacher
    makes no fewer errors than the baseline.
    """

    run: str
    test: TestMeasures
    only_student: int
    only_baseline: int
    p_value: float
    gap_closed: float | None


class MembersSummary(Result):
    """One member of an ensemble."""

    run: str
    seed: int
    test: TestMeasures


class CoverageResult(Result):
    """The test examples whose class is special to ``covered_by`` specialists (10: or more).

    ``delta`` is how many more of these ``n`` the specialists get right, ``relative`` that over the number that the
    generalist gets right, null where it is 0.
    """

    covered_by: int
    n: int
    delta: int
    relative: float | None


class SpecialistsSummary(Result):
    """Specialists beside their generalist, which is the ``teacher`` of the summary.

    ``sets`` are the classes of each; ``asked`` is the share of the test set for which any was asked, with the ``top``
    most probable classes choosing; ``generalist_val`` is the generalist on validation. ``only_combined`` and
    ``only_generalist`` count the test examples that just one of them gets right, ``p_value`` is McNemar's.
    ``coverage`` has a row for each number of specialists, from 0 on: row 2 is at ``coverage.2``.
    """

    sets: list[list[str]]
    top: int
    asked: float
    generalist_val: TestMeasures | None
    only_combined: int
    only_generalist: int
    p_value: float
    coverage: list[CoverageResult]


class Summary(Result):
    """``summary.json``: the result of a training. Seconds are wall-clock; ``parameters`` counts all members."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    command: str
    status: str
    run: str
    model: str
    dataset: str
    seed: int
    temperature: float | str | None
    alpha: float | str | None
    loss: str
    epochs: int
    steps: int
    wall_seconds: float
    images_per_second: float
    parameters: int
    selected: Selected | None
    val: TestMeasures | None
    test: TestMeasures
    teacher: TeacherSummary | None = None
    baseline: BaselineSummary | None = None
    members: list[MembersSummary] | None = None
    specialists: SpecialistsSummary | None = None


class MetricsLine(Result):
    """A line of ``metrics.jsonl``: an epoch of one network, from 1; ``lr``, temperature and alpha of its last step."""

    epoch: int
    step: int
    temperature: float | None
    alpha: float | None
    lr: float
    train_loss: float | None = Field(alias="train/loss")
    train_hard: float | None = Field(alias="train/hard")
    train_soft: float | None = Field(alias="train/soft")
    val_top1: float | None = Field(alias="val/top1")
    val_nll: float | None = Field(alias="val/nll")
    val_agreement: float | None = Field(alias="val/agreement")
    seconds: float
    images_per_second: float


class Latency(Result):
    """Seconds for one forward pass: median and 90th percentile."""

    batch: int
    median: float
    p90: float


class ReliabilityBin(Result):
    """Predictions whose confidence lies in (lower, upper]; ``confidence`` and ``accuracy`` are null where none does."""

    lower: float
    upper: float
    count: int
    confidence: float | None
    accuracy: float | None


class EvaluatedRun(Result):
    """One run measured: on test, and where it can be on train, against its teacher if it has one."""

    run: str
    command: str
    model: str
    dataset: str
    members: int
    parameters: int
    macs: int
    bytes: int
    test: TestMeasures
    train: TestMeasures
    latency: list[Latency]
    reliability: list[ReliabilityBin]
    confusion: list[list[int]]


class Evaluation(Result):
    """``evaluation.json``: the runs of one ``kd evaluate``, side by side."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    run: str
    classes: list[str]
    runs: list[EvaluatedRun]
