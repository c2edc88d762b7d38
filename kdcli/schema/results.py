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


class TransferSummary(Result):
    """What a network learned from: how many examples, ``cases`` of which were made."""

    kind: str
    examples: int
    cases: int


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


class SelectedMember(Result):
    """A model of a selected ensemble, and its part in the mean."""

    name: str
    weight: float


class AloneSummary(Result):
    """One model of a library alone, the best by the metric of the selection on the validation part."""

    name: str
    bytes: int
    seconds_per_10k: float
    test: TestMeasures


class SelectionSummary(Result):
    """What an ensemble selection came to: ``models`` were fitted, ``members`` selected, the heaviest first.

    ``single`` is the best model alone, ``net`` the best neural net, null where the library has none; ``sha256`` is a
    digest of the members, their weights and what they say of the validation part.
    """

    sha256: str
    models: int
    members: list[SelectedMember]
    single: AloneSummary
    net: AloneSummary | None


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
    """``summary.json``: the result of a training. Seconds are wall-clock; ``parameters`` counts all members.

    ``bytes`` is the size of what answers, ``seconds_per_10k`` the time that it takes for 10,000 examples.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema", ge=SCHEMA, le=SCHEMA)
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
    bytes: int | None = None
    seconds_per_10k: float | None = None
    selection: SelectionSummary | None = None
    selected: Selected | None
    val: TestMeasures | None
    test: TestMeasures
    teacher: TeacherSummary | None = None
    baseline: BaselineSummary | None = None
    members: list[MembersSummary] | None = None
    transfer: TransferSummary | None = None
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


class Corrected(Result):
    """Test errors with ``offset`` added to the logits of some classes; ``among`` are the examples of these classes."""

    offset: float
    errors: int
    errors_among: int
    n_among: int


class BiasSummary(Result):
    """The bias of some classes as it is and corrected.

    ``test`` is tuned on the test set, as Hinton et al. 2015 did, and therefore no honest figure; ``val`` is tuned on
    validation; ``prior`` makes the mean probability of the classes, on validation inputs without their labels, the
    share that they have in training.
    """

    classes: list[int]
    uncorrected: Corrected
    test: Corrected
    val: Corrected | None
    prior: Corrected


class EvaluatedRun(Result):
    """One run measured: on test, and where it can be on train, against its teacher if it has one.

    Of an exported file, ``macs`` are null.
    """

    run: str
    command: str
    model: str
    dataset: str
    members: int
    parameters: int
    macs: int | None
    bytes: int
    test: TestMeasures
    train: TestMeasures
    latency: list[Latency]
    reliability: list[ReliabilityBin]
    confusion: list[list[int]]
    bias: BiasSummary | None = None


class PairedTest(Result):
    """McNemar's exact test of two runs on the same test examples, of which ``only_a`` are right by ``a`` alone."""

    a: str
    b: str
    only_a: int
    only_b: int
    p_value: float


class Evaluation(Result):
    """``evaluation.json``: the runs of one ``kd evaluate``, side by side, and each pair of them tested."""

    schema_version: int = Field(default=SCHEMA, alias="schema", ge=SCHEMA, le=SCHEMA)
    run: str
    classes: list[str]
    runs: list[EvaluatedRun]
    paired: list[PairedTest] = []
