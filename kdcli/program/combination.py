"""What a generalist and its specialists are worth together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from kdcli.build import Data
from kdcli.metrics import mcnemar, measure
from kdcli.program.finish import Outcome, as_result
from kdcli.program.run import Finished
from kdcli.program.slots import schedule_value
from kdcli.program.teaching import LoadedTeacher, answers_on_test, teacher_summary
from kdcli.rundir import RunDir
from kdcli.schema import TrainSpecialists
from kdcli.schema.results import (
    BaselineSummary,
    CoverageResult,
    MembersSummary,
    SpecialistsSummary,
    Summary,
    TestMeasures,
)
from kdcli.specialists import ClassSets, Council, coverage_table


@dataclass(frozen=True)
class _Judged:
    """Answers of the generalist and of all together on one part of the data, log-probabilities ``(N, C)``."""

    generalist: Tensor
    combined: Tensor
    labels: Tensor

    @property
    def right(self) -> tuple[Tensor, Tensor]:
        """Which examples the generalist, and all together, get right."""
        return self.generalist.argmax(1) == self.labels, self.combined.argmax(1) == self.labels

    def measures(self) -> TestMeasures:
        """All together, against the generalist."""
        return as_result(measure(self.combined, self.labels, self.generalist))


def combined_summary(
    run: RunDir,
    config: TrainSpecialists,
    finished: Finished,
    generalist: LoadedTeacher,
    sha256: str,
    sets: ClassSets,
) -> Summary:
    """The summary of a run whose specialists have all finished.

    Args:
        run: The run.
        config: Its configuration.
        finished: The cohort: the specialists in the order of ``sets``, then the baseline if there is one.
        generalist: Where they began.
        sha256: Of its weights.
        sets: The classes of each specialist.
    """
    data, council = finished.data, Council(sets, config.specialists.top)
    members = [_summary(outcome) for outcome in finished.outcomes[: len(sets)]]
    asked = answers_on_test(generalist, data)
    logits = [outcome.test_logits for outcome in finished.outcomes[: len(sets)] if outcome.test_logits is not None]
    test = _Judged(asked, council.log_probs(asked, logits), data.test_labels)
    val = _validation(finished, generalist, council)
    teacher = teacher_summary(generalist, sha256, asked, data)
    told = members[0]
    return told.model_copy(
        update={
            "command": run.record.command,
            "run": str(run.path),
            "seed": config.seed,
            "temperature": None if told.loss == "hard" else schedule_value(config.temperature),
            "epochs": max(each.epochs for each in members),
            "steps": max(each.steps for each in members),
            "parameters": teacher.parameters + sum(each.parameters for each in members),
            "bytes": sum(each.bytes or 0 for each in (told, *members)),  # the generalist's architecture is theirs
            "seconds_per_10k": sum(each.seconds_per_10k or 0.0 for each in (told, *members)),
            "selected": None,
            "val": None if val is None else val.measures(),
            "test": test.measures(),
            "teacher": teacher,
            "baseline": _baseline(finished.outcomes[len(sets) :], test),
            "members": [MembersSummary(run=each.run, seed=each.seed, test=each.test) for each in members],
            "specialists": _specialists(data, council, test, val),
        }
    )


def _summary(outcome: Outcome) -> Summary:
    return Summary.model_validate(outcome.slot.run.summary())


def _validation(finished: Finished, generalist: LoadedTeacher, council: Council) -> _Judged | None:
    """The same on the validation part, where a later choice of settings belongs."""
    data = finished.data
    answers = [outcome.val_logits for outcome in finished.outcomes[: len(council.sets)]]
    logits = [each for each in answers if each is not None]
    if not logits:
        return None
    asked = generalist.teacher.log_probs(data.source, data.val)
    return _Judged(asked, council.log_probs(asked, logits), data.labels.cpu()[data.val])


def _baseline(outcomes: Sequence[Outcome], test: _Judged) -> BaselineSummary | None:
    """All together against the generalist that was trained on; None where that diverged or was not wanted."""
    (outcome,) = outcomes or (None,)
    if outcome is None or outcome.test_logits is None or outcome.slot.run.record.status != "finished":
        return None
    found = mcnemar(test.right[1], outcome.test_logits.argmax(1) == test.labels)
    summary = _summary(outcome)
    return BaselineSummary(
        run=summary.run,
        test=summary.test,
        only_student=found.only_a,
        only_baseline=found.only_b,
        p_value=found.p_value,
        gap_closed=None,
    )


def _specialists(data: Data, council: Council, test: _Judged, val: _Judged | None) -> SpecialistsSummary:
    before, after = test.right
    found = mcnemar(after, before)
    rows = coverage_table(before, after, test.labels, council.sets, num_classes=data.num_classes)
    counts = {row.covered_by: row for row in rows}
    return SpecialistsSummary(
        sets=[[data.dataset.classes[each] for each in special] for special in council.sets],
        top=council.top,
        asked=float(council.active(test.generalist).any(1).double().mean()),
        generalist_val=None if val is None else as_result(measure(val.generalist, val.labels)),
        only_combined=found.only_a,
        only_generalist=found.only_b,
        p_value=found.p_value,
        coverage=[
            CoverageResult(covered_by=number, n=row.examples, delta=row.delta, relative=row.relative)
            if (row := counts.get(number)) is not None
            else CoverageResult(covered_by=number, n=0, delta=0, relative=None)
            for number in range(max(counts) + 1)
        ],
    )
