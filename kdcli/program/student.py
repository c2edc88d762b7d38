"""``kd distill-student``: students and their undistilled baselines, as one cohort where they see the same batches."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kdcli.build import Data, build_bank, load_data, pick_device
from kdcli.build_method import check_own_loss
from kdcli.engine.bank import Bank
from kdcli.metrics import gap_closed, mcnemar
from kdcli.program.costs import cost_of_model
from kdcli.program.findings import Witness, write_findings
from kdcli.program.run import Finished, Manner, child, raise_if_diverged, recorded, run_cohort, tested
from kdcli.program.slots import Program, Slot, baseline_config, for_smoke, sees_the_same
from kdcli.program.teaching import LoadedTeacher, answers_on_test, check_teacher, load_teacher, teacher_summary
from kdcli.program.tracking import Tracking
from kdcli.program.witnesses import soft_answers, teacher_witness, witness_of
from kdcli.rundir import RunDir, create_run
from kdcli.schema import DistillStudent
from kdcli.schema.results import BaselineSummary, Summary

COMMAND = "distill-student"


@dataclass(frozen=True)
class Lesson:
    """Students that one teacher teaches on the same batches, and the baselines that train beside them.

    ``baseline_of`` names the baseline of each student that has one here.
    """

    students: Sequence[Slot]
    baselines: Sequence[Slot]
    baseline_of: Mapping[str, str]

    def together(self) -> list[Slot]:
        """Those that form the cohort: the students, and the baselines that see what they see."""
        config = self.students[0].config
        return [*self.students, *(slot for slot in self.baselines if sees_the_same(config, slot.config))]

    def apart(self) -> list[Slot]:
        """The baselines that see other examples, and so train by themselves."""
        return [slot for slot in self.baselines if not sees_the_same(self.students[0].config, slot.config)]


@dataclass(frozen=True)
class Classroom:
    """What a lesson needs besides its runs, made before any directory is."""

    teacher: LoadedTeacher
    sha256: str
    data: Data
    bank: Bank


def distill_student(
    config: DistillStudent, teacher_runs: Sequence[RunDir], manner: Manner, run: RunDir | None = None
) -> RunDir:
    """Distil the teacher into what the configuration names, in a new run or on from where ``run`` stands."""
    config = for_smoke(config) if manner.smoke else config
    baseline = baseline_config(config) if config.baseline else None
    room = open_classroom(together(config, baseline), teacher_runs, manner)
    run = run or create_run(Path(config.output_dir), COMMAND, **manner.contents(config))
    manner.say(f"{COMMAND} {run.path}")
    lesson = Lesson([Slot("student", config, run)], [], {})
    if baseline is not None:
        beside = Slot("baseline", baseline, child(run, "baseline", baseline, manner))
        lesson = Lesson(lesson.students, [beside], {"student": "baseline"})
    teach(lesson, room, run.path / "cohort", manner)
    raise_if_diverged(run)
    return run


def together(config: DistillStudent, baseline: DistillStudent | None) -> list[DistillStudent]:
    """The configurations that form a student's cohort: its own, and its baseline's where that sees the same."""
    return [config] if baseline is None or not sees_the_same(config, baseline) else [config, baseline]


def open_classroom(configs: Sequence[DistillStudent], teacher_runs: Sequence[RunDir], manner: Manner) -> Classroom:
    """Load the teacher and the data, see that they fit, and build the networks of the cohort."""
    config = configs[0]
    device = pick_device(config.device)
    teacher = load_teacher(teacher_runs, device, ensemble=config.ensemble, trust_code=config.trust_code, say=manner.say)
    data = _load(config, device, manner)
    check_teacher(teacher, data)
    check_own_loss(config, data.num_classes)
    return Classroom(teacher, teacher.teacher.sha256(), data, build_bank(configs, data))


def _load(config: DistillStudent, device: torch.device, manner: Manner) -> Data:
    return load_data(
        config.dataset, config.transfer, device, smoke=manner.smoke, batch_size=config.batch_size, say=manner.say
    )


def teach(lesson: Lesson, room: Classroom, cohort: Path, manner: Manner) -> None:
    """Train a lesson's cohort, then the baselines that are apart, and write all their summaries."""
    with recorded([slot.run for slot in (*lesson.students, *lesson.baselines)]):
        program = Program(lesson.together(), cohort)
        teacher = room.teacher.teacher
        finished = [run_cohort(program, room.data, room.bank, room.teacher, manner, title=COMMAND)]
        finished += [_train_apart(slot, room, manner) for slot in lesson.apart()]
        assert teacher.sha256() == room.sha256, "the teacher changed while its students were trained"
        _write_summaries(lesson, finished, answers_on_test(room.teacher, room.data), room)
        if not program.alone:
            shutil.rmtree(cohort)


