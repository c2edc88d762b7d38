"""``kd evaluate``: runs measured side by side, on the test set and on what they learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from kdcli.build import pick_device
from kdcli.errors import DivergedError
from kdcli.json_io import write_json_atomic
from kdcli.metrics import confusion_matrix, mcnemar, measure, reliability_bins
from kdcli.models import count_macs, count_parameters
from kdcli.program.biases import check_classes, correct_bias, unseen
from kdcli.program.finish import as_result
from kdcli.program.latency import measure_latency
from kdcli.program.past_teacher import PastTeachers
from kdcli.program.run import Manner, recorded
from kdcli.program.subjects import Exam, Part, Subject, load_exams, load_subjects
from kdcli.rundir import RunDir, create_run, describe_environment
from kdcli.schema import Evaluate
from kdcli.schema.model import model_label
from kdcli.schema.results import EvaluatedRun, Evaluation, Latency, PairedTest, ReliabilityBin

COMMAND = "evaluate"
EVALUATION = "evaluation.json"
LATENCY_BATCHES = (1, 256)
_BATCH = 2000


@dataclass(frozen=True)
class Measured:
    """What was found of a run, and which test examples it gets right, shape ``(N,)``."""

    run: EvaluatedRun
    right: Tensor


@dataclass(frozen=True)
class Plan:
    """What is measured where, once everything that can be wrong beforehand has been checked."""

    config: Evaluate
    device: torch.device
    pairs: Sequence[tuple[Subject, Exam]]


def plan_evaluation(config: Evaluate, runs: Sequence[RunDir], manner: Manner) -> Plan:
    """Load the trainings and their data; nothing is written.

    Raises:
        CheckpointError: A checkpoint or record that cannot be trusted.
        UsageError: The runs were trained on different data, or a custom model lacks ``trust_code``.
        DataError: What is found now is not what a run was trained on.
        MachineError: The device is not there.
    """
    device = pick_device(config.device)
    subjects = load_subjects(config, runs, device, manner.say)
    exams = load_exams(subjects, device, smoke=manner.smoke)
    check_classes(config.bias.classes, exams[0])
    return Plan(config, device, list(zip(subjects, exams, strict=True)))


def evaluate(plan: Plan, manner: Manner) -> Evaluation:
    """Measure the trainings, in a new run directory that holds ``evaluation.json``.

    Raises:
        DivergedError: The answers of a network are not finite.
    """
    contents = manner.contents(plan.config) | {"environment": describe_environment(str(plan.device))}
    home = create_run(Path(plan.config.output_dir), COMMAND, **contents)
    manner.say(f"{COMMAND} {home.path}")
    teachers = PastTeachers(plan.device, trust_code=plan.config.trust_code, say=manner.say)
    with recorded([home]):
        measured = []
        for subject, exam in plan.pairs:
            manner.say(f"measuring {subject.run.path}")
            latency = _latency(subject, exam, brief=manner.smoke) if plan.config.latency else []
            measured.append(measure_run(subject, exam, teachers, latency, plan.config.bias.classes))
        classes = list(plan.pairs[0][1].data.dataset.classes)
        runs = [each.run for each in measured]
        result = Evaluation(schema=1, run=str(home.path), classes=classes, runs=runs, paired=_paired(measured))
        write_json_atomic(home.path / EVALUATION, result.model_dump(by_alias=True))
        home.set_status("finished")
    return result


def _paired(measured: Sequence[Measured]) -> list[PairedTest]:
    """Every two runs, on the same test examples."""
    tests = [(a, b, mcnemar(a.right, b.right)) for a, b in combinations(measured, 2)]
    return [
        PairedTest(a=a.run.run, b=b.run.run, only_a=test.only_a, only_b=test.only_b, p_value=test.p_value)
        for a, b, test in tests
    ]


def measure_run(
    subject: Subject, exam: Exam, teachers: PastTeachers, latency: list[Latency], bias: Sequence[int] = ()
) -> Measured:
    """Everything that is reported of one run.

    Raises:
        DivergedError: Its answers are not finite.
    """
    teacher = teachers.answers(subject, exam)
    test, train = ask(subject, exam.test, "test"), ask(subject, exam.train, "training")
    labels, networks = exam.test.labels, [member.network for member in subject.members]
    found = EvaluatedRun(
        run=str(subject.run.path),
        command=subject.run.record.command,
        model=model_label(subject.card.model),
        dataset=subject.card.dataset,
        members=len(networks),
        parameters=sum(map(count_parameters, networks)),
        macs=sum(count_macs(network, exam.data.dataset.input_shape) for network in networks),
        bytes=subject.num_bytes,
        test=as_result(measure(test, labels, None if teacher is None else teacher.test)),
        train=as_result(measure(train, exam.train.labels, None if teacher is None else teacher.train)),
        latency=latency,
        reliability=[ReliabilityBin(**asdict(each)) for each in reliability_bins(test, labels)],
        confusion=confusion_matrix(test, labels).tolist(),
        bias=correct_bias(bias, test, exam, ask(subject, unseen(exam), "validation")) if bias else None,
    )
    return Measured(found, test.argmax(1) == labels)


@torch.no_grad()
def ask(subject: Subject, part: Part, name: str) -> Tensor:
    """What a run says of a part of the data: logits ``(N, C)`` on the CPU.

    Raises:
        DivergedError: They are not finite.
    """
    logits = torch.cat([subject.logits(raw).cpu() for raw in part.source.batches(part.indices.split(_BATCH))])
    finite = logits.isfinite().all(1)
    if not bool(finite.all()):
        raise DivergedError(
            f"{int((~finite).sum())} of {len(logits)} answers on the {name} set are NaN or infinite",
            where=str(subject.run.path),
            fix="the network had diverged: train it again with a lower optimizer.lr",
        )
    return logits


def _latency(subject: Subject, exam: Exam, *, brief: bool) -> list[Latency]:
    if subject.remembers:
        return []
    source = exam.test.source
    batches = [source.gather(torch.arange(size) % len(source)) for size in LATENCY_BATCHES]
    return [measure_latency(subject.logits, raw, brief=brief) for raw in batches]