def _train_apart(slot: Slot, room: Classroom, manner: Manner) -> Finished:
    """Train a baseline on its own examples, in as many steps as its student takes."""
    assert isinstance(slot.config, DistillStudent)
    data = _load(slot.config, room.data.labels.device, manner)
    program = Program([slot], slot.run.path / "cohort", epoch_examples=len(room.data.transfer))
    bank = build_bank([slot.config], data)
    return run_cohort(program, data, bank, room.teacher, manner, title=f"{COMMAND}: {slot.name}")


@dataclass(frozen=True)
class _Tested:
    """A network's summary, which test examples it gets right, and what is to be seen of it."""

    slot: Slot
    summary: Summary
    right: Tensor
    witness: Witness
    tracking: Tracking


def _write_summaries(lesson: Lesson, finished: Sequence[Finished], log_probs: Tensor, room: Classroom) -> None:
    teacher = teacher_summary(room.teacher, room.sha256, log_probs, room.data)
    found: dict[str, _Tested] = {}
    for cohort in finished:
        cost = cost_of_model(cohort.outcomes[0].slot.config, cohort.data)
        for outcome in cohort.outcomes:
            summary = tested(outcome, cohort, log_probs)
            if summary is not None and outcome.test_logits is not None:
                right = outcome.test_logits.argmax(1) == cohort.data.test_labels
                taught = summary.model_copy(update={"teacher": teacher})
                part = "student" if outcome.slot in lesson.students else "baseline"
                witness = witness_of(part, outcome, cohort, cost)
                found[outcome.slot.name] = _Tested(outcome.slot, taught, right, witness, cohort.tracking)
    seen = [teacher_witness(room.teacher, log_probs, finished[0])] if found else []
    for name, one in found.items():
        baseline = found.get(lesson.baseline_of.get(name, ""))
        compared = None if baseline is None else _compared(one, baseline, teacher.test.errors)
        summary = one.summary.model_copy(update={"baseline": compared})
        one.slot.run.write_summary(summary.model_dump(by_alias=True))
        one.tracking.end(one.slot, summary)
        beside = [] if baseline is None else [baseline.witness]
        write_findings(one.slot.run, [one.witness, *beside, *seen], room.data, soft_answers(room.teacher, room.data))
    for cohort in finished:
        cohort.tracking.close("diverged")
    # The students last: one that is finished is not gone on with, and its baseline would stay as it is.
    for one in reversed(found.values()):
        one.slot.run.set_status("finished")


def _compared(student: _Tested, baseline: _Tested, teacher_errors: int) -> BaselineSummary:
    return compare(student.summary, baseline.summary, student.right, baseline.right, teacher_errors)


def compare(
    student: Summary, baseline: Summary, student_right: Tensor, baseline_right: Tensor, teacher_errors: int
) -> BaselineSummary:
    """A student beside its baseline, on the same test examples.

    Args:
        student: The student's summary.
        baseline: The baseline's.
        student_right: Which test examples the student gets right, shape ``(N,)``.
        baseline_right: The same of the baseline.
        teacher_errors: Test errors of the teacher.
    """
    test = mcnemar(student_right, baseline_right)
    return BaselineSummary(
        run=baseline.run,
        test=baseline.test,
        only_student=test.only_a,
        only_baseline=test.only_b,
        p_value=test.p_value,
        gap_closed=gap_closed(teacher_errors, baseline.test.errors, student.test.errors),
    )
